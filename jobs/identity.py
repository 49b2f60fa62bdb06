"""Identity: canonical JSON of a specification, and 16 hex of its SHA-256.

The canonical form is versioned ("v1:") and holds every field, sorted by key, without spaces.
Decimals are normalised text, fractions are "n/d"; floats are refused. A field that a later
version adds is left out while it has the value listed in `NEUTRAL`, so old ids never change.
"""

import dataclasses
import hashlib
import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

from snnlib.spec.data import Evaluation
from snnlib.spec.training import TrainingSpec

VERSION = "v1"

NEUTRAL: dict[tuple[str, str], object] = {}
"""(class name, field) → value at which a field added after version 1 is left out."""

_fragments: dict[int, tuple[object, str]] = {}


def plain(value: object) -> Any:
    """A specification as JSON-ready data, exactly.

    Raises:
        TypeError: for a float or any other type that has no exact text.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        data = {
            f.name: plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if (key := (type(value).__name__, f.name)) not in NEUTRAL
            or NEUTRAL[key] != getattr(value, f.name)
        }
        revision = getattr(type(value), "revision", None)
        return data if revision is None else {**data, "revision": revision}
    match value:
        case Decimal():
            return format(value.normalize(), "f")
        case Fraction():
            return f"{value.numerator}/{value.denominator}"
        case bool() | int() | str() | None:
            return value
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case _:
            raise TypeError(f"{type(value).__name__} has no exact canonical form")


def canonical(value: object) -> str:
    """Canonical JSON of a specification or of plain data."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def short_hash(text: str) -> str:
    """16 hex characters of the SHA-256 of versioned text."""
    return hashlib.sha256(f"{VERSION}:{text}".encode()).hexdigest()[:16]


def training_id(spec: TrainingSpec) -> str:
    """The id of a trained network.

    Equal to `short_hash(canonical(spec))`; parts shared by many cells are serialised once.
    """
    parts = (
        ("dataset", _fragment(spec.dataset)),
        ("model", _fragment(spec.model)),
        ("regime", _fragment(spec.regime)),
        ("seed", str(spec.seed)),
        ("start", json.dumps(spec.start)),
    )
    return short_hash("{" + ",".join(f'"{key}":{text}' for key, text in parts) + "}")


def attack_id(attack: object, evaluation: Evaluation, dataset: str) -> str:
    """The id of an attack on an evaluation set; no training id and no batch size in it."""
    chosen = (
        f'"attack":{_fragment(attack)},"dataset":{json.dumps(dataset)},'
        f'"samples":{json.dumps(evaluation.samples)},"seed":{evaluation.seed},'
        f'"split":{json.dumps(evaluation.split)}'
    )
    return short_hash("{" + chosen + "}")


def _fragment(part: object) -> str:
    """Canonical JSON of a part, remembered by object identity (parts are frozen)."""
    known = _fragments.get(id(part))
    if known is None or known[0] is not part:
        known = _fragments[id(part)] = (part, canonical(part))
    return known[1]


def differences(a: object, b: object, path: str = "") -> list[tuple[str, Any, Any]]:
    """Keys whose values differ between two specifications, as (path, in a, in b)."""
    left, right = (plain(v) for v in (a, b))
    if not (isinstance(left, dict) and isinstance(right, dict)):
        return [] if left == right else [(path, left, right)]
    found: list[tuple[str, Any, Any]] = []
    for key in sorted({*left, *right}):
        where = f"{path}.{key}" if path else key
        found += differences(left.get(key), right.get(key), where)
    return found
