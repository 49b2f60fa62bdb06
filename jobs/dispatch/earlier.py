"""Other submissions of the same cells: what they took first, and what of them waits to be sent."""

import time
from collections.abc import Iterator, Mapping, Sequence, Set

from jobs.dispatch import holds, ledger, liveness, queueing
from jobs.dispatch.ledger import Submission
from jobs.dispatch.scheduler import Answer
from jobs.layout import RunRoot
from jobs.planning.plan import Live


def taken_meanwhile(
    root: RunRoot, own: Submission, seen: Sequence[Submission], answer: Answer | None
) -> dict[int, str]:
    """Tasks whose cells a submission with a lower number holds that the plan had not seen.

    Returns:
        Task → reason.
    """
    known = {submission.number for submission in seen}
    newer = [one for one in _others(root, own) if one.number < own.number]
    unseen = [one for one in newer if one.number not in known]
    return _reasons(own, liveness.live(unseen, {}, answer, time.time()))


def waiting(
    root: RunRoot,
    manifest: str,
    seen: Sequence[Submission],
    answer: Answer,
    awaited: Set[str] = frozenset(),
) -> Iterator[int]:
    """Numbers of the submissions of a manifest that still have something to send, oldest first.

    What their launchers could not put on record is found out before.

    Args:
        root: the run root.
        manifest: its name.
        seen: submissions that are not over.
        answer: the scheduler's.
        awaited: trainings for whose sake submissions of other manifests count as well.
    """
    for before in seen:
        asked = before.manifest == manifest or not awaited.isdisjoint(before.cells)
        if not asked or before.cluster != "slurm":
            continue
        if holds.in_force(root.submission(before.number)):
            continue  # its tasks would only skip themselves
        queueing.settle(root, before, answer)
        if queueing.first_waiting(ledger.read(root, before.number), time.time()) is None:
            continue
        if not any(chunk.tries for chunk in before.chunks):
            for task, reason in _taken_over(root, before, answer).items():
                ledger.skip(root.submission(before.number), task, reason)
        yield before.number


def _taken_over(root: RunRoot, own: Submission, answer: Answer) -> dict[int, str]:
    """Tasks of a submission that nobody began to send whose cells others hold in the meantime."""
    now, others = time.time(), _others(root, own)
    older = liveness.live([one for one in others if one.number < own.number], {}, answer, now)
    newer = liveness.live([one for one in others if one.number > own.number], {}, answer, now)
    queued = {key: one for key, one in newer.items() if one.state in {"pending", "running"}}
    return _reasons(own, {**queued, **older})


def _others(root: RunRoot, own: Submission) -> list[Submission]:
    found = liveness.submissions(root, ledger.closed(root))
    return [one for one in found if one.number != own.number]


def _reasons(own: Submission, holders: Mapping[str, Live]) -> dict[int, str]:
    return {
        task: f"{holders[key].job} took {key} first"
        for key, task in own.cells.items()
        if key in holders
    }
