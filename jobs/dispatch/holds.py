"""Holds: what keeps the waiting tasks of a submission from starting.

A hold is a write-once file; it is in force while its release, another such file, is missing. Every
task looks before it starts a cell, so the scheduler need not be told, and nobody has to be awake:
a task that finds a hold skips itself and is sent anew once the hold is released.

A submission with a canary is born with a hold that its canary alone passes, and releases when its
cell is recorded. The circuit breaker (`jobs.dispatch.breaker`) makes the others; people release them.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs import attempts, files, processes
from jobs.layout import RunRoot, SubmissionFiles

SCHEMA_VERSION = 1
MARK = "held "
"""Start of the reason of every task that skipped itself for a hold."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One hold in force.

    Attributes:
        number: from 1.
        reason: as its file tells it.
        why: the same for people, with what became of a canary.
        canary: the task that passes, and for whose first cell the others wait; None if none does.
        cell: training id of the canary's cell, or of the failure that stands for all.
        label: of that cell.
    """

    number: int
    reason: str
    why: str
    canary: int | None = None
    cell: str = ""
    label: str = ""

    @property
    def skip(self) -> str:
        """What a task says that skips itself for this hold, and for no other."""
        return f"{MARK}(hold {self.number}): {self.reason}"


def in_force(paths: SubmissionFiles) -> list[Hold]:
    """The holds of a submission that nobody released; one failed look where there is none."""
    found: list[Hold] = []
    for number in itertools.count(1):
        line = next(files.read_lines(paths.held(number)), None)
        if line is None:
            return found
        if not paths.released(number).exists():
            found.append(
                Hold(
                    number=number,
                    reason=line["reason"],
                    why=line["reason"],
                    canary=line.get("canary"),
                    cell=line.get("training_id", ""),
                    label=line.get("label", ""),
                )
            )
    raise AssertionError("numbers do not end")


def blocking(paths: SubmissionFiles, task: int) -> Hold | None:
    """The hold that a task of a submission must not pass, or None."""
    return next((hold for hold in in_force(paths) if hold.canary != task), None)


def of(root: RunRoot, numbers: Iterable[int]) -> dict[int, list[Hold]]:
    """The holds in force of some submissions, in words for people, by submission."""
    found = {}
    for number in numbers:
        paths = root.submission(number)
        if holds := in_force(paths):
            found[number] = [replace(hold, why=_why(root, number, hold)) for hold in holds]
    return found


def _why(root: RunRoot, number: int, hold: Hold) -> str:
    if hold.canary is None:
        return hold.reason
    cell = root.cell(hold.cell)
    tried = [attempts.read(cell, n) for n in attempts.numbers(cell)]
    own = [one for one in tried if (one.submission, one.task) == (number, hold.canary)]
    if not own:
        return f"its canary {hold.label} has not run"
    told = f": {own[-1].reason}" if own[-1].reason else ""
    return f"its canary {hold.label} {own[-1].state or 'ended without a word'}{told}"


def canary(task: int, order: Mapping[str, Any]) -> bytes:
    """The first hold of a submission whose tasks wait for the first cell of one of them."""
    about = {"canary": task, "training_id": order["training_id"], "label": order["label"]}
    reason = f"waits for its canary {order['label']}"
    return files.dumps({"schema_version": SCHEMA_VERSION, "reason": reason, **about})


def create(paths: SubmissionFiles, reason: str, at: float, **about: Any) -> bool:
    """Hold a submission; False if another process did so at the same moment."""
    line = {"schema_version": SCHEMA_VERSION, "reason": reason, "at": at, **about}
    return files.create(paths.held(_next(paths)), files.dumps(line))


def _next(paths: SubmissionFiles) -> int:
    return next(n for n in itertools.count(1) if not paths.held(n).exists())


def released(paths: SubmissionFiles) -> int:
    """How many holds of a submission were released."""
    return sum(paths.released(number).exists() for number in range(1, _next(paths)))


def release(paths: SubmissionFiles, at: float, *, canary: int | None = None) -> int:
    """Release the holds in force of a submission, or the one that a canary passes.

    Returns:
        How many were in force.
    """
    chosen = [hold for hold in in_force(paths) if canary is None or hold.canary == canary]
    for hold in chosen:
        line = {"at": at, "canary": canary, **processes.this().data()}
        files.create(paths.released(hold.number), files.dumps(line))
    return len(chosen)
