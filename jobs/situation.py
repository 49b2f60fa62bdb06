"""How everything stands at one moment, and the plan that follows from it; nothing is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs import files, liveness, scheduler, survey
from jobs.cell import Cell
from jobs.errors import EnvironmentFault, NewerLayout
from jobs.index import Index
from jobs.layout import FORMAT, RunRoot
from jobs.ledger import Submission
from jobs.plan import Live, Planned, Progress, plan, with_parents
from jobs.scheduler import Answer


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
    closed = liveness.closed(root)
    found = liveness.submissions(root, closed)
    job_ids = [c.job_id for s in found if s.cluster == "slurm" for c in s.chunks if c.job_id]
    unsent = any(c.job_id is None for s in found if s.cluster == "slurm" for c in s.chunks)
    answer = scheduler.saved(root.cache)
    if max_age is not None and (job_ids or unsent or always):
        answer = scheduler.cached(root.cache, job_ids=job_ids, now=now, max_age=max_age)
    known = survey.progress(root, with_parents(cells), index)
    holders = liveness.live(found, known, answer, now)
    known = liveness.explained(root, known, holders, answer)
    if max_age is not None:
        liveness.close(root, found, answer, now)
    return Situation(known=known, holders=holders, found=found, answer=answer)


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
