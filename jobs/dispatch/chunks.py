"""The arrays of a submission, each sent by numbered tries that are told by write-once files.

A try is an intent, a decision just before sbatch, then a job id or a refusal. Whoever makes the
intent tries; whoever makes the decision says whether the try comes to sbatch: its sender, or
somebody who takes it for dead and makes sure of that. A try may send a part of a chunk only.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jobs import files, processes
from jobs.dispatch.scheduler import Answer
from jobs.layout import SubmissionFiles
from jobs.processes import Process

Refusal = Literal["limit", "long", "unknown", "final"]
"""Why a try sent nothing: too much is queued; its array alone is too long; nobody knows of its job;
it was given up."""

_LIMITS = frozenset({"limit", "long"})
_FILE = re.compile(r"chunk-(\d{3,})\.(intent|decision|refused|sent)(?:-(\d+))?\.json")
DOUBT_S = 60.0
"""Seconds after which sbatch has surely reached the controller or never will."""
CLOCKS_S = 3600.0
"""By so much the clocks of this machine and of the controller may differ."""

_GROWTH = 4
"""By so much a refused array is shortened, and the next one lengthened after success."""


@dataclass(frozen=True, kw_only=True)
class Try:
    """One try to send a chunk.

    Attributes:
        number: from 0.
        tasks: that it sends; empty for one that never began.
        sender: who began it.
        intended: unix time at which it was begun.
        decided: unix time just before sbatch; None if it did not come to that.
        void: it never comes to sbatch.
        refusal: why nothing was sent.
        words: sbatch's own, with the refusal.
        job_id: of the array.
        sent: unix time at which sbatch had answered.
        cluster: name of the one that it sends to; empty if it is not known.
    """

    number: int
    tasks: tuple[int, ...]
    sender: Process | None = None
    intended: float | None = None
    decided: float | None = None
    void: bool = False
    refusal: Refusal | None = None
    words: str = ""
    job_id: str | None = None
    sent: float = 0.0
    cluster: str = ""

    @property
    def over(self) -> bool:
        """It sends nothing more, for certain."""
        return self.job_id is not None or self.refusal is not None or self.void


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One array of a submission: what one try sent, or what is left to send.

    Attributes:
        tasks: lines of array.jsonl; the position is SLURM's array index.
        job_id: of the array, or None if its sending is not on record.
        intended: unix time of the last intent; None if sending was not begun.
        refused: it was given up.
        sent: unix time at which sbatch had answered; 0 if that is not on record.
        tries: so many were begun, for this and for other parts.
        last: the newest of them; None if it sent a part, or if there was none.
        size: tasks that the next try should send at most.
        limited: a try met a limit on queued jobs.
        cluster: name of the one that the last try sent to, or was to; empty if it is not known.
    """

    number: int
    name: str
    tasks: tuple[int, ...]
    job_id: str | None = None
    intended: float | None = None
    refused: bool = False
    sent: float = 0.0
    tries: int = 0
    last: Try | None = None
    size: int | None = None
    limited: bool = False
    cluster: str = ""

    def told_by(self, answer: Answer | None) -> bool:
        """Whether an answer tells of the chunk's job: its cluster gave it, after sbatch returned.

        Clocks of different machines cannot show that alone, so the question must have been about
        the job, unless the controller named it anyway.
        """
        return (
            self.job_id is not None
            and answer is not None
            and answer.reachable
            and answer.asked_at > self.sent
            and answer.covers(self.job_id)
            and self.is_of(answer)
        )

    def is_of(self, answer: Answer) -> bool:
        """Whether an answer comes from the chunk's cluster, as far as both are known."""
        return not self.cluster or answer.limits.cluster in {"", self.cluster}

    @property
    def why(self) -> str:
        """Which limit kept the last try from being sent; empty if none did."""
        last = self.last
        return last.words.splitlines()[-1] if last and last.refusal in _LIMITS else ""

    def position_job(self, position: int) -> str:
        """SLURM's id of the task at a position; a single task is sent without an array."""
        assert self.job_id is not None
        return f"{self.job_id}_{position}" if len(self.tasks) > 1 else self.job_id


def read(
    paths: SubmissionFiles, planned: Sequence[Mapping[str, Any]], skipped: Collection[int]
) -> Iterator[Chunk]:
    """The chunks of a submission: first what was sent of each, then what is left of it.

    Args:
        paths: the submission.
        planned: its chunks in plan.json.
        skipped: tasks that need not be sent.
    """
    found: dict[int, dict[int, set[str]]] = {}
    for name in os.listdir(paths.folder):
        if match := _FILE.fullmatch(name):
            chunk, number = int(match[1]), int(match[3] or 0)
            found.setdefault(chunk, {}).setdefault(number, set()).add(match[2])
    for data in planned:
        chunk, tasks = data["chunk"], tuple(data["tasks"])
        begun = found.get(chunk, {})
        tries = [_try(paths, chunk, number, begun[number], tasks) for number in sorted(begun)]
        yield from _parts(chunk, data["name"], tasks, tries, skipped)


def _try(
    paths: SubmissionFiles, chunk: int, number: int, kinds: Collection[str], tasks: tuple[int, ...]
) -> Try:
    def line(kind: str) -> dict[str, Any]:
        path = paths.of_try(chunk, kind, number)
        return next(files.read_lines(path), {}) if kind in kinds else {}

    intent, decision, refused, sent = map(line, ("intent", "decision", "refused", "sent"))
    void = bool(decision.get("void"))
    # an older version made no decision: its intent alone may have come to sbatch
    decided = decision.get("at") if "tasks" in intent else intent.get("at")
    return Try(
        number=number,
        tasks=tuple(sent.get("tasks") or intent.get("tasks") or (tasks if intent else ())),
        sender=Process.of(intent) if intent else None,
        intended=intent.get("at"),
        decided=None if void else decided,
        void=void,
        refusal=refused.get("kind", "final") if "refused" in kinds else None,
        words=refused.get("words", ""),
        job_id=sent.get("job_id"),
        sent=sent.get("at", 0.0),
        cluster=intent.get("cluster", ""),
    )


def _parts(
    number: int, name: str, tasks: tuple[int, ...], tries: Sequence[Try], skipped: Collection[int]
) -> Iterator[Chunk]:
    limited = any(one.refusal in _LIMITS for one in tries)
    gone = {task for one in tries if one.job_id for task in one.tasks}
    for one in tries:
        if one.job_id is not None:
            yield Chunk(
                number=number,
                name=name,
                tasks=one.tasks,
                job_id=one.job_id,
                intended=one.intended,
                sent=one.sent,
                tries=len(tries),
                limited=limited,
                cluster=one.cluster,
            )
    left = tuple(t for t in tasks if t not in gone and t not in skipped) if gone else tasks
    if not left:
        return
    last = tries[-1] if tries and tries[-1].job_id is None else None
    yield Chunk(
        number=number,
        name=name,
        tasks=left,
        intended=last.intended if last else None,
        refused=last is not None and last.refusal == "final",
        tries=tries[-1].number + 1 if tries else 0,
        last=last,
        size=next_size(tries),
        limited=limited,
        cluster=last.cluster if last else "",
    )


def next_size(tries: Sequence[Try]) -> int | None:
    """How many tasks the next try should send, by how the others fared; None for all."""
    size: int | None = None
    passed: int | None = None
    for one in tries:
        count = len(one.tasks)
        if one.job_id is not None:
            size, passed = _GROWTH * count, count
        elif one.refusal == "long":
            size = max(1, count // _GROWTH)
        elif one.refusal == "limit":
            size = passed or count
    return size


def intend(
    paths: SubmissionFiles,
    chunk: int,
    at: float,
    *,
    number: int = 0,
    tasks: Sequence[int] = (),
    cluster: str = "",
) -> bool:
    """Say that a chunk is about to be sent; False if somebody said so before.

    Args:
        paths: the submission.
        chunk: of it.
        at: unix time.
        number: of the try.
        tasks: that it sends.
        cluster: name of the one that it sends to, if that is known.
    """
    line = {"at": at, "tasks": [*tasks], "cluster": cluster, **processes.this().data()}
    return files.create(paths.intent(chunk, number), files.dumps(line))


def decide(paths: SubmissionFiles, chunk: int, at: float, *, number: int, void: bool) -> bool:
    """Say that a try comes to sbatch now, or (void) that it never does; the first word counts."""
    line = {"at": at, "void": void, **processes.this().data()}
    return files.create(paths.decision(chunk, number), files.dumps(line))


def refused(
    paths: SubmissionFiles,
    chunk: int,
    words: str,
    at: float,
    *,
    number: int = 0,
    kind: Refusal = "final",
) -> None:
    """Put on record that a try sent nothing."""
    line = {"words": words, "at": at, "kind": kind}
    files.create(paths.refused(chunk, number), files.dumps(line))


def sent(
    paths: SubmissionFiles,
    chunk: int,
    job_id: str,
    tasks: Sequence[int],
    at: float,
    *,
    number: int = 0,
) -> None:
    """Put the job id of a try on record, and the tasks in the order of its array."""
    line = {"job_id": job_id, "at": at, "tasks": list(tasks)}
    files.create(paths.sent(chunk, number), files.dumps(line))


def give_up(paths: SubmissionFiles, chunk: Chunk, words: str, at: float) -> None:
    """Say that what is left of a chunk is never sent, unless somebody begins to just now."""
    if decide(paths, chunk.number, at, number=chunk.tries, void=True):
        refused(paths, chunk.number, words, at, number=chunk.tries)


def namesakes(name: str, decided: float, answer: Answer, recorded: Collection[str]) -> list[str]:
    """Ids of the jobs that a try may have made, by their name.

    Args:
        name: of the chunk.
        decided: unix time just before the try's sbatch; a run root that was removed since may have
            had jobs of the same name.
        answer: the scheduler's.
        recorded: ids of the jobs of other tries, which have the same name.
    """
    return [
        job_id
        for job_id in answer.named(name)
        if job_id not in recorded and answer.submitted(job_id) >= decided - CLOCKS_S
    ]


def unheard_of(chunk: Chunk, answer: Answer, recorded: Collection[str]) -> bool:
    """Whether the controller certainly has no job of the last try of a chunk."""
    if chunk.last is None or chunk.last.decided is None or not answer.reachable:
        return False
    if not chunk.is_of(answer):
        return False
    decided = chunk.last.decided
    late = answer.asked_at - decided >= DOUBT_S
    return late and not namesakes(chunk.name, decided, answer, recorded)
