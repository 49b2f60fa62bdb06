"""How far running cells are, by the metrics and events of their last attempts.

Files are read again only when they grew: a watcher asks every second, over a network filesystem.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs import attempts, files
from jobs.attempts import Attempt
from jobs.layout import AttemptFiles, CellFiles, RunRoot
from jobs.planning.plan import Planned
from jobs.planning.status_text import Trace

_SPEED = 5
"""Epochs whose time tells how long the others will take."""


@dataclass(frozen=True, kw_only=True)
class Headway:
    """How far one cell is.

    Attributes:
        doing: "training", the name of an attack, or "" while nothing is known.
        done, of: epochs, or batches of the attack; `of` is 0 while it is not known.
        loss: of the last epoch; None in an attack, as all below.
        accuracy: share of the validation split; None also if there is none.
        judge: "val", or "test" where test images choose the epoch.
        images_per_s: training speed; None also in run roots of older versions.
        left_s: seconds that are left of the training or the attack; None if nobody can tell.
    """

    doing: str = ""
    done: int = 0
    of: int = 0
    loss: float | None = None
    accuracy: float | None = None
    judge: str = "val"
    images_per_s: float | None = None
    left_s: float | None = None


class Watcher:
    """Looks at running cells again and again."""

    def __init__(self, root: RunRoot) -> None:
        self._root = root
        self._read: dict[Path, tuple[tuple[int, int], list[dict[str, Any]]]] = {}
        self._plans: dict[str, tuple[int, str]] = {}

    def of(self, training_id: str, now: float) -> Headway:
        """How far the newest attempt at a training is.

        Args:
            training_id: of the cell.
            now: unix time.
        """
        cell = self._root.cell(training_id)
        tried = attempts.numbers(cell)
        if not tried:
            return Headway()
        newest = cell.attempt(tried[-1])
        if cell.training.exists():
            return _attacking(self._lines(newest.events), now)
        # an attempt that goes on has no line of its own before its first epoch ends
        for number in reversed(tried):
            path = cell.attempt(number).metrics
            if lines := [line for line in self._lines(path) if _is_epoch(line)]:
                of, judge = self._planned(cell, training_id)
                found = _training(lines, of, now - self._read[path][0][0] / 1e9)
                return replace(found, judge=judge)
        return Headway(doing="training", of=self._planned(cell, training_id)[0])

    def ended(self, training_id: str) -> bool:
        """Whether the newest attempt has said how it ended."""
        cell = self._root.cell(training_id)
        tried = attempts.numbers(cell)
        return bool(tried) and cell.attempt(tried[-1]).end.exists()

    def _lines(self, path: Path) -> list[dict[str, Any]]:
        try:
            found = os.stat(path)  # noqa: PTH116 - one call for both
        except OSError:
            return []
        stamp = found.st_mtime_ns, found.st_size
        if path not in self._read or self._read[path][0] != stamp:
            self._read[path] = stamp, list(files.read_lines(path))
        return self._read[path][1]

    def _planned(self, cell: CellFiles, training_id: str) -> tuple[int, str]:
        """Epochs of a training, and the split that judges them."""
        if training_id not in self._plans:
            regime = next(files.read_lines(cell.spec), {}).get("regime", {})
            judge = "test" if regime.get("select") == "best_test" else "val"
            self._plans[training_id] = int(_number(regime, "epochs") or 0), judge
        return self._plans[training_id]


def _number(line: Mapping[str, Any], key: str) -> float | None:
    """A number of a line; None if it has none there, as in a foreign or an older file."""
    value = line.get(key)
    return value if isinstance(value, int | float) else None


def _is_epoch(line: Mapping[str, Any]) -> bool:
    return isinstance(line.get("epoch"), int)


def _training(lines: Sequence[Mapping[str, Any]], of: int, since_s: float) -> Headway:
    """Headway of a training by its epochs; the last one ended some seconds ago."""
    last = lines[-1]
    correct, total = (_number(last, f"validation_{name}") for name in ("correct", "total"))
    recent = [s for line in lines[-_SPEED:] if (s := _number(line, "seconds")) is not None]
    each = sum(recent) / len(recent) if recent else None
    left = None if each is None or not of else max(0.0, each * (of - last["epoch"]) - since_s)
    return Headway(
        doing="training",
        done=last["epoch"],
        of=of,
        loss=_number(last, "loss"),
        accuracy=correct / total if correct is not None and total else None,
        images_per_s=_number(last, "images_per_s"),
        left_s=left,
    )


def _attacking(events: Sequence[Mapping[str, Any]], now: float) -> Headway:
    """Headway of the attack under way, by the events since the last record."""
    recorded = [i for i, event in enumerate(events) if event.get("event") == "recorded"]
    fresh = events[recorded[-1] + 1 :] if recorded else events
    words = [
        (str(event.get("name")), at, int(done), int(of))
        for event in fresh
        if event.get("event") == "partial"
        and (at := _number(event, "at")) is not None
        and (done := _number(event, "done")) is not None
        and (of := _number(event, "of")) is not None
    ]
    if not words:
        return Headway(doing="attacks")
    (_, began, before, _), (name, at, done, of) = words[0], words[-1]
    left = None
    if done > before:
        left = max(0.0, (at - began) / (done - before) * (of - done) - (now - at))
    return Headway(doing=name, done=done, of=of, left_s=left)


def trace(root: RunRoot, item: Planned, last: Attempt) -> Trace:
    """What the last attempt at a cell left behind."""
    if not last.claimed:
        return Trace()
    paths: AttemptFiles = root.cell(item.cell.training_id).attempt(last.number)
    epochs = [line["epoch"] for line in files.read_lines(paths.metrics) if _is_epoch(line)]
    tail = attempts.tail(paths)
    trained = root.cell(item.cell.training_id).training.exists()
    return Trace(epoch=0 if trained else max(epochs, default=0), line=tail[-1] if tail else "")
