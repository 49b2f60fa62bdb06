"""Which code a cell goes on with: that of its last attempt, or that of the checkout now.

A training that was interrupted goes on with the code that it began with, so that an edit in between
does not mix two programs in one network unnoticed.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jobs import files
from jobs.dispatch import snapshot
from jobs.layout import AttemptFiles, RunRoot
from jobs.planning.plan import SENT, Planned, Progress

Choice = Literal["same", "new"]


def chosen(
    root: RunRoot,
    items: Sequence[Planned],
    known: Mapping[str, Progress],
    choice: Choice | None,
) -> dict[str, str]:
    """Hashes of the code of those cells that go on with another code than that of the checkout.

    Args:
        root: the run root.
        items: the plan.
        known: progress by training id.
        choice: "same": whatever ran before; "new": the checkout, always; None: the same for a
            training that goes on from a checkpoint.
    """
    older = {
        item.cell.training_id: _last(root, item.cell.training_id, known)
        for item in items
        if item.action in SENT and (choice == "same" or (choice is None and item.step > 0))
    }
    found = {key: code for key, code in older.items() if code}
    now = snapshot.current() if found else ""
    return {key: code for key, code in found.items() if code != now}


def _last(root: RunRoot, training_id: str, known: Mapping[str, Progress]) -> str:
    """The code that the last attempt ran, as its claim says; empty if there was none."""
    cell = root.cell(training_id)
    for attempt in reversed(known.get(training_id, Progress()).attempts):
        for claim in files.read_lines(cell.attempt(attempt.number).claim):
            return str(claim.get("code", ""))
    return ""


def told(root: RunRoot, found: Mapping[str, str]) -> list[str]:
    """What a plan says of cells that go on with an older code."""
    there = [code for code in found.values() if (root.code / code).is_dir()]
    lines = []
    if there:
        lines.append(
            f"  {len(there):>5,} code changed since its checkpoint; goes on with the same code "
            "(--code new to change)"
        )
    for code in sorted({*found.values()} - {*there}):
        lines.append(
            f"  {[*found.values()].count(code):>5,} code changed, and {root.code / code} is not "
            "there any more; goes on with the new code"
        )
    return lines


def of_order(root: RunRoot, order: Mapping[str, Any], new: str) -> str:
    """The code that a work order is to run: its own if that is there, else the submission's."""
    own = str(order.get("code", new))
    return own if (root.code / own).is_dir() else new


def note(attempt: AttemptFiles, order: Mapping[str, Any], code: str) -> None:
    """Put on record that an attempt runs another code than it was sent with."""
    if order.get("code", code) != code:
        why = f"{order['code']} is not among the run root's code any more"
        files.append(attempt.events, {"at": time.time(), "event": "code", "code": code, "why": why})
