"""What one training left in one run root: specification, network, outcomes, attempts.

A file that is torn, foreign or newer is passed over with a warning; a file that is there but
cannot be read (permission, network) stops everything, since a smaller table would look complete.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

from analysis.collecting import breaks, listing, specifications
from analysis.collecting.breaks import Fell
from analysis.collecting.listing import Held
from analysis.collecting.specifications import Specification
from jobs import files, records
from jobs.errors import CorruptFile, EnvironmentFault
from jobs.records import PackedRecord

KNOWN_SCHEMA = 1
"""Newest schema_version of training.json and claim.json that is understood here."""

_INT64 = 2**63
FOREIGN = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What reading JSON of an unexpected shape can raise."""

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Source:
    """What all rows of one record share; `name` is that of its file, the others as in a record."""

    folder: str
    name: str
    root: str
    attack_id: str
    attack: dict[str, Any]
    evaluation: dict[str, Any]
    model_sha256: str
    samples_sha256: str
    measured: dict[str, Any]

    @property
    def path(self) -> str:
        """Of the record."""
        return f"{self.folder}/{self.name}"

    @property
    def climbed(self) -> object:
        """SHA-256 of the weights that a transfer attack climbed on."""
        return self.evaluation.get("source_sha256")


class Outcome(NamedTuple):
    """One row of one record; the mask has a bit for each sample (`jobs.records.pack`)."""

    attack_id: str
    epsilon: tuple[int, int]
    correct: int
    total: int
    zero_gradient: int
    mask: bytes
    source: Source
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


@dataclass
class Found:
    """One training in one run root.

    Attributes:
        root: the run root.
        folder: of the training.
        held: what is there by names.
        training: content of training.json; None while it is not done, or invalidated.
        outcomes: rows of all records, by file name, then by epsilon.
        stages: content of all records of stages with their paths, by file name.
    """

    root: str
    training_id: str
    folder: str
    held: Held
    spec: Specification | None = None
    training: dict[str, Any] | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    stages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_cell(cells: str, training_id: str, invalidated: set[str]) -> Found:
    """Read everything a run root holds of one training.

    Args:
        cells: folder of all cells of the run root.
        training_id: of the training.
        invalidated: what of the run root is invalid: training ids, alone or with attack ids.

    Raises:
        EnvironmentFault: if a file is there but cannot be read.
    """
    folder = f"{cells}/{training_id[:2]}/{training_id}"
    held = listing.held(cells, training_id)
    found = Found(cells.rpartition("/")[0] or "/", training_id, folder, held)
    try:
        _attempts(found)
        path = folder + listing.SPEC
        found.spec = _noted(found.warnings, _specification, path, training_id)
        if training_id not in invalidated:
            path = folder + listing.TRAINING
            found.training = _noted(found.warnings, _training, path, training_id)
            _outcomes(found, invalidated)
            _stages(found)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or folder}: cannot be read ({error.strerror}); nothing was "
            "written and older tables are untouched; repair access to it and collect again"
        ) from error
    return found


def _noted(warnings: list[str], read: Callable[..., _T], path: str, *args: Any) -> _T | None:
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


def _content(path: str) -> bytes:
    try:
        return files.content(path)
    except OSError as error:
        error.filename = path  # a folder of this name opens, and says no name when it is read
        raise


def _document(path: str) -> dict[str, Any]:
    return _checked(path, files.parsed(path, _content(path)))


def _checked(path: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CorruptFile(f"{path}: expected a JSON object, found {type(value).__name__}")
    version = value.get("schema_version", KNOWN_SCHEMA)
    if type(version) is not int:
        raise CorruptFile(f"{path}: schema_version is {version!r}, expected a whole number")
    if version > KNOWN_SCHEMA:
        raise CorruptFile(f"{path}: written by a newer spikegrid; update this checkout")
    return value


def _specification(path: str, training_id: str) -> Specification:
    """What was trained; the folder's name vouches for it, as `jobs.identity.training_id` made it."""
    data = _content(path)
    value = _checked(path, files.parsed(path, data))
    # as it was written, or laid out anew by hand
    as_written = _hash(data) == training_id
    found = specifications.of_value(value, data.decode() if as_written else None)
    if not as_written and _hash(found.text.encode()) != training_id:
        raise CorruptFile(f"{path}: is not the specification of {training_id} (altered or moved)")
    return found


def _hash(data: bytes) -> str:
    return hashlib.sha256(b"v1:" + data).hexdigest()[:16]


def _owned(path: str, training_id: str) -> dict[str, Any]:
    value = _document(path)
    if value.get("training_id", training_id) != training_id:
        raise CorruptFile(f"{path}: is of training {value['training_id']}, not of {training_id}")
    return value


def _training(path: str, training_id: str) -> dict[str, Any]:
    value = _owned(path, training_id)
    needed = ("label", "model_sha256", "checkpoint", "epochs", "steps", "measured")
    if missing := [key for key in needed if key not in value]:
        raise CorruptFile(f"{path}: lacks {', '.join(missing)}")
    return value


def _outcomes(found: Found, invalidated: set[str]) -> None:
    folder = found.folder + listing.EVALUATIONS
    for name in found.held.evaluations:
        if f"{found.training_id}-{name.partition('-')[0]}" in invalidated:
            continue
        found.outcomes += _noted(found.warnings, _rows, f"{folder}/{name}", found) or []


def _rows(path: str, found: Found) -> list[Outcome]:
    record = records.read_packed(path)
    head = record.head
    if head["training_id"] != found.training_id:
        raise CorruptFile(f"{path}: is of training {head['training_id']}")
    folder, _, name = path.rpartition("/")
    attack_id = head["attack_id"]
    source = Source(
        folder=folder,
        name=name,
        root=found.root,
        attack_id=attack_id,
        attack=head["attack"],
        evaluation=head["evaluation"],
        model_sha256=head["model_sha256"],
        samples_sha256=head["samples_sha256"],
        measured=head["measured"],
    )
    outcomes = []
    for row, seconds in zip(record.rows, _row_seconds(record), strict=True):
        epsilon, correct, total, zero_gradient, mask, told = row
        # many rows, hence no loop over them; the mask holds 0 <= correct <= total
        if not (
            type(correct) is type(total) is type(zero_gradient) is int
            and 0 <= total < _INT64
            and 0 <= zero_gradient < _INT64
            and 0 <= epsilon[0] < _INT64
            and epsilon[1] < _INT64
        ):
            found.warnings.append(
                f"{path}: row of epsilon {Fraction(*epsilon)}: expected whole numbers of 64 bits, "
                f"found {(*epsilon, correct, total, zero_gradient)}; skipped"
            )
            continue
        fell = None if told is None else breaks.of_row(row, record.members)
        counts = (correct, total, zero_gradient)
        outcomes.append(Outcome(attack_id, epsilon, *counts, mask, source, fell, seconds))
    return outcomes


def _row_seconds(record: PackedRecord) -> list[float | None]:
    """Seconds of each row; None in older records."""
    told = record.head["measured"].get("row_seconds")
    if isinstance(told, list) and len(told) == len(record.rows):
        return [float(one) if isinstance(one, int | float) else None for one in told]
    return [None] * len(record.rows)


def _stages(found: Found) -> None:
    for name, _ in found.held.stages:
        path = f"{found.folder}{listing.STAGES}/{name}"
        record = _noted(found.warnings, _owned, path, found.training_id)
        stage_id = name.removesuffix(".json")
        if record is not None and record.get("stage_id") == stage_id:
            found.stages.append((path, record))
        elif record is not None:
            found.warnings.append(f"{path}: not the record of stage {stage_id}; skipped")


def _attempts(found: Found) -> None:
    below = found.folder + listing.ATTEMPTS
    for name in found.held.attempts:
        if not (name.isascii() and name.isdigit()):
            found.warnings.append(f"{below}/{name}: not an attempt's folder; skipped")
            continue
        number = int(name)
        folder = f"{below}/{number:04d}"
        claim = _noted(found.warnings, _owned, folder + listing.CLAIM, found.training_id)
        if claim is not None:
            end = _noted(found.warnings, _document, folder + listing.END) or {}
            found.attempts.append(_attempt(found, number, claim, end))


def _attempt(
    found: Found, number: int, claim: dict[str, Any], end: dict[str, Any]
) -> dict[str, Any]:
    from_claim = (
        *("submission", "task", "job_id", "job_name", "host", "pid"),
        *("code", "processes", "gpus"),
    )
    from_end = ("reason", "signature", "step", "resumed_from", "ended", "seconds")
    return {
        "training_id": found.training_id,
        "root": found.root,
        "number": number,
        "label": claim.get("label", ""),
        "state": end.get("state", "open"),
        "started": claim.get("claimed"),
        "attacks": claim.get("attacks", []),
        **{key: claim.get(key) for key in from_claim},
        **{key: end.get(key) for key in from_end},
    }
