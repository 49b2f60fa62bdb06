"""How everything stands at one moment, and the plan that follows from it; nothing is sent."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs import files
from jobs.dispatch import answers, holds, ledger, liveness, unclaimed
from jobs.dispatch.ledger import Submission
from jobs.dispatch.scheduler import Answer
from jobs.errors import CorruptFile, EnvironmentFault, NewerLayout
from jobs.expand.cell import Cell
from jobs.layout import FORMAT, RunRoot
from jobs.planning import survey
from jobs.planning.index import Index
from jobs.planning.plan import Live, Planned, Progress, plan, with_parents


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything that a plan is made from, as of one moment.

    Attributes:
        known: progress of each training that has a folder.
        holders: live jobs by training id.
        found: submissions that may still matter.
        answer: of the scheduler, or None if it was never asked.
    """

    known: Mapping[str, Progress]
    holders: Mapping[str, Live]
    found: Sequence[Submission]
    answer: Answer | None


def look(
    root: RunRoot,
    cells: Sequence[Cell],
    index: Index,
    *,
    max_age: float | None,
    now: float,
    always: bool = False,
) -> Situation:
    """See where everything stands.

    Args:
        root: the run root.
        cells: wanted; their parents are looked at too.
        index: of the records.
        max_age: seconds that a saved scheduler answer may be old; None asks nothing at all.
        now: unix time.
        always: ask the scheduler although no job of this run root needs it, for its limits.
    """
    closed = ledger.closed(root)
    found = liveness.submissions(root, closed)
    job_ids = [c.job_id for s in found if s.cluster == "slurm" for c in s.chunks if c.job_id]
    unsent = any(c.job_id is None for s in found if s.cluster == "slurm" for c in s.chunks)
    common = answers.shared(os.environ)
    answer = answers.saved(root.cache) or (answers.saved(common) if common else None)
    if max_age is not None and (job_ids or unsent or always):
        # an answer from before the last sbatch cannot know its job
        max_age = min(max_age, now - max((c.sent for s in found for c in s.chunks), default=0.0))
        answer = answers.cached(
            root.cache, job_ids=job_ids, now=now, max_age=max_age, common=common
        )
    wanted = with_parents(cells)
    late = _submissions(root, closed - index.final) if index.entries else []
    others = None if late is None else _unsettled(root, closed, [*found, *late])
    known = survey.progress(root, wanted, index, others)
    if late is not None:
        settled = liveness.settled(root, now)
        index.settle(settled, {key for one in late if one.number in settled for key in one.cells})
    held = holds.of(root, [submission.number for submission in found])
    dead = unclaimed.counted(root, found, answer, known, {c.training_id for c in wanted})
    holders = liveness.live(found, dead.known, answer, now, held)
    known = liveness.explained(root, dead.known, holders, answer)
    # a reader of another user's run root only looks
    if max_age is not None and answers.keeps(root.cache):
        over = liveness.over(found, answer, now, held)
        unclaimed.save(root, dead.fresh, over, answer)
        liveness.close(root, over, answer, now)
    return Situation(known=known, holders=holders, found=found, answer=answer)


def _submissions(root: RunRoot, numbers: Collection[int]) -> list[Submission] | None:
    """Some submissions; None if one of them cannot be read."""
    try:
        return [ledger.read(root, number) for number in numbers]
    except CorruptFile:
        return None


def _unsettled(
    root: RunRoot, closed: frozenset[int], read: Sequence[Submission]
) -> set[str] | None:
    """Trainings that some submissions run; None if others, which cannot be read, are not over."""
    if not closed.union(submission.number for submission in read).issuperset(ledger.numbers(root)):
        return None
    return {key for submission in read for key in submission.cells}


def released(seen: Situation) -> Situation:
    """The same as if all that is held were let go on."""
    holders = {
        key: replace(holder, state=holder.otherwise) if holder.otherwise else holder
        for key, holder in seen.holders.items()
        if holder.state != "held" or holder.otherwise
    }
    return replace(seen, holders=holders)


def planned(cells: Sequence[Cell], seen: Situation, *, retry_failed: bool = False) -> list[Planned]:
    """The plan for some cells."""
    return plan(cells, seen.known, seen.holders, retry_failed=retry_failed)


def check_format(root: RunRoot) -> None:
    """Refuse a run root of a newer layout, before anything is written.

    Raises:
        NewerLayout: format.json names a layout that this program does not know.
        EnvironmentFault: the run root cannot be read.
    """
    above = next(path for path in (root.path, *root.path.parents) if path.exists())
    if not above.is_dir():
        raise EnvironmentFault(
            f"{root.path}: {above} is no folder; "
            "choose another folder with --root or $SPIKEGRID_ROOT"
        )
    try:
        line = next(files.read_lines(root.format), {})
    except OSError as error:
        raise EnvironmentFault(
            f"{root.path}: cannot be read ({error.strerror}); ask its owner, or use --root"
        ) from error
    version = line.get("format", FORMAT)
    if version != FORMAT:
        raise NewerLayout(
            f"{root.path}: has layout {version}, this program knows {FORMAT}; update the checkout"
        )
