"""What a run root holds of each training, by names alone: whether anything came, went or was moved.

Records, claims, ends and specifications are written once, and a record's name holds the hash of
its content, so equal names are equal content. No clock decides what is new.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from jobs.errors import EnvironmentFault
from jobs.layout import AttemptFiles, CellFiles, RunRoot


class Holder(NamedTuple):
    """A run root that holds a training.

    Attributes:
        cells: folder of all its cells.
        dead: what is invalid there: training ids, alone or with attack ids.
        stones: the same by training. As the rows are read by: a tombstone of a later moment is
            news to the next collection.
    """

    cells: str
    dead: set[str]
    stones: Mapping[str, list[str]]


Holders = tuple[str, list[Holder]]
"""A training and those who hold it."""

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_CELL, _ATTEMPT = CellFiles(Path()), AttemptFiles(Path())
# as text, because a Path costs more than the call that it is made for
SPEC, TRAINING, EVALUATIONS, ATTEMPTS, STAGES = (
    f"/{path.name}"
    for path in (_CELL.spec, _CELL.training, _CELL.evaluations, _CELL.attempts, _CELL.stages)
)
CLAIM, END = f"/{_ATTEMPT.claim.name}", f"/{_ATTEMPT.end.name}"
"""Names in the folder of a training, and in that of an attempt."""

File = tuple[int, int]
"""Inode and size, of a file whose name does not tell its content; one may be written anew by hand."""


class Held(NamedTuple):
    """What one run root holds of a training; names are sorted, files in the making left out.

    Attributes:
        spec: its specification.
        training: its outcome.
        evaluations: names of its records.
        attempts: names of the folders of its attempts.
        ended: of each attempt, whether it has a claim, and whether it has an end.
        stages: names of the records of its stages, and the files.
    """

    spec: File | None
    training: File | None
    evaluations: list[str]
    attempts: list[str]
    ended: list[bool]
    stages: list[tuple[str, File | None]]


def holders(roots: Sequence[RunRoot], warnings: list[str]) -> dict[str, list[Holder]]:
    """All trainings of some run roots, by id in order, with those who hold them."""
    found: dict[str, list[Holder]] = defaultdict(list)
    for root in roots:
        dead = _tombstones(root)
        holder = Holder(str(root.cells), dead, _by_training(dead))
        for training_id in _training_ids(root, warnings):
            found[training_id].append(holder)
    return {training_id: found[training_id] for training_id in sorted(found)}


def _training_ids(root: RunRoot, warnings: list[str]) -> list[str]:
    """Ids of all trainings of a run root, sorted; foreign folders give a warning."""
    found = []
    for folder in _names(str(root.cells)):
        for name in _names(f"{root.cells}/{folder}"):
            if _ID.fullmatch(name) and name.startswith(folder):
                found.append(name)
            else:
                warnings.append(f"{root.cells / folder / name}: not a training's folder; skipped")
    return sorted(found)


def _tombstones(root: RunRoot) -> set[str]:
    """What is invalid and may not all be moved away yet: training ids, alone or with attack ids."""
    names = set(_names(str(root.invalidated)))
    return {
        name.rpartition("-")[0]
        for name in names
        if name.endswith(".json") and f"{name.removesuffix('json')}moved" not in names
    }


def _by_training(invalid: Set[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(invalid):
        found[name.partition("-")[0]].append(name)
    return dict(found)


def mark(training_id: str, found: Sequence[tuple[Holder, Held]]) -> str:
    """A text that changes whenever something of a training came, went or was moved.

    Args:
        training_id: of the training.
        found: who holds it, and what is held there.
    """
    told = [(holder.cells, holder.stones.get(training_id), *there) for holder, there in found]
    return hashlib.sha256("\n".join(map(repr, told)).encode()).hexdigest()[:16]


def held(cells: str, training_id: str) -> Held:
    """What is there of a training.

    Args:
        cells: folder of all cells of a run root.
        training_id: of the training.

    Raises:
        EnvironmentFault: if a folder is there but cannot be listed.
    """
    folder = f"{cells}/{training_id[:2]}/{training_id}"
    try:
        spec, training = _file(folder + SPEC), _file(folder + TRAINING)
        evaluations = _records(folder + EVALUATIONS)
        below = folder + ATTEMPTS
        attempts = _names(below)
        ended = [
            os.access(f"{below}/{name}{file}", os.F_OK)
            for name in attempts
            for file in (CLAIM, END)
        ]
        below = folder + STAGES
        stages = [(name, _file(f"{below}/{name}")) for name in _records(below)]
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or folder}: cannot be read ({error.strerror}); nothing was written "
            "and older tables are untouched; repair access to it and collect again"
        ) from error
    return Held(spec, training, evaluations, attempts, ended, stages)


def _records(folder: str) -> list[str]:
    return [name for name in _names(folder) if name.endswith(".json")]


def _names(folder: str) -> list[str]:
    """Names in a folder, sorted, without files in the making; an absent folder is empty."""
    try:
        return sorted([name for name in os.listdir(folder) if name[0] != "."])
    except (FileNotFoundError, NotADirectoryError):
        return []


def _file(path: str) -> File | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path costs five times the call
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_size
