"""Attempts: numbered tries at a cell, each with a claim at its start and an end in its own words.

The number is a fencing token: an attempt that finds a higher one stops. An attempt that was
killed has no end; what became of it follows from its job (jobs.planning.plan).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs import files, processes
from jobs.layout import AttemptFiles, CellFiles

EndState = Literal[
    "completed",
    "failed",
    "out_of_memory",
    "preempted",
    "timeout",
    "node_fail",
    "cancelled",
    "fenced",
    "lost",
]
SCHEMA_VERSION = 1
LOG_TAIL = 20
"""Lines of a log that a failure keeps."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt as its files tell it.

    Attributes:
        number: from 1.
        job_id: of SLURM or the local queue; empty if none.
        job_name: guards against a job id that SLURM used again.
        state: how it ended, or None if it did not say.
        reason: why, for people.
        signature: the same text for failures of the same kind.
        deterministic: the same error would come again.
        advanced: it saved a checkpoint or batches of an evaluation, or wrote a record.
        claimed: it wrote a claim.
        submission: number of the submission that it belongs to; 0 if none.
        task: its task there.
        host: the machine that claimed it.
        process: who wrote the claim.
        seconds: how long it took, as far as it said.
    """

    number: int
    job_id: str = ""
    job_name: str = ""
    state: EndState | None = None
    reason: str = ""
    signature: str = ""
    deterministic: bool = False
    advanced: bool = False
    claimed: bool = True
    submission: int = 0
    task: int = 0
    host: str = ""
    process: processes.Process | None = None
    seconds: float = 0.0


def numbers(cell: CellFiles) -> list[int]:
    """Numbers of all attempts of a cell, ascending."""
    try:
        found = os.listdir(cell.attempts)
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in found if re.fullmatch(r"\d{4,}", name))


def read(cell: CellFiles, number: int) -> Attempt:
    """One attempt; a torn or absent file counts as not written."""
    folder = str(cell.attempt(number).folder)
    claim, end = (_optional(f"{folder}/{name}") for name in _READ)
    return Attempt(
        number=number,
        job_id=claim.get("job_id", ""),
        job_name=claim.get("job_name", ""),
        state=end.get("state"),
        reason=end.get("reason", ""),
        signature=end.get("signature", ""),
        deterministic=end.get("deterministic", False),
        advanced=end["advanced"] if "advanced" in end else _advanced(cell.attempt(number).events),
        claimed=bool(claim),
        submission=claim.get("submission", 0),
        task=claim.get("task", 0),
        host=claim.get("host", ""),
        process=processes.Process.of(claim) if claim else None,
        seconds=end.get("seconds", 0.0),
    )


def read_all(cell: CellFiles) -> list[Attempt]:
    """All attempts of a cell, ascending, those at what was invalidated since among them."""
    return [read(cell, number) for number in numbers(cell)]


_READ = AttemptFiles(Path()).claim.name, AttemptFiles(Path()).end.name


def _optional(path: str | Path) -> dict[str, Any]:
    for line in files.read_lines(path):
        return line
    return {}


def _advanced(events: Path) -> bool:
    """Whether an attempt that was killed had saved or recorded something, by its own events."""
    kept = {"saved", "partial", "recorded"}
    return any(line.get("event") in kept for line in files.read_lines(events))


def claim(cell: CellFiles, details: dict[str, Any], spec: bytes) -> int:
    """Take the next attempt number of a cell.

    Args:
        cell: made, with its spec.json, if this is its first attempt.
        details: what claim.json shall say besides who claims.
        spec: content of spec.json.

    Returns:
        The number, which no other attempt has.
    """
    cell.attempts.mkdir(parents=True, exist_ok=True)
    if not cell.spec.exists():
        files.create(cell.spec, spec)
    number = take(cell)
    head = {"schema_version": SCHEMA_VERSION, "number": number, **processes.this().data()}
    files.create(cell.attempt(number).claim, files.dumps({**head, **details}))
    return number


def take(cell: CellFiles) -> int:
    """Take the next attempt number of a cell, which fences all attempts before it."""
    cell.attempts.mkdir(parents=True, exist_ok=True)
    number = (numbers(cell) or [0])[-1] + 1
    while True:
        try:
            cell.attempt(number).folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return number


def end(attempt: AttemptFiles, state: EndState, reason: str, **details: Any) -> bool:
    """Say how an attempt ended; the first word counts. False if it was said already."""
    return files.create(attempt.end, files.dumps({"state": state, "reason": reason, **details}))


def tail(attempt: AttemptFiles) -> list[str]:
    """The last lines of the log of an attempt that failed; empty if it kept none."""
    return [str(line) for line in _optional(attempt.end).get("tail", [])]


def fenced(cell: CellFiles, number: int) -> bool:
    """Whether a younger attempt has taken over."""
    return (numbers(cell) or [0])[-1] > number


def signature(kind: str, text: str) -> str:
    """An error without what differs from run to run: numbers, addresses, paths."""
    first = (text.strip().splitlines() or [""])[-1][:200]
    bare = re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", re.sub(r"/[^\s'\"]+", "<path>", first))
    return f"{kind}: {bare}" if kind else bare


def log_tail(path: Path) -> list[str]:
    """The last lines of a log; empty if there is none."""
    try:
        text = path.read_bytes()[-20_000:].decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-LOG_TAIL:]


def running_here(found: Sequence[Attempt]) -> Attempt | None:
    """The newest attempt if it did not end and its process lives on this machine."""
    newest = found[-1] if found else None
    if newest is None or newest.state is not None or newest.process is None:
        return None
    return newest if processes.alive(newest.process) else None
