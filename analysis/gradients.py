"""From records of gradients to rows of the table `gradients`, and which of equal ones count.

The first run root counts, as for results; every disagreement becomes a warning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import facts
from analysis.sources import Found
from jobs.schema import GRADIENTS

Record = dict[str, Any]
Block = dict[str, list[Any]]
"""Column → values, of equal length."""

_FOREIGN = (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError)
_SIDES = ("output", "input")


def blocks(found: Sequence[Found], training: Record, warnings: list[str]) -> list[Block]:
    """The rows of one training, a block for each stage, by stage id.

    Args:
        found: the training in each run root, the one that counts most first.
        training: its row of `trainings`.
        warnings: takes what was left out, and why.
    """
    first: dict[str, tuple[Path, Record, Block]] = {}
    for item in found:
        if item.training and item.training["model_sha256"] != training["model_sha256"]:
            continue  # said already
        for path, record in item.stages:
            block = _checked(path, record, training, str(item.root), warnings)
            if block is None:
                continue
            kept = first.setdefault(path.stem, (path, record, block))
            if kept[1] is not record and _result(kept[1]) != _result(record):
                warnings.append(
                    f"{kept[0]} and {path} disagree; "
                    "the first counts; move the other away if you know which is wrong"
                )
    return [block for _, (_, _, block) in sorted(first.items())]


def _result(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "measured"}


def _checked(
    path: Path, record: Record, training: Record, root: str, warnings: list[str]
) -> Block | None:
    """The rows of a record; None if it has none, with a warning if it should have."""
    try:
        if record["stage"]["kind"] != "gradients":
            return None
        if record["model_sha256"] != training["model_sha256"]:
            warnings.append(
                f"{path}: was measured on other weights than training.json names; rows left out"
            )
            return None
        return _block(record, training, root)
    except _FOREIGN as error:
        warnings.append(f"{path}: not a record of gradients ({error!r}); skipped")
        return None


def _block(record: Record, training: Record, root: str) -> Block:
    total, stage = _whole(record["count"]), record["stage"]
    shared = {
        "training_id": training["training_id"],
        "stage_id": record["stage_id"],
        "faithful": training["faithful"],
        **{key: stage[key] for key in ("split", "samples", "loss")},
        "total": total,
        "threshold": float(stage["threshold"]),
        **{key: record[key] for key in ("model_sha256", "samples_sha256")},
        **facts.machine(record["measured"]),
        "batch": record["measured"].get("batch"),
        "root": root,
    }
    if misfits := GRADIENTS.misfits(shared):
        raise ValueError("; ".join(misfits))
    layers = sorted(enumerate(record["layers"]), key=lambda pair: str(pair[1]["name"]))
    parts = [_layer(layer, place, total) for place, layer in layers]
    rows = sum(len(part["step"]) for part in parts)
    block = {name: [value] * rows for name, value in shared.items()}
    for column in GRADIENTS.columns:
        if column.name not in shared:
            block[column.name] = [value for part in parts for value in part[column.name]]
    return block


def _layer(layer: Record, place: int, total: int) -> Block:
    """The varying columns of one layer, a value for each step."""
    steps = len(layer["output"]["zero"])
    at = [-1] if layer["kind"] == "image" else list(range(steps))
    block: Block = {
        "layer": [str(layer["name"])] * steps,
        "kind": [str(layer["kind"])] * steps,
        "place": [place] * steps,
        "step": at,
    }
    for side in _SIDES:
        values = _side(layer.get(side), steps, total)
        block |= {f"{side}_{name}": column for name, column in values.items()}
    neurons = total * _whole(layer["output"]["size"])
    counts = {"firing_rate": ("spikes", neurons), "synops": ("operations", total)}
    for column, (name, divisor) in counts.items():
        found = layer.get(name)
        block[column] = [None] * steps
        if found is not None:
            block[column] = [_whole(value) / divisor for value in found]
    if {len(values) for values in block.values()} != {steps}:
        raise ValueError(f"layer {layer['name']} has values for more or fewer than {steps} steps")
    return block


def _side(side: Record | None, steps: int, total: int) -> Block:
    """What is known of the gradient at one side of a layer."""
    names = ("size", "zero_share", "near_zero_share", "l1", "l2", "cosine", "cosine_pairs")
    if side is None:
        return {name: [None] * steps for name in names}
    size = _whole(side["size"])
    pairs = [_whole(value) for value in side["pairs"]]
    cosines = zip(side["cosine"], pairs, strict=True)
    return {
        "size": [size] * steps,
        **{
            f"{k}_share": [_whole(n) / (size * total) for n in side[k]]
            for k in ("zero", "near_zero")
        },
        **{name: [float(value) / total for value in side[name]] for name in ("l1", "l2")},
        "cosine": [float(value) / n if n else None for value, n in cosines],
        "cosine_pairs": pairs,
    }


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"expected a whole number, found {value!r}")
    return value
