"""Jobs that ended before they claimed a cell: a broken environment, a full node, a lost start.

No attempt tells of them, so whoever notices puts them on record, many in one file, and the plan
counts each as an attempt at the task's cells. Otherwise a job that cannot start would be sent again
for ever. A claim that shows up later, on a filesystem whose listings lag, undoes the count.
"""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs import attempts, files
from jobs.attempts import Attempt, EndState
from jobs.dispatch import liveness
from jobs.dispatch.chunks import Chunk
from jobs.dispatch.ledger import Submission
from jobs.dispatch.scheduler import Answer, JobAnswer
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning.plan import Progress
from jobs.upkeep import tombstones

SCHEMA_VERSION = 1
_SHARED = ("state", "reason", "signature", "deterministic", "tail")
IDLE = "its job ended with exit code 0, but did nothing and said nothing"


@dataclass(frozen=True, kw_only=True)
class Death:
    """A job that ended before it claimed a cell.

    Attributes:
        task: of its submission.
        job_id: of the scheduler.
        cells: training ids that it was to run.
        host: where it ran, as far as the scheduler tells.
        state: how it ended.
        reason: why, for people.
        signature: equal for deaths of one cause.
        deterministic: the same would happen again.
        tail: last lines of its log; of one job among those of one signature.
    """

    task: int
    job_id: str
    cells: tuple[str, ...]
    host: str = ""
    state: EndState = "failed"
    reason: str = ""
    signature: str = ""
    deterministic: bool = False
    tail: tuple[str, ...] = ()


Tried = Callable[[str], Sequence[Attempt] | None]
"""Attempts at a training; None if they are not known now."""


def noticed(
    root: RunRoot, submission: Submission, answer: Answer | None, tried: Tried
) -> list[Death]:
    """Tasks of a submission to SLURM whose jobs ended without a claim, and are not on record."""
    if submission.cluster != "slurm" or answer is None or not answer.reachable:
        return []
    paths = root.submission(submission.number)
    cells = _silent(submission, {death.task for death in read(paths)}, tried)
    found = []
    for chunk in submission.chunks if cells else ():
        if not chunk.told_by(answer):
            continue
        for position, task in enumerate(chunk.tasks):
            told = answer.lookup(chunk.position_job(position), chunk.name)
            if task in cells and (told is None or not told.live):
                about = Death(
                    task=task, job_id=chunk.position_job(position), cells=tuple(cells[task])
                )
                found.append(_explained(paths, chunk, about, told))
    return found


def _silent(submission: Submission, recorded: set[int], tried: Tried) -> dict[int, list[str]]:
    """Tasks that neither skipped themselves nor claimed one of their cells, with those cells."""
    spoken = recorded | submission.skipped.keys() | submission.cancelled
    cells: dict[int, list[str]] = {}
    for key, task in submission.cells.items():
        if task in spoken:
            continue
        found = tried(key)
        if found is None or any((a.submission, a.task) == (submission.number, task) for a in found):
            spoken.add(task)
        cells.setdefault(task, []).append(key)
    return {task: keys for task, keys in cells.items() if task not in spoken}


def _explained(paths: SubmissionFiles, chunk: Chunk, about: Death, told: JobAnswer | None) -> Death:
    tail = tuple(_log_tail(paths, chunk, about.job_id))
    if told is not None and told.state == "completed":
        return replace(
            about, host=told.nodes, reason=IDLE, signature=IDLE, deterministic=True, tail=tail
        )
    state, words = liveness.ended(told) if told else ("lost", "which remembers nothing of it")
    last = tail[-1] if tail else ""
    said = f": {last}" if last else ""
    return replace(
        about,
        host=told.nodes if told else "",
        state=state,
        reason=f"its job ended before it started (SLURM says: {words}){said}",
        signature=attempts.signature("did not start", last or words),
        tail=tail,
    )


def _log_tail(paths: SubmissionFiles, chunk: Chunk, job_id: str) -> list[str]:
    folders = (paths.array_folder(chunk.number, number) for number in range(chunk.tries))
    tails = (attempts.log_tail(folder / f"{job_id}_0_log.out") for folder in folders)
    return next(filter(None, tails), [])


def of_local_job(
    paths: SubmissionFiles, task: int, job_id: str, cells: Sequence[str], host: str
) -> Death:
    """The death of a job of the local queue."""
    logs = sorted((paths.submitit / f"task-{task}").glob(f"{job_id}_*.out"))
    tail = tuple(attempts.log_tail(logs[-1]) if logs else [])
    last = tail[-1] if tail else ""
    return Death(
        task=task,
        job_id=job_id,
        cells=tuple(cells),
        host=host,
        reason=f"its job ended before it started: {last or 'no log'}",
        signature=attempts.signature("did not start", last),
        tail=tail,
    )


def record(paths: SubmissionFiles, deaths: Iterable[Death], at: float) -> None:
    """Put deaths on record; if another process does so at this moment, its word counts."""
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for one in deaths:
        key = (one.state, one.signature, one.deterministic)
        shared: dict[str, Any] = {name: getattr(one, name) for name in _SHARED}
        line = [one.task, one.job_id, one.host, one.cells]
        groups.setdefault(key, {**shared, "jobs": []})["jobs"].append(line)
    if groups:
        content = {"schema_version": SCHEMA_VERSION, "at": at, "groups": list(groups.values())}
        number = next(n for n in itertools.count(1) if not paths.unclaimed(n).exists())
        files.create(paths.unclaimed(number), files.dumps(content))


def read(paths: SubmissionFiles) -> list[Death]:
    """The deaths on record in a submission, in order of its tasks."""
    found: dict[int, Death] = {}
    for number in itertools.count(1):
        content = next(files.read_lines(paths.unclaimed(number)), None)
        if content is None:
            return [found[task] for task in sorted(found)]
        for group in content["groups"]:
            shared = {**group, "tail": tuple(group["tail"])}
            for task, job_id, host, cells in shared.pop("jobs"):
                about = Death(task=task, job_id=job_id, host=host, cells=tuple(cells), **shared)
                found.setdefault(task, about)
    raise AssertionError("numbers do not end")


@dataclass(frozen=True, kw_only=True)
class Count:
    """Progress with deaths counted as attempts.

    Attributes:
        known: progress by training id.
        fresh: deaths that are not on record, by submission.
    """

    known: Mapping[str, Progress]
    fresh: Mapping[int, list[Death]]


def counted(
    root: RunRoot,
    found: Sequence[Submission],
    answer: Answer | None,
    known: Mapping[str, Progress],
    wanted: Collection[str],
) -> Count:
    """Count the deaths among some trainings.

    Args:
        root: the run root.
        found: submissions that are not over.
        answer: the scheduler's, or None if it was never asked.
        known: progress of the trainings that have a folder.
        wanted: ids of the trainings that were looked at.
    """

    def tried(key: str) -> Sequence[Attempt] | None:
        if key in known:
            return (*known[key].buried, *known[key].attempts)
        return () if key in wanted else None

    fresh = {one.number: noticed(root, one, answer, tried) for one in found}
    deaths = [
        (number, death)
        for number in sorted({*fresh, *liveness.deadly(root)})
        for death in [*read(root.submission(number)), *fresh.get(number, [])]
        if not _undone(root.submission(number), death)
    ]
    dead = {key for _, death in deaths for key in death.cells if key in wanted}
    graves = tombstones.graves(root) if dead else {}
    before = {key: tombstones.submitted(root, graves[key]) for key in dead & graves.keys()}
    result = dict(known)
    for number, death in deaths:
        for key in death.cells:
            if key in dead and number > before.get(key, 0):
                result[key] = _with(result.get(key, Progress()), death, number)
    return Count(known=result, fresh={n: deaths for n, deaths in fresh.items() if deaths})


def _undone(paths: SubmissionFiles, death: Death) -> bool:
    """Whether the listing of skipped tasks lagged when an exit code told nothing."""
    return death.deterministic and (paths.skipped / f"{death.task}.json").exists()


def _with(known: Progress, death: Death, submission: int) -> Progress:
    """Progress with one more attempt, in the order of submissions; not one before its fence."""
    tried = known.attempts
    if any((one.submission, one.task) == (submission, death.task) for one in tried):
        return known
    if submission <= max((one.submission for one in known.buried), default=0):
        return known
    place = max((i for i, a in enumerate(tried, 1) if a.submission <= submission), default=0)
    attempt = Attempt(
        number=tried[place - 1].number if place else 0,
        job_id=death.job_id,
        state=death.state,
        reason=death.reason,
        signature=death.signature,
        deterministic=death.deterministic,
        claimed=False,
        submission=submission,
        task=death.task,
        host=death.host,
    )
    return replace(known, attempts=(*tried[:place], attempt, *tried[place:]))


def save(
    root: RunRoot,
    fresh: Mapping[int, list[Death]],
    over: Sequence[Submission],
    answer: Answer | None,
) -> None:
    """Put on record what was noticed, and all there is to notice of submissions that are over."""

    def tried(key: str) -> Sequence[Attempt]:
        return attempts.read_all(root.cell(key))

    found = {**fresh, **{one.number: noticed(root, one, answer, tried) for one in over}}
    for number, deaths in found.items():
        record(root.submission(number), deaths, time.time())


def of_training(root: RunRoot, training_id: str, numbers: Iterable[int]) -> list[Death]:
    """Deaths on record of jobs that were to run a training, in some submissions."""
    found = [death for number in numbers for death in read(root.submission(number))]
    return [death for death in found if training_id in death.cells]
