"""What a run root holds of each training, by names alone: whether anything came, went or was moved.

Records, claims, ends and specifications are written once, and a record's name holds the hash of
its content, so equal names are equal content. No clock decides what is new.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path

from analysis.collecting.gather import Holder
from jobs.errors import EnvironmentFault
from jobs.forked import spread
from jobs.layout import AttemptFiles, CellFiles, RunRoot

SHARE = 1_500
"""Trainings that are worth a process of their own."""

_CELL, _ATTEMPT = CellFiles(Path()), AttemptFiles(Path())
_WRITTEN_ONCE = (_ATTEMPT.claim.name, _ATTEMPT.end.name)


def marks(some: Sequence[tuple[str, list[Holder]]]) -> dict[str, str]:
    """A text for each training that changes whenever something of it came, went or was moved.

    Raises:
        EnvironmentFault: if a folder is there but cannot be listed.
    """
    dead = {root.path: invalid for _, found in some for root, invalid in found}
    # as the rows are read by: a tombstone of a later moment is news to the next collection
    stones = {path: _stones(invalid) for path, invalid in dead.items()}
    shares = spread(partial(_marks, stones), some, least=SHARE)
    return dict(pair for share in shares for pair in share)


def _stones(invalid: Set[str]) -> Mapping[str, list[str]]:
    """What is invalid, by training."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(invalid):
        found[name.partition("-")[0]].append(name)
    return found


def _marks(
    stones: Mapping[Path, Mapping[str, list[str]]], some: Sequence[tuple[str, list[Holder]]]
) -> list[tuple[str, str]]:
    found = []
    for training_id, roots in some:
        told = [
            repr((str(root.path), stones[root.path].get(training_id), _held(root, training_id)))
            for root, _ in roots
        ]
        found.append((training_id, hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]))
    return found


def _held(root: RunRoot, training_id: str) -> list[object]:
    """What is there of a training; a file whose name does not tell its content, with its size."""
    folder = f"{root.cells}/{training_id[:2]}/{training_id}"
    try:
        own = [_file(f"{folder}/{path.name}") for path in (_CELL.spec, _CELL.training)]
        evaluated = [name for name in _names(f"{folder}/{_CELL.evaluations.name}") if _counts(name)]
        tried = _names(f"{folder}/{_CELL.attempts.name}")
        below = f"{folder}/{_CELL.attempts.name}"
        ended = [
            os.access(f"{below}/{name}/{file}", os.F_OK) for name in tried for file in _WRITTEN_ONCE
        ]
        stages = f"{folder}/{_CELL.stages.name}"
        staged = [(name, _file(f"{stages}/{name}")) for name in _names(stages) if _counts(name)]
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or folder}: cannot be read ({error.strerror}); nothing was written "
            "and older tables are untouched; repair access to it and collect again"
        ) from error
    return [*own, evaluated, tried, ended, staged]


def _counts(name: str) -> bool:
    return name.endswith(".json")


def _names(folder: str) -> list[str]:
    """Names in a folder, sorted, without files in the making; an absent folder is empty."""
    try:
        return sorted([name for name in os.listdir(folder) if name[0] != "."])
    except (FileNotFoundError, NotADirectoryError):
        return []


def _file(path: str) -> tuple[int, int] | None:
    """Which file has a name, since one may be deleted by hand and written anew."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path costs five times the call
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_size
