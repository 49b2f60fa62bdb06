"""Who holds which training: live jobs, as the ledger and one scheduler answer tell.

The terminal rule: a job is over when the controller has no live record of it. Silence is unknown.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs import files, ledger, processes
from jobs.attempts import Attempt, EndState
from jobs.errors import CorruptFile
from jobs.layout import RunRoot
from jobs.ledger import Chunk, Submission
from jobs.plan import Live, Progress
from jobs.scheduler import Answer, JobAnswer

_OVER = frozenset({"completed", "failed", "out_of_memory", "cancelled", "fenced"})
"""Ends after which the job that made the attempt does not try the cell again."""


def submissions(root: RunRoot, closed: frozenset[int] = frozenset()) -> list[Submission]:
    """All submissions but those known to be over, oldest first; unreadable ones are passed over."""
    found = []
    for number in ledger.numbers(root):
        if number not in closed:
            try:
                found.append(ledger.read(root, number))
            except CorruptFile:
                continue
    return found


def live(
    found: Sequence[Submission],
    known: Mapping[str, Progress],
    answer: Answer | None,
    now: float,
) -> dict[str, Live]:
    """Who holds which training, by training id; the oldest live submission counts.

    Args:
        found: submissions, oldest first.
        known: progress, for what a job already said of a cell.
        answer: the scheduler's, or None if it was never asked.
        now: unix time.
    """
    holders: dict[str, Live] = {}
    for submission in found:
        states = _task_states(submission, answer, now)
        for key, task in submission.cells.items():
            state = states.get(task)
            if state is None or key in holders:
                continue
            if (held := _cell_state(submission, task, state, known.get(key))) is not None:
                holders[key] = held
    return holders


def _cell_state(
    submission: Submission, task: int, job: Live, known: Progress | None
) -> Live | None:
    """A cell of a live job: running once it is claimed, free again once it is over."""
    last = known.attempts[-1] if known and known.attempts else None
    mine = last is not None and (last.submission, last.task) == (submission.number, task)
    if last is None or not mine:
        return replace(job, state="pending") if job.state == "running" else job
    return None if last.state in _OVER else job


def _task_states(submission: Submission, answer: Answer | None, now: float) -> dict[int, Live]:
    """The live tasks of a submission."""
    found: dict[int, Live] = {}
    for chunk in submission.chunks:
        for position, task in enumerate(chunk.tasks):
            if task in submission.skipped and task not in submission.local:
                continue
            state = _task_state(submission, chunk, position, answer, now)
            if state is not None:
                found[task] = state
    return found


def _task_state(
    submission: Submission, chunk: Chunk, position: int, answer: Answer | None, now: float
) -> Live | None:
    match submission.cluster:
        case "local" | "debug":
            return _local_state(submission, chunk, chunk.tasks[position])
        case "slurm" if chunk.job_id is None:
            return _unsent_state(submission, chunk, answer, now)
        case "slurm":
            return _slurm_state(chunk, chunk.position_job(position), answer)


def _local_state(submission: Submission, chunk: Chunk, task: int) -> Live | None:
    started = submission.local.get(task)
    if started is None:
        # a launcher that died before its intent, or in the foreground, sends nothing any more
        waits = chunk.intended is not None and submission.cluster == "local"
        waits = waits or processes.alive(submission.launcher) is not False
        if task in submission.cancelled or not waits:
            return None
        return Live(state="queued", job=f"submission {submission.number}")
    if started.ended:
        return None
    match processes.alive(started.process):
        case True:
            job = f"pid {started.process.pid}"
            return Live(state="running", job=job, nodes=started.process.host)
        case None:
            return Live(state="unknown", job=f"on {started.process.host}")
        case False:
            return None


def _slurm_state(chunk: Chunk, job: str, answer: Answer | None) -> Live | None:
    # an answer from before sbatch returned cannot know the job
    if answer is None or not answer.reachable or answer.asked_at <= chunk.sent:
        return Live(state="unknown", job=f"job {job}")
    told = answer.lookup(job, chunk.name)
    if told is None or not told.live:
        return None
    match told.state:
        case "pending" | "running" as state:
            return Live(state=state, job=f"job {job}", nodes=told.nodes)
        case _:
            return Live(state="unknown", job=f"job {job}", nodes=told.nodes)


def _unsent_state(
    submission: Submission, chunk: Chunk, answer: Answer | None, now: float
) -> Live | None:
    """A chunk without an id: live while its launcher lives, or if the scheduler knows its name."""
    name = f"submission {submission.number}, being sent"
    if chunk.refused:
        return None
    alive = processes.alive(submission.launcher)
    if alive or (alive is None and now - submission.at < ledger.STALE_INTENT_S):
        return Live(state="queued", job=name)
    if chunk.intended is None or submission.cancelled.issuperset(chunk.tasks):
        return None
    if answer is None or not answer.reachable or answer.asked_at < chunk.intended:
        return Live(state="unknown", job=name)
    return Live(state="unknown", job=chunk.name) if answer.named(chunk.name) else None


def explained(
    root: RunRoot,
    known: Mapping[str, Progress],
    holders: Mapping[str, Live],
    answer: Answer | None,
) -> dict[str, Progress]:
    """Progress with a cause for each attempt that could not say how it ended."""
    told: dict[str, Progress] = {}
    for key, value in known.items():
        tried = value.attempts
        ended = tried[:-1] if key in holders else tried
        if all(attempt.state is not None for attempt in ended):
            told[key] = value
            continue
        causes = (a if a.state is not None else _cause(root, a, answer) for a in ended)
        told[key] = replace(value, attempts=(*causes, *tried[len(ended) :]))
    return told


def _cause(root: RunRoot, last: Attempt, answer: Answer | None) -> Attempt:
    paths = root.submission(last.submission)
    if last.submission and paths.cancelled(last.task):
        return replace(last, state="cancelled", reason="cancelled by the user")
    word = next(files.read_lines(paths.ended), {}).get(last.job_id)
    if word is None:
        job = answer.lookup(last.job_id, last.job_name) if answer and last.job_id else None
        word = _word(job) if job is not None and not job.live else None
    if word is None:
        return replace(last, state="lost", reason="ended without a word (killed?)")
    state, reason = word
    return replace(last, state=state, reason=f"SLURM says: {reason}")


def _word(job: JobAnswer) -> tuple[EndState, str]:
    """The state of an ended job in our words, and SLURM's reason."""
    reason = " ".join(filter(None, (job.state, job.reason, f"exit code {job.exit_code}")))
    match job.state:
        case "timeout" | "out_of_memory" | "preempted" | "cancelled" | "node_fail" | "failed":
            return job.state, reason
        case _:
            return "lost", reason


def closed(root: RunRoot) -> frozenset[int]:
    """Numbers of submissions that are known to hold nothing any more."""
    return frozenset(next(files.read_lines(root.closed), {}).get("closed", ()))


def close(root: RunRoot, found: Sequence[Submission], answer: Answer | None, now: float) -> None:
    """Remember which submissions hold nothing any more, and what the scheduler last said of them.

    SLURM forgets a job minutes after its end where it keeps no accounts.
    """
    over = [s for s in found if not _task_states(s, answer, now)]
    if not over or not os.access(root.cache, os.W_OK):
        return  # a reader of another user's run root only looks
    for submission in over:
        words = _last_words(submission, answer)
        if words:
            files.create(root.submission(submission.number).ended, files.dumps(words))
    numbers = sorted(closed(root) | {s.number for s in over})
    files.replace(root.closed, files.dumps({"closed": numbers}))


def _last_words(submission: Submission, answer: Answer | None) -> dict[str, tuple[EndState, str]]:
    if submission.cluster != "slurm" or answer is None:
        return {}
    found = {}
    for chunk in submission.chunks:
        for position in range(len(chunk.tasks) if chunk.job_id else 0):
            job = chunk.position_job(position)
            told = answer.lookup(job, chunk.name)
            if told is not None and told.state != "completed":
                found[job] = _word(told)
    return found
