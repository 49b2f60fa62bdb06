"""What a submission still has to send: chunk by chunk into SLURM's queue, until a limit.

The launcher and the tasks that end do this alike, and any number of them at once: the files of a
try (`jobs.dispatch.chunks`) let one of them through. What was not sent waits on disk.
"""

import itertools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from jobs import attempts
from jobs.dispatch import answers, chunks, holds, ledger, scheduler
from jobs.dispatch.chunks import Chunk
from jobs.dispatch.ledger import Submission
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.slurm_text import Limits, base_id
from jobs.errors import AtLimit, Doubtful, EnvironmentFault, Refused
from jobs.layout import RunRoot, SubmissionFiles

TRIES = 3
"""Calls of sbatch at most while its answers leave doubt."""
PAUSE_S = 3.0
"""Seconds between such a call and looking the job up by its name."""
AGAIN_S = 60.0
"""Seconds after a refusal before which no ending task tries again, unless it is the last."""
LEAVING_S = 10.0
"""Seconds that the last task waits for those that are just leaving the queue."""
LEAVING_TURNS = 6


@dataclass(frozen=True, kw_only=True)
class Array:
    """What one sbatch sends.

    Attributes:
        chunk: of the submission.
        number: of the try.
        name: of the job.
        tasks: lines of array.jsonl.
        parameters: for submitit's executor.
        python: the interpreter on the nodes; None for the one in use.
    """

    chunk: int
    number: int
    name: str
    tasks: tuple[int, ...]
    parameters: dict[str, Any]
    python: str | None


Send = Callable[[SubmissionFiles, Array], str]
"""Calls sbatch once; the job id, or Refused, AtLimit or Doubtful (`jobs.dispatch.submit.send_slurm`)."""


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What `push` did.

    Attributes:
        job_ids: of the arrays that it sent.
        words: sbatch's own, and their meaning, if a limit stopped it.
    """

    job_ids: tuple[str, ...] = ()
    words: str = ""


def push(root: RunRoot, number: int, send: Send, *, alone: bool) -> Pushed:
    """Send what waits of a submission, in order, until nothing does or a limit is met.

    Args:
        root: the run root.
        number: of the submission.
        send: calls sbatch.
        alone: nothing else of this user is queued, so that a refused array is too long itself.

    Raises:
        Refused: sbatch said no for good; what was left is given up.
        EnvironmentFault: sbatch gave no clear answer.
    """
    ids: list[str] = []
    paths = root.submission(number)
    cluster = answers.cluster(root.cache)
    while True:
        submission = ledger.read(root, number)
        chunk = first_waiting(submission, time.time())
        array = _begun(paths, submission, chunk, cluster) if chunk else None
        if array is None:
            return Pushed(job_ids=tuple(ids))
        try:
            job_id = _sent(paths, submission, array, send)
        except AtLimit as error:
            kind: chunks.Refusal = "long" if error.long or (alone and not ids) else "limit"
            _refused(paths, array, str(error), kind)
            if kind == "long" and len(array.tasks) > 1:
                continue
            return Pushed(job_ids=tuple(ids), words=str(error))
        except Refused as error:
            _refused(paths, array, str(error), "final")
            give_up(root, number, "an array before it was refused")
            raise
        if job_id is None:
            return Pushed(job_ids=tuple(ids))
        chunks.sent(paths, array.chunk, job_id, array.tasks, time.time(), number=array.number)
        ids.append(job_id)


def _refused(paths: SubmissionFiles, array: Array, words: str, kind: chunks.Refusal) -> None:
    chunks.refused(paths, array.chunk, words, time.time(), number=array.number, kind=kind)


def give_up(root: RunRoot, number: int, words: str) -> None:
    """Say that what nobody has begun to send of a submission is never sent."""
    submission = ledger.read(root, number)
    now = time.time()
    for chunk in submission.chunks:
        if chunk.job_id is None and submission.standing(chunk, now) == "waiting":
            chunks.give_up(root.submission(number), chunk, words, now)


def first_waiting(submission: Submission, now: float) -> Chunk | None:
    """The chunk to send next; None if there is none, or somebody is at one."""
    blocked: set[int] = set()
    for chunk in submission.chunks:
        if chunk.job_id is not None or not submission.unsent(chunk):
            continue
        standing = submission.standing(chunk, now)
        if standing == "sending":
            return None
        if standing == "doubtful" or blocked & {*_awaited(submission, chunk)}:
            blocked.add(chunk.number)
        elif standing == "waiting":
            return chunk
    return None


def _planned(submission: Submission, chunk: Chunk) -> dict[str, Any]:
    data: dict[str, Any] = submission.parameters["chunks"][chunk.number]
    return data


def _awaited(submission: Submission, chunk: Chunk) -> list[int]:
    """Chunks that hold parents of its cells."""
    found: list[int] = _planned(submission, chunk).get("after", [])
    return found


def _begun(
    paths: SubmissionFiles, submission: Submission, chunk: Chunk, cluster: str
) -> Array | None:
    """Begin a try; None if somebody else was faster."""
    last = chunk.last
    now = time.time()
    # it was not decided by whoever began it, and must never be
    if (
        last is not None
        and not last.over
        and not chunks.decide(paths, chunk.number, now, number=last.number, void=True)
    ):
        return None
    tasks = tuple(submission.unsent(chunk)[: chunk.size])
    if not chunks.intend(
        paths, chunk.number, now, number=chunk.tries, tasks=tasks, cluster=cluster
    ):
        return None
    planned = _planned(submission, chunk)
    parents = _awaited(submission, chunk)
    jobs = [one.job_id for one in submission.chunks if one.job_id and one.number in parents]
    jobs += submission.parameters.get("before", ()) if planned["generation"] else ()
    # each task looks itself whether its parents are there: exit codes of torchrun say nothing
    after = {"dependency": f"afterany:{':'.join(jobs)}"} if jobs else {}
    return Array(
        chunk=chunk.number,
        number=chunk.tries,
        name=chunk.name,
        tasks=tasks,
        parameters={**planned["parameters"], **after},
        python=submission.parameters.get("python"),
    )


def _sent(paths: SubmissionFiles, submission: Submission, array: Array, send: Send) -> str | None:
    """Call sbatch; again after a doubtful answer, if the controller knows no job of that name.

    Returns:
        The job id; None if the try was taken over before it came to sbatch.
    """
    began = time.time()
    if not chunks.decide(paths, array.chunk, began, number=array.number, void=False):
        return None
    known, words = True, ""
    for _ in range(TRIES):
        if known:
            try:
                return send(paths, array)
            except Doubtful as error:
                words = str(error)
        time.sleep(PAUSE_S)
        answer = scheduler.ask(job_ids=(), names=(array.name,), now=time.time(), limits=Limits())
        found = chunks.namesakes(array.name, began, answer, submission.job_ids)
        if found:
            return found[0]
        known = answer.reachable
    raise EnvironmentFault(
        f"{words}\nnothing is lost: the next `submit` or `resume` looks for job {array.name} "
        "by its name"
    )


def settle(root: RunRoot, submission: Submission, answer: Answer) -> None:
    """Put on record what became of tries whose sender died before it could.

    Args:
        root: the run root.
        submission: of SLURM.
        answer: the scheduler's, about all jobs of this user.
    """
    paths = root.submission(submission.number)
    now = time.time()
    for chunk in submission.chunks:
        last = chunk.last
        if chunk.job_id or last is None or submission.standing(chunk, now) != "doubtful":
            continue
        assert last.decided is not None
        told = scheduler.complete(answer, names=[chunk.name]) if answer.reachable else answer
        found = [
            *_claimed(root, submission, last.tasks),
            *chunks.namesakes(chunk.name, last.decided, told, submission.job_ids),
        ]
        if found:
            chunks.sent(paths, chunk.number, found[0], last.tasks, last.decided, number=last.number)
        elif chunks.unheard_of(chunk, told, submission.job_ids):
            words = "whoever sent it was stopped, and the scheduler knows no such job"
            chunks.refused(paths, chunk.number, words, now, number=last.number, kind="unknown")


def _claimed(root: RunRoot, submission: Submission, tasks: Collection[int]) -> list[str]:
    """Arrays, not on record, whose tasks claimed cells of a submission."""
    found: dict[str, None] = {}
    for key, task in submission.cells.items():
        if task not in tasks:
            continue
        cell = root.cell(key)
        for number in attempts.numbers(cell):
            one = attempts.read(cell, number)
            if (one.submission, one.task) == (submission.number, task) and one.job_id:
                found[base_id(one.job_id)] = None
    return [job_id for job_id in found if job_id not in submission.job_ids]


def twin(submission: Submission, task: int, job_id: str) -> str:
    """The job on record for a task, if another job runs it too; else nothing.

    An sbatch that was given up as unheard of may have reached the controller all the same, and may
    have been put on record since. Of several on record the first one runs.
    """
    ids = [c.job_id for c in submission.chunks if c.job_id and task in c.tasks]
    return "" if not ids or base_id(job_id) == ids[0] else ids[0]


def go_on(paths: SubmissionFiles, task: int, job_id: str, send: Send) -> None:
    """Send what waits of a submission, from the end of one of its tasks.

    Soon after a refusal only the last task tries, for a minute: one whose others in the queue have
    all said that they are leaving. Each says so before it looks, so that of several that end at
    once one at least finds itself the last; if several do, one of them stays, by the same rule.
    """
    root = RunRoot(paths.folder.parent.parent)
    if not _waiting(root, paths) or holds.in_force(paths):
        return
    if time.time() - _refused_at(paths) >= AGAIN_S:
        push(root, paths.number, send, alone=False)
    for turn in itertools.count():
        submission = _waiting(root, paths)
        if submission is None or turn == LEAVING_TURNS:
            return
        answer = scheduler.ask(job_ids=(), now=time.time(), limits=Limits(accounting=False))
        others = _others(submission, answer, job_id)
        if not answer.reachable or "pending" in others.values():
            return
        if turn == 0:
            paths.leaving(task).parent.mkdir(exist_ok=True)
            paths.leaving(task).touch()
            continue
        if not all(paths.leaving(one).exists() for one in others):
            return
        paths.staying(task).touch()
        if any(one > task and paths.staying(one).exists() for one in others):
            return
        alone = not any(job.live and job.job_id != job_id for job in answer.jobs.values())
        if push(root, paths.number, send, alone=alone).job_ids:
            return  # these end later
        time.sleep(LEAVING_S)


def _waiting(root: RunRoot, paths: SubmissionFiles) -> Submission | None:
    """The submission, if something of it waits to be sent and nobody is at it."""
    submission = ledger.read(root, paths.number)
    return submission if first_waiting(submission, time.time()) else None


def _refused_at(paths: SubmissionFiles) -> float:
    """When a try of a submission was refused last, by the file's age; 0 if none was."""
    found = paths.folder.glob("chunk-*.refused*.json")
    return max((path.stat().st_mtime for path in found), default=0.0)


def _others(submission: Submission, answer: Answer, job_id: str) -> dict[int, str]:
    """States of the other tasks of a submission that the controller has."""
    found: dict[int, str] = {}
    for chunk in submission.chunks:
        for position, task in enumerate(chunk.tasks if chunk.job_id else ()):
            told = answer.lookup(chunk.position_job(position), chunk.name)
            if told is not None and told.live and told.job_id != job_id:
                found[task] = told.state
    return found
