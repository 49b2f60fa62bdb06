"""Who holds which training: live jobs, as the ledger and one scheduler answer tell.

The terminal rule: a job is over when the controller has no live record of it. Silence is unknown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from jobs import files, processes
from jobs.attempts import Attempt, EndState
from jobs.dispatch import chunks, ledger
from jobs.dispatch.chunks import Chunk
from jobs.dispatch.holds import Hold
from jobs.dispatch.ledger import Submission
from jobs.dispatch.scheduler import Answer, JobAnswer
from jobs.errors import CorruptFile
from jobs.layout import RunRoot
from jobs.planning.budget import exhausted
from jobs.planning.plan import Live, Progress

SETTLED_S = 120.0
"""Longest that a listing of a network filesystem may lag, twice over."""
_OVER = frozenset({"completed", "failed", "out_of_memory", "cancelled", "fenced"})
"""Ends after which the job that made the attempt does not try the cell again, unless it may mend."""
_AWAY = "of another machine; if that is gone, cancel it to take it over"
_NONE: Mapping[int, Sequence[Hold]] = MappingProxyType({})


def submissions(root: RunRoot, closed: frozenset[int] = frozenset()) -> list[Submission]:
    """All submissions but those known to be over, oldest first; corrupt ones are passed over.

    Raises:
        EnvironmentFault: the filesystem does not show one of them now.
    """
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
    held: Mapping[int, Sequence[Hold]] = _NONE,
) -> dict[str, Live]:
    """Who holds which training, by training id; the oldest live submission counts.

    Args:
        found: submissions, oldest first.
        known: progress, for what a job already said of a cell.
        answer: the scheduler's, or None if it was never asked.
        now: unix time.
        held: holds in force, by submission.
    """
    holders: dict[str, Live] = {}
    for submission in found:
        states = _task_states(submission, answer, now)
        for task in submission.skipped.keys() - submission.local.keys() - _back(submission, known):
            states.pop(task, None)
        ending = _ending(submission)
        holds = held.get(submission.number, ())
        for key, task in submission.cells.items():
            state = states.get(task)
            if holds:
                state = _held_state(submission, task, states, holds)
            if key in holders or (state is None and task not in ending):
                continue
            holder = _cell_state(submission, task, state, known.get(key))
            if holder is not None:
                holders[key] = holder
    return holders


def _held_state(
    submission: Submission, task: int, states: Mapping[int, Live], holds: Sequence[Hold]
) -> Live | None:
    """A task of a submission that is held: one that waits, or skipped itself, waits for people."""
    state = states.get(task)
    for hold in holds:
        if hold.canary == task:
            continue
        if state is not None and (state.state == "queued" or state.state == "pending"):
            if hold.canary in states:
                return replace(state, why=hold.reason)
            return replace(state, state="held", why=hold.why, otherwise=state.state)
        if submission.skipped.get(task) == hold.skip and task not in submission.cancelled:
            return Live(state="held", job=f"submission {submission.number}", why=hold.why)
    return state


def _back(submission: Submission, known: Mapping[str, Progress]) -> set[int]:
    """Tasks that skipped themselves, were started again by SLURM and have claimed a cell."""
    skipped = {key: t for key, t in submission.cells.items() if t in submission.skipped}
    return {
        task
        for key, task in skipped.items()
        for last in (known[key].attempts[-1:] if key in known else ())
        if last.state is None and (last.submission, last.task) == (submission.number, task)
    }


def _ending(submission: Submission) -> frozenset[int]:
    """Local tasks that ended, of which the queue has not said yet whether it starts them again."""
    if submission.cluster != "local":
        return frozenset()
    return frozenset(
        task
        for task, started in submission.local.items()
        if not started.ended and processes.alive(started.process) is False
    )


def _cell_state(
    submission: Submission, task: int, job: Live | None, known: Progress | None
) -> Live | None:
    """A cell of a live job: running once it is claimed, free again once it is over.

    One that failed in a way that may mend stays its job's, which tries it again.
    """
    tried = known.attempts if known else ()
    mine = bool(tried) and (tried[-1].submission, tried[-1].task) == (submission.number, task)
    again = mine and may_mend(tried[-1]) and not exhausted(tried)
    if job is None:
        waits = Live(state="queued", job=f"submission {submission.number}")
        return waits if again else None
    if job.state == "held":
        return None if exhausted(tried) and job.otherwise is None else job
    leaves = job.state == "running"  # one that waits was started again, and runs the cell anew
    if not mine and leaves and known and _let_go(known.buried, (submission.number, task)):
        return None
    if not mine:
        return replace(job, state="pending") if job.state == "running" else job
    return None if tried[-1].state in _OVER and not again else job


def _let_go(buried: Sequence[Attempt], task: tuple[int, int]) -> bool:
    """Whether a task ended its cell before that was invalidated, and its job is only leaving."""
    own = [one for one in buried if (one.submission, one.task) == task]
    return bool(own) and own[-1].state in _OVER


def may_mend(last: Attempt) -> bool:
    """Whether an attempt failed for a cause that another start may not meet."""
    return last.state == "failed" and not last.deterministic


def _task_states(submission: Submission, answer: Answer | None, now: float) -> dict[int, Live]:
    """The live tasks of a submission, also those that skipped themselves and did not leave yet."""
    found: dict[int, Live] = {}
    for chunk in submission.chunks:
        for position, task in enumerate(chunk.tasks):
            sent = chunk.job_id is not None or task in submission.local
            if task in submission.skipped and not sent:
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
        case "slurm" if chunk.job_id is None and chunk.tasks[position] in submission.cancelled:
            return None
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
        why = _AWAY if processes.alive(submission.launcher) is None else ""
        return Live(state="queued", job=f"submission {submission.number}", why=why)
    if started.ended:
        return None
    match processes.alive(started.process):
        case True:
            job = f"pid {started.process.pid}"
            return Live(state="running", job=job, nodes=started.process.host)
        case None if task in submission.cancelled:
            return None  # nobody else can say whether that machine is still there
        case None:
            return Live(state="unknown", job=f"on {started.process.host}", why=_AWAY)
        case False:
            return None


def _slurm_state(chunk: Chunk, job: str, answer: Answer | None) -> Live | None:
    if answer is None or not chunk.told_by(answer):
        other = answer is not None and not chunk.is_of(answer)
        why = f"of cluster {chunk.cluster}, which was not asked" if other else ""
        return Live(state="unknown", job=f"job {job}", why=why)
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
    """A task without a job on record: being sent, held until it can be, or in doubt."""
    name = f"submission {submission.number}"
    match submission.standing(chunk, now):
        case "given_up":
            return None
        case "sending":
            return Live(state="queued", job=f"{name}, being sent")
        case "waiting":
            found = (one.why for one in (chunk, *submission.chunks) if one.why)
            why = next(found, "not sent yet")
            return Live(state="held", job=name, why=why, otherwise="queued")
        case "doubtful" if answer and chunks.unheard_of(chunk, answer, submission.job_ids):
            why = "whoever sent it was stopped"
            return Live(state="held", job=name, why=why, otherwise="queued")
        case "doubtful":
            return Live(state="unknown", job=f"{name}, {chunk.name}")


def explained(
    root: RunRoot,
    known: Mapping[str, Progress],
    holders: Mapping[str, Live],
    answer: Answer | None,
) -> dict[str, Progress]:
    """Progress with a cause for each attempt that could not say how it ended."""
    told = dict(known)
    silent = [key for key, one in known.items() for tried in one.attempts if tried.state is None]
    for key in dict.fromkeys(silent):
        tried = known[key].attempts
        ended = tried[:-1] if key in holders else tried
        causes = (a if a.state is not None else cause(root, a, answer) for a in ended)
        told[key] = replace(known[key], attempts=(*causes, *tried[len(ended) :]))
    return told


def cause(root: RunRoot, last: Attempt, answer: Answer | None) -> Attempt:
    """An attempt that did not say how it ended, with the end that follows from its job."""
    paths = root.submission(last.submission)
    if last.submission and paths.cancelled(last.task):
        return replace(last, state="cancelled", reason="cancelled by the user")
    word = next(files.read_lines(paths.ended), {}).get(last.job_id)
    if word is None:
        job = answer.lookup(last.job_id, last.job_name) if answer and last.job_id else None
        word = ended(job) if job is not None and not job.live else None
    if word is None:
        return replace(last, state="lost", reason="ended without a word (killed?)")
    state, reason = word
    return replace(last, state=state, reason=f"SLURM says: {reason}")


def ended(job: JobAnswer) -> tuple[EndState, str]:
    """The state of an ended job in our words, and SLURM's reason."""
    reason = " ".join(filter(None, (job.state, job.reason, f"exit code {job.exit_code}")))
    match job.state:
        case "timeout" | "out_of_memory" | "preempted" | "cancelled" | "node_fail" | "failed":
            return job.state, reason
        case _:
            return "lost", reason


def settled(root: RunRoot, now: float) -> frozenset[int]:
    """Those that were over so long ago that every listing shows what their jobs wrote."""
    told = next(files.read_lines(root.closed), {}).get("at", {})
    return frozenset(
        n for n in ledger.closed(root) if now - told.get(str(n), -math.inf) > SETTLED_S
    )


def deadly(root: RunRoot) -> frozenset[int]:
    """Numbers of closed submissions of which jobs ended before they claimed a cell."""
    return frozenset(next(files.read_lines(root.closed), {}).get("unclaimed", ()))


def over(
    found: Sequence[Submission],
    answer: Answer | None,
    now: float,
    held: Mapping[int, Sequence[Hold]] = _NONE,
) -> list[Submission]:
    """Submissions that hold nothing any more, and whose tasks wait for nobody's release."""
    return [
        one
        for one in found
        if not _ending(one)
        and not _waits(one, held.get(one.number, ()))
        and not _task_states(one, answer, now)
    ]


def _waits(submission: Submission, holds: Sequence[Hold]) -> bool:
    """Whether a task skipped itself for one of some holds."""
    words = {hold.skip for hold in holds}
    skipped = submission.skipped.items()
    return any(why in words and task not in submission.cancelled for task, why in skipped)


def close(root: RunRoot, over: Sequence[Submission], answer: Answer | None, now: float) -> None:
    """Remember that submissions are over, since when, and what the scheduler last said of them.

    SLURM forgets a job minutes after its end where it keeps no accounts.
    """
    if not over:
        return
    for submission in over:
        words = _last_words(submission, answer)
        if words:
            files.create(root.submission(submission.number).ended, files.dumps(words))
    dead = deadly(root).union(
        one.number for one in over if root.submission(one.number).unclaimed(1).exists()
    )
    told = next(files.read_lines(root.closed), {}).get("at", {})
    content = {
        "closed": sorted(ledger.closed(root) | {s.number for s in over}),
        "unclaimed": sorted(dead),
        "at": {**{str(s.number): now for s in over}, **told},
    }
    files.replace(root.closed, files.dumps(content))


def _last_words(submission: Submission, answer: Answer | None) -> dict[str, tuple[EndState, str]]:
    if submission.cluster != "slurm" or answer is None:
        return {}
    found = {}
    for chunk in submission.chunks:
        for position in range(len(chunk.tasks) if chunk.job_id else 0):
            job = chunk.position_job(position)
            told = answer.lookup(job, chunk.name)
            if told is not None and told.state != "completed":
                found[job] = ended(told)
    return found
