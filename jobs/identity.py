"""Identity: canonical JSON of a specification, and 16 hex of its SHA-256.

The canonical form is versioned ("v1:") and holds every field, sorted by key, without spaces.
Decimals are normalised text, fractions are "n/d"; floats are refused. A field that a later
version adds is left out while it has the value listed in `NEUTRAL`, so old ids never change.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.errors import CorruptFile

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from snnlib.spec.attack import AnyAttack
    from snnlib.spec.data import Dataset, Evaluation
    from snnlib.spec.model import Model
    from snnlib.spec.stage import Stage
    from snnlib.spec.training import Regime, TrainingSpec
    from snnlib.spec.values import Spec

S = TypeVar("S", bound="Spec")

VERSION = "v1"

NEUTRAL: dict[tuple[str, str], object] = {
    ("Direct", "mean"): (),
    ("Direct", "std"): (),
    ("Sigmoid", "clip"): None,
    ("CleanRegime", "clip_grad_norm"): None,
    ("CleanRegime", "weight_clip"): None,
    ("AdversarialRegime", "clip_grad_norm"): None,
    ("AdversarialRegime", "weight_clip"): None,
    ("CleanRegime", "precision"): "fp32",
    ("AdversarialRegime", "precision"): "fp32",
    ("CleanRegime", "t_max"): None,
    ("AdversarialRegime", "t_max"): None,
    ("AdversarialRegime", "attack_mode"): "eval",
    ("CleanRegime", "batch_norm"): "sync",
    ("AdversarialRegime", "batch_norm"): "sync",
    ("TradesRegime", "batch_norm"): "sync",
    ("RATRegime", "batch_norm"): "sync",
    ("SRRegime", "batch_norm"): "sync",
    ("TrainingSpec", "nds"): None,
    ("Dataset", "validation"): None,
    ("FGSM", "draws"): 1,
    ("RFGSM", "draws"): 1,
    ("BIM", "draws"): 1,
    ("PGD", "draws"): 1,
    ("MIFGSM", "draws"): 1,
    ("APGD", "draws"): 1,
    ("SAPGD", "draws"): 1,
    ("Evaluation", "draws"): 1,
    ("Evaluation", "save_examples"): 0,
    ("SpikingSuite", "source"): None,
}
"""(class name, field) → value at which a field added after version 1 is left out."""

_SHORT = 16
_fragments: dict[int, tuple[object, str]] = {}
_heads: dict[tuple[int, int, int, str | None], tuple[object, hashlib._Hash]] = {}
_adapters: dict[type, TypeAdapter[Any]] = {}


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
            return _exact(value)
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


def _exact(value: Decimal) -> str:
    """All digits of a number, without trailing zeros; `normalize` would round to 28 digits."""
    text = format(value, "f") if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def canonical(value: object) -> str:
    """Canonical JSON of a specification or of plain data."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def short_hash(text: str) -> str:
    """16 hex characters of the SHA-256 of versioned text."""
    return hashlib.sha256(f"{VERSION}:{text}".encode()).hexdigest()[:_SHORT]


def training_id(spec: TrainingSpec) -> str:
    """The id of a trained network.

    Equal to `short_hash(canonical(spec))`; parts shared by many cells are serialised once.
    """
    start = "null" if spec.start is None else json.dumps(spec.start)
    digest = _head(spec.dataset, spec.model, spec.regime, spec.nds).copy()
    digest.update(f'{spec.seed},"start":{start}}}'.encode())
    return digest.hexdigest()[:_SHORT]


def _head(dataset: Dataset, model: Model, regime: Regime, nds: str | None) -> hashlib._Hash:
    """Hash of a training's canonical form up to its seed, remembered by object identity."""
    key = id(dataset), id(model), id(regime), nds
    if key not in _heads:
        signature = "" if nds is None else f'"nds":{json.dumps(nds)},'
        text = (
            f'{VERSION}:{{"dataset":{_fragment(dataset)},"model":{_fragment(model)},{signature}'
            f'"regime":{_fragment(regime)},"seed":'
        )
        # parts that are kept keep their ids
        _heads[key] = (dataset, model, regime), hashlib.sha256(text.encode())
    return _heads[key][1]


def attack_id(attack: object, evaluation: Evaluation, dataset: str) -> str:
    """The id of an attack on an evaluation set; no training id and no batch size in it."""
    draws = "" if evaluation.draws == 1 else f'"draws":{evaluation.draws},'
    chosen = (
        f'"attack":{_fragment(attack)},"dataset":{json.dumps(dataset)},{draws}'
        f'"samples":{json.dumps(evaluation.samples)},"seed":{evaluation.seed},'
        f'"split":{json.dumps(evaluation.split)}'
    )
    return short_hash("{" + chosen + "}")


def stage_id(stage: Stage) -> str:
    """The id of a stage, the same for all networks."""
    return short_hash(_fragment(stage))


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


def restore(data: dict[str, Any]) -> TrainingSpec:
    """The training whose canonical form was read from spec.json.

    Raises:
        CorruptFile: if it is none, or holds another revision of a part than this program has.
    """
    from snnlib.spec.training import TrainingSpec

    return restore_as(TrainingSpec, data)


def restore_attack(data: dict[str, Any]) -> AnyAttack:
    """The attack whose canonical form was read from a record.

    Raises:
        CorruptFile: if it is none, or of another revision than this program has.
    """
    found: AnyAttack = _restored(_attacks(), data)
    return found


def restore_stage(data: dict[str, Any]) -> Stage:
    """The stage whose canonical form was read from a work order; errors as `restore_attack`."""
    found: Stage = _restored(_stages(), data)
    return found


def restore_as(kind: type[S], data: dict[str, Any]) -> S:
    """Any specification from its canonical form; errors as `restore`."""
    from pydantic import TypeAdapter  # a tenth of a second, which who only looks need not wait

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    found: S = _restored(_adapters[kind], data)
    return found


@functools.cache
def _attacks() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    from snnlib.spec.attack import AnyAttack

    return TypeAdapter(AnyAttack)


@functools.cache
def _stages() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    from snnlib.spec.stage import Stage

    return TypeAdapter(Stage)


def _restored(adapter: TypeAdapter[Any], data: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from snnlib.spec.values import CANONICAL

    try:
        found = adapter.validate_python(_without_revisions(data), context=CANONICAL)
        changed = differences(data, found)
    except (TypeError, ValidationError) as error:
        reason = str(error).replace("\n", " ")[:300]
        raise CorruptFile(f"not a specification of this program: {reason}") from error
    for path, theirs, ours in changed:
        what = path.replace(".revision", " revision") if "." in path else path
        message = f"{what} is {json.dumps(theirs)}, this program has {json.dumps(ours)}"
        raise CorruptFile(f"{message}; use the checkout that wrote it, or a new run root")
    return found


def _without_revisions(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key != "revision"}
        return {key: _without_revisions(item) for key, item in kept.items()}
    return [_without_revisions(item) for item in value] if isinstance(value, list) else value
