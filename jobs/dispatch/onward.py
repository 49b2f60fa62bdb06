"""What an ending task sends again: cells that were interrupted, and children whose turn has come.

SLURM does not start every job again that a node or a preemption took (PreemptMode CANCEL, jobs that
may not be requeued), and a child that found no parent has skipped itself. Without a daemon, the
tasks of the same submission that end later plan anew for those cells, as `submit` would, within the
same budgets; what the last of them leaves waits for people.
"""

import os
from collections.abc import Sequence

from jobs.dispatch import codes, holds, ledger, sending, site
from jobs.dispatch.describing import Options
from jobs.dispatch.ledger import Submission
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.sending import Sent
from jobs.errors import CorruptFile
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning import finding, situation
from jobs.planning.budget import INTERRUPTED
from jobs.planning.index import Index
from jobs.planning.plan import SENT, Planned

ANSWER_S = 30.0
"""A scheduler answer younger than this, asked for by whichever process, is not asked for again."""
PAUSE_S = 60.0
"""Seconds between two looks from one submission."""


def send_due(paths: SubmissionFiles, now: float) -> Sent | None:
    """Send what is due among the cells of a submission; None if that is nothing.

    Args:
        paths: the submission, of which a task ends.
        now: unix time.
    """
    root = RunRoot(paths.folder.parent.parent)
    submission = ledger.read(root, paths.number)
    if holds.in_force(paths) or not _turn(paths, now):
        return None
    own = _own(root, submission)
    manifest = finding.manifest(str(paths.manifest), root, recalled=True)
    cells = [cell for cell in manifest.cells if cell.training_id in own]
    if not cells:
        return None
    # not saved: many nodes may do this at once, and the index is the commands' own
    seen = situation.look(root, cells, Index(root), max_age=ANSWER_S, now=now)
    if seen.answer is None or not seen.answer.reachable:
        return None
    taken = _taken(submission, seen.answer)
    items = due(situation.planned(cells, seen), submission, own & (taken | _skipped(submission)))
    options = Options(
        cluster="slurm",
        max_parallel=submission.parameters.get("max_parallel"),
        data=submission.parameters["data"],
        python=submission.parameters.get("python"),
        codes=codes.chosen(root, items, seen.known, None),
        source=submission.parameters["source"],
    )
    where = site.load(os.environ)
    return sending.send(root, manifest, items, seen, where, options)


def due(items: Sequence[Planned], submission: Submission, own: frozenset[str]) -> list[Planned]:
    """Planned cells that may go again without being asked for.

    That is what was interrupted, and what skipped itself for want of a parent; a child of neither
    a finished nor a running nor a due parent stays.

    Args:
        items: the plan.
        submission: it sent the cells.
        own: trainings that it may send again.
    """
    chosen = {i.cell.training_id: i for i in items if _due(i, submission, own)}
    coming = {i.cell.training_id for i in items if i.action in {"done", "wait"}}
    while True:
        lost = [
            key
            for key, item in chosen.items()
            if item.follows and not chosen.keys() | coming >= {*item.awaits}
        ]
        if not lost:
            return list(chosen.values())
        for key in lost:
            del chosen[key]


def _due(item: Planned, submission: Submission, own: frozenset[str]) -> bool:
    key = item.cell.training_id
    if key not in own:
        return False
    if submission.cells[key] in submission.skipped:
        return item.action in SENT or item.follows > 0
    return item.action in SENT and item.state in INTERRUPTED


def _skipped(submission: Submission) -> frozenset[str]:
    """Trainings whose tasks found that they could not run."""
    return frozenset(k for k, task in submission.cells.items() if task in submission.skipped)


def _taken(submission: Submission, answer: Answer) -> frozenset[str]:
    """Trainings whose jobs SLURM says it ended itself: a job can also end by its user's scancel."""
    found: set[int] = set()
    for chunk in submission.chunks:
        for position, task in enumerate(chunk.tasks if chunk.job_id else ()):
            told = answer.lookup(chunk.position_job(position), chunk.name)
            if told is not None and not told.live and told.state in INTERRUPTED:
                found.add(task)
    return frozenset(key for key, task in submission.cells.items() if task in found)


def _own(root: RunRoot, submission: Submission) -> frozenset[str]:
    """Trainings that nobody cancelled here, and that no later submission has taken over."""
    later: set[str] = set()
    for number in ledger.numbers(root):
        if number > submission.number:
            try:
                later |= ledger.read(root, number).cells.keys()
            except CorruptFile:
                # one that is not over may hold anything
                if number not in ledger.closed(root):
                    raise
    mine = (key for key, task in submission.cells.items() if task not in submission.cancelled)
    return frozenset(mine) - later


def _turn(paths: SubmissionFiles, now: float) -> bool:
    """Whether nobody looked a moment ago, as far as the filesystem's clock can be trusted."""
    try:
        recent = abs(now - paths.onward.stat().st_mtime) < PAUSE_S
    except FileNotFoundError:
        recent = False
    if not recent:
        paths.onward.touch()
    return not recent
