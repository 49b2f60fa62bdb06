"""How much was left out because somebody declared it invalid, and why."""

from collections import Counter
from collections.abc import Sequence

from jobs import files
from jobs.errors import CorruptFile
from jobs.layout import RunRoot

MOST = 5
"""Reasons that are listed at most."""


def left_out(roots: Sequence[RunRoot]) -> list[str]:
    """One line for each reason, e.g. "18 rows of 2 trainings (invalidated: wrong split)"."""
    rows: Counter[str] = Counter()
    trainings: dict[str, set[str]] = {}
    for root in roots:
        for path in sorted(root.invalidated.glob("*.json")):
            try:
                told = files.read_json(path)
            except CorruptFile:
                told = None
            if isinstance(told, dict):
                why = str(told.get("reason", ""))
                rows[why] += told["rows"] if isinstance(told.get("rows"), int) else 0
                trainings.setdefault(why, set()).add(str(told.get("training_id")))
    lines = [
        f"{_count(rows[why], 'row')} of {_count(len(ids), 'training')} (invalidated: {why})"
        for why, ids in trainings.items()
    ]
    more = len(lines) - MOST
    return lines if more <= 0 else [*lines[:MOST], f"and for {_count(more, 'more reason')}"]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"
