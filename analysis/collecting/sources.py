"""What one training left in one run root: specification, network, outcomes, attempts.

A file that is torn, foreign or newer is passed over with a warning; a file that is there but
cannot be read (permission, network) stops everything, since a smaller table would look complete.
"""

import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from analysis.collecting import breaks
from analysis.collecting.breaks import Fell
from jobs import files, records
from jobs.errors import CorruptFile, EnvironmentFault
from jobs.layout import AttemptFiles, CellFiles, RunRoot

KNOWN_SCHEMA = 1
"""Newest schema_version of training.json and claim.json that is understood here."""

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_INT64 = 2**63
FOREIGN = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What reading JSON of an unexpected shape can raise."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Outcome:
    """One row of one record; the mask has one byte, 0 or 1, for each sample."""

    attack_id: str
    epsilon: tuple[int, int]
    correct: int
    total: int
    zero_gradient: int
    mask: bytes
    source: "Source"
    fell: Fell | None = None
    seconds: float | None = None

    def differs(self, other: "Outcome") -> bool:
        """Whether two equal rows disagree in what they count.

        How samples fell is left out: an older record does not say it, and norms are rounded
        otherwise on another machine.
        """
        mine, theirs = (
            (o.correct, o.total, o.zero_gradient, o.mask, o.source.samples_sha256, o.source.climbed)
            for o in (self, other)
        )
        return mine != theirs


@dataclass(frozen=True, eq=False)
class Source:
    """What all rows of one record share."""

    path: Path
    root: Path
    attack: dict[str, Any]
    evaluation: dict[str, Any]
    model_sha256: str
    samples_sha256: str
    measured: dict[str, Any]

    @property
    def climbed(self) -> object:
        """SHA-256 of the weights that a transfer attack climbed on."""
        return self.evaluation.get("source_sha256")


@dataclass
class Found:
    """One training in one run root.

    Attributes:
        training: content of training.json; None while it is not done, or invalidated.
        outcomes: rows of all records, by file name, then by epsilon.
        stages: content of all records of stages with their paths, by file name.
    """

    root: Path
    training_id: str
    spec: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    stages: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def training_ids(root: RunRoot, warnings: list[str]) -> list[str]:
    """Ids of all trainings of a run root, sorted; foreign folders give a warning."""
    found = []
    for folder in _listed(root.cells):
        for name in _listed(root.cells / folder):
            if _ID.fullmatch(name) and name.startswith(folder):
                found.append(name)
            else:
                warnings.append(f"{root.cells / folder / name}: not a training's folder; skipped")
    return sorted(found)


def tombstones(root: RunRoot) -> set[str]:
    """What is invalid and may not all be moved away yet: training ids, alone or with attack ids."""
    names = set(_listed(root.invalidated))
    return {
        name.rpartition("-")[0]
        for name in names
        if name.endswith(".json") and f"{name.removesuffix('json')}moved" not in names
    }


def read_cell(root: RunRoot, training_id: str, invalidated: set[str]) -> Found:
    """Read everything a run root holds of one training.

    Raises:
        EnvironmentFault: if a file is there but cannot be read.
    """
    found = Found(root.path, training_id)
    cell = root.cell(training_id)
    try:
        found.attempts = _attempts(cell, found)
        found.spec = _noted(found.warnings, _specification, cell.spec, training_id)
        if training_id not in invalidated:
            found.training = _noted(found.warnings, _training, cell.training, training_id)
            found.outcomes = _outcomes(cell, found, invalidated)
            found.stages = _stages(cell, found)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or cell.folder}: cannot be read ({error.strerror}); nothing was "
            "written and older tables are untouched; repair access to it and collect again"
        ) from error
    return found


def _listed(folder: Path) -> list[str]:
    """Names in a folder, sorted, without files in the making; an absent folder is empty."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _noted(warnings: list[str], read: Callable[..., _T], path: Path, *args: Any) -> _T | None:
    """The result of reading a file; None, with a warning unless it is just absent."""
    try:
        return read(path, *args)
    except FileNotFoundError:
        return None
    except CorruptFile as error:
        warnings.append(f"{error}; skipped")
    except FOREIGN as error:
        warnings.append(f"{path}: has another shape ({error!r}); skipped")
    return None


def _document(path: Path) -> dict[str, Any]:
    return _checked(path, files.read_json(path))


def _checked(path: Path, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CorruptFile(f"{path}: expected a JSON object, found {type(value).__name__}")
    version = value.get("schema_version", KNOWN_SCHEMA)
    if type(version) is not int:
        raise CorruptFile(f"{path}: schema_version is {version!r}, expected a whole number")
    if version > KNOWN_SCHEMA:
        raise CorruptFile(f"{path}: written by a newer spikegrid; update this checkout")
    return value


def _specification(path: Path, training_id: str) -> dict[str, Any]:
    """What was trained; the folder's name vouches for it, as `jobs.identity.training_id` made it."""
    data = files.content(path)
    value = _checked(path, files.parsed(path, data))
    # as it was written, or laid out anew by hand
    if _hash(data) != training_id and _hash(canonical(value).encode()) != training_id:
        raise CorruptFile(f"{path}: is not the specification of {training_id} (altered or moved)")
    return value


def _hash(data: bytes) -> str:
    return hashlib.sha256(b"v1:" + data).hexdigest()[:16]


def _owned(path: Path, training_id: str) -> dict[str, Any]:
    value = _document(path)
    if value.get("training_id", training_id) != training_id:
        raise CorruptFile(f"{path}: is of training {value['training_id']}, not of {training_id}")
    return value


def _training(path: Path, training_id: str) -> dict[str, Any]:
    value = _owned(path, training_id)
    needed = ("label", "model_sha256", "checkpoint", "epochs", "steps", "measured")
    if missing := [key for key in needed if key not in value]:
        raise CorruptFile(f"{path}: lacks {', '.join(missing)}")
    return value


def _outcomes(cell: CellFiles, found: Found, invalidated: set[str]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for name in records.names(cell):
        if f"{found.training_id}-{name.partition('-')[0]}" in invalidated:
            continue
        outcomes += _noted(found.warnings, _rows, cell.evaluations / name, found) or []
    return outcomes


def _rows(path: Path, found: Found) -> list[Outcome]:
    record = records.read(path, _flags)
    if record.training_id != found.training_id:
        raise CorruptFile(f"{path}: is of training {record.training_id}")
    source = Source(
        path=path,
        root=found.root,
        attack=record.attack,
        evaluation=record.evaluation,
        model_sha256=record.model_sha256,
        samples_sha256=record.samples_sha256,
        measured=record.measured,
    )
    outcomes = []
    for row, seconds in zip(record.rows, _row_seconds(record), strict=True):
        radius = (row.epsilon.numerator, row.epsilon.denominator)
        counts = (row.correct, row.total, row.zero_gradient)
        if any(type(n) is not int or not 0 <= n < _INT64 for n in (*radius, *counts)):
            found.warnings.append(
                f"{path}: row of epsilon {row.epsilon}: expected whole numbers of 64 bits, "
                f"found {(*radius, *counts)}; skipped"
            )
            continue
        own = (breaks.of_row(row, record.members), seconds)
        outcomes.append(Outcome(record.attack_id, radius, *counts, bytes(row.mask), source, *own))
    return outcomes


def _flags(text: str, total: int) -> bytes:
    """A mask with one byte, 0 or 1, for each sample."""
    packed = np.frombuffer(binascii.a2b_base64(text), np.uint8)
    return np.unpackbits(packed, count=total).tobytes()


def _row_seconds(record: records.Record) -> list[float | None]:
    """Seconds of each row; None in older records."""
    told = record.measured.get("row_seconds")
    if isinstance(told, list) and len(told) == len(record.rows):
        return [float(one) if isinstance(one, int | float) else None for one in told]
    return [None] * len(record.rows)


def _stages(cell: CellFiles, found: Found) -> list[tuple[Path, dict[str, Any]]]:
    stages = []
    for path in (cell.stages / name for name in _listed(cell.stages) if name.endswith(".json")):
        record = _noted(found.warnings, _owned, path, found.training_id)
        if record is not None and record.get("stage_id") == path.stem:
            stages.append((path, record))
        elif record is not None:
            found.warnings.append(f"{path}: not the record of stage {path.stem}; skipped")
    return stages


def _attempts(cell: CellFiles, found: Found) -> list[dict[str, Any]]:
    rows = []
    for name in _listed(cell.attempts):
        if not (name.isascii() and name.isdigit()):
            found.warnings.append(f"{cell.attempts / name}: not an attempt's folder; skipped")
            continue
        paths = cell.attempt(int(name))
        claim = _noted(found.warnings, _owned, paths.claim, found.training_id)
        if claim is not None:
            end = _noted(found.warnings, _document, paths.end) or {}
            rows.append(_attempt(found, paths, claim, end))
    return rows


def _attempt(
    found: Found, paths: AttemptFiles, claim: dict[str, Any], end: dict[str, Any]
) -> dict[str, Any]:
    from_claim = ("submission", "task", "job_id", "job_name", "host", "pid", "code")
    from_end = ("reason", "signature", "step", "resumed_from", "ended", "seconds")
    return {
        "training_id": found.training_id,
        "root": str(found.root),
        "number": int(paths.folder.name),
        "label": claim.get("label", ""),
        "state": end.get("state", "open"),
        "started": claim.get("claimed"),
        "attacks": claim.get("attacks", []),
        **{key: claim.get(key) for key in from_claim},
        **{key: end.get(key) for key in from_end},
    }


def canonical(value: object) -> str:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
