"""What the disk and one scheduler answer say: the progress of each training, and who holds it."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from jobs import attempts, files, identity, ledger, processes, records
from jobs.attempts import Attempt, EndState
from jobs.cell import Cell
from jobs.errors import CorruptFile
from jobs.index import TICK_NS, Entry, row_keys, rows_text
from jobs.index import Index as Index
from jobs.layout import CellFiles, RunRoot
from jobs.ledger import Chunk, Submission
from jobs.plan import Live, Progress
from jobs.scheduler import Answer, JobAnswer

_STEP = re.compile(r"step-(\d{8,})\.a\d{4,}")
_OVER = frozenset({"completed", "failed", "out_of_memory", "cancelled", "fenced"})
"""Ends after which the job that made the attempt does not try the cell again."""


def progress(root: RunRoot, cells: Iterable[Cell], index: Index) -> dict[str, Progress]:
    """The progress of the trainings of cells; those without a folder are left out.

    Args:
        root: the run root.
        cells: wanted.
        index: consulted and added to.
    """
    present = _present(root)
    found: dict[str, Progress] = {}
    for cell in cells:
        key = cell.training_id
        folder = present.get(key)
        if key in found or folder is None:
            continue
        entry = index.entries.get(key)
        if entry is None or not entry.trained:
            found[key] = _look(root.cell(key), key, index)
            continue
        rows = row_keys(entry.rows)
        if rows.issuperset(cell.rows) or _is_as_it_was(folder, entry):
            tried = tuple(entry.attempts.values())
            found[key] = Progress(trained=True, rows=rows, attempts=tried)
        else:
            found[key] = _look(root.cell(key), key, index)
    return found


def _present(root: RunRoot) -> dict[str, str]:
    """All trainings that have a folder: id → folder."""
    try:
        shards = [f"{root.cells}/{name}" for name in os.listdir(root.cells)]
    except FileNotFoundError:
        return {}
    return {key: f"{shard}/{key}" for shard in shards for key in os.listdir(shard)}


def _is_as_it_was(folder: str, entry: Entry) -> bool:
    """Whether a training has no other records and attempts than the index says.

    Two stat calls instead of two listings, since most of ten thousand cells did not change.
    """
    if not entry.stamp or _stamp(f"{folder}/{_EVALUATIONS}") != entry.stamp:
        return False
    following = next(reversed(entry.attempts), 0) + 1  # what the next claim would take
    return not os.access(f"{folder}/{_attempt_below(following)}", os.F_OK)


_EVALUATIONS = CellFiles(Path()).evaluations.name


@cache
def _attempt_below(number: int) -> str:
    """Folder of an attempt, relative to that of its training."""
    return str(CellFiles(Path()).attempt(number).folder)


def _stamp(folder: str) -> int:
    """When a folder's names last changed, by the filesystem's own clock in ns; 0 if it is absent.

    Nobody can set this time, unlike that of the last modification.
    """
    try:
        return os.stat(folder).st_ctime_ns  # noqa: PTH116 - a Path costs five times the call
    except FileNotFoundError:
        return 0


def _look(cell: CellFiles, key: str, index: Index) -> Progress:
    """Read what the index does not know of one training."""
    old = index.entries.get(key, Entry())
    stamp = _stamp(str(cell.evaluations))  # first: a record that comes after the listing changes it
    names = records.names(cell)
    digest = identity.short_hash("\n".join(names)) if names else ""
    trained = old.trained or cell.training.exists()
    rows, text = row_keys(old.rows), old.rows
    if digest != old.names:
        rows = frozenset(_read_rows(cell, names))
        text = rows_text(rows)
    tried = {n: old.attempts.get(n) or attempts.read(cell, n) for n in attempts.numbers(cell)}
    ended = {n: a for n, a in tried.items() if a.state is not None}
    over = trained and len(ended) == len(tried) and stamp < index.written - TICK_NS
    entry = Entry(trained, digest, text, ended, stamp if over else 0)
    if entry != old:
        index.entries[key] = entry
        index.changed.add(key)
    step = 0 if trained else _step(cell)
    return Progress(trained=trained, rows=rows, attempts=tuple(tried.values()), step=step)


def _read_rows(cell: CellFiles, names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        try:
            found |= records.rows_of([records.read(cell.evaluations / name)])
        except CorruptFile:
            continue
    return found


def _step(cell: CellFiles) -> int:
    """Step of the newest checkpoint by name; the worker verifies it."""
    try:
        names = os.listdir(cell.checkpoints)
    except FileNotFoundError:
        return 0
    return max((int(match[1]) for name in names if (match := _STEP.fullmatch(name))), default=0)


def submissions(root: RunRoot, closed: frozenset[int] = frozenset()) -> list[Submission]:
    """All submissions but those known to be over, oldest first; unreadable ones are passed over."""
    found = []
    for number in ledger.numbers(root):
        if number not in closed:
            try:
                found.append(ledger.read(root, number))
            except (CorruptFile, FileNotFoundError):
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
            if task not in submission.skipped:
                state = _task_state(submission, chunk, position, answer, now)
                if state is not None:
                    found[task] = state
    return found


def _task_state(
    submission: Submission, chunk: Chunk, position: int, answer: Answer | None, now: float
) -> Live | None:
    match submission.cluster:
        case "local":
            return _local_state(submission, chunk.tasks[position])
        case "debug":
            alive = processes.alive(submission.launcher)
            return Live(state="running", job="in the foreground") if alive else None
        case "slurm" if chunk.job_id is None:
            return _unsent_state(submission, chunk, answer, now)
        case "slurm":
            return _slurm_state(submission, chunk, chunk.position_job(position), answer)


def _local_state(submission: Submission, task: int) -> Live | None:
    started = submission.local.get(task)
    name = f"submission {submission.number}"
    if started is None:
        return None if task in submission.cancelled else Live(state="queued", job=name)
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


def _slurm_state(
    submission: Submission, chunk: Chunk, job: str, answer: Answer | None
) -> Live | None:
    if answer is None or not answer.reachable or answer.asked_at < submission.at:
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
    """Progress with the scheduler's word on attempts that could not say how they ended."""
    told: dict[str, Progress] = {}
    for key, value in known.items():
        last = value.attempts[-1] if value.attempts else None
        if last is None or last.state is not None or key in holders:
            told[key] = value
        else:
            cause = _cause(root, last, answer)
            told[key] = replace(value, attempts=(*value.attempts[:-1], cause))
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
    if not over:
        return
    for submission in over:
        words = _last_words(submission, answer)
        if words:
            files.create(root.submission(submission.number).ended, files.dumps(words))
    root.cache.mkdir(parents=True, exist_ok=True)
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
