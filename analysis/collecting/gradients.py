"""From records of gradients to rows of the table `gradients`."""

from collections.abc import Sequence

from analysis.collecting import facts, stage_rows
from analysis.collecting.sources import Found
from analysis.collecting.stage_rows import Block, Record, whole
from jobs.schema import GRADIENTS

_SIDES = ("output", "input")


def blocks(found: Sequence[Found], training: Record, warnings: list[str]) -> list[Block]:
    """The rows of one training, a block for each stage, by stage id.

    Args:
        found: the training in each run root, the one that counts most first.
        training: its row of `trainings`.
        warnings: takes what was left out, and why.
    """
    return stage_rows.blocks(found, training, warnings, kind="gradients", block=_block)


def _block(record: Record, training: Record, root: str) -> Block:
    total, stage = whole(record["count"]), record["stage"]
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
    neurons = total * whole(layer["output"]["size"])
    counts = {"firing_rate": ("spikes", neurons), "synops": ("operations", total)}
    for column, (name, divisor) in counts.items():
        found = layer.get(name)
        block[column] = [None] * steps
        if found is not None:
            block[column] = [whole(value) / divisor for value in found]
    if {len(values) for values in block.values()} != {steps}:
        raise ValueError(f"layer {layer['name']} has values for more or fewer than {steps} steps")
    return block


def _side(side: Record | None, steps: int, total: int) -> Block:
    """What is known of the gradient at one side of a layer."""
    names = ("size", "zero_share", "near_zero_share", "l1", "l2", "cosine", "cosine_pairs")
    if side is None:
        return {name: [None] * steps for name in names}
    size = whole(side["size"])
    pairs = [whole(value) for value in side["pairs"]]
    cosines = zip(side["cosine"], pairs, strict=True)
    return {
        "size": [size] * steps,
        **{
            f"{k}_share": [whole(n) / (size * total) for n in side[k]]
            for k in ("zero", "near_zero")
        },
        **{name: [float(value) / total for value in side[name]] for name in ("l1", "l2")},
        "cosine": [float(value) / n if n else None for value, n in cosines],
        "cosine_pairs": pairs,
    }
