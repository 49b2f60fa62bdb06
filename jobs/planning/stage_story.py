"""What the stages of a trained network found, in short: for `show`."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs import files
from jobs.errors import CorruptFile
from jobs.layout import CellFiles

_FOREIGN = (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError)


def told(cell: CellFiles) -> list[dict[str, Any]]:
    """Key figures of each stage on record, by file name; records that do not read well are left out."""
    found = []
    for path in sorted(cell.stages.glob("*.json")):
        try:
            record = files.read_json(path)
            kind = record["stage"]["kind"]
            figures = _gradients(record) if kind == "gradients" else dict(record["stage"])
            head = {"stage_id": path.stem, "kind": kind, "count": record["count"]}
        except (CorruptFile, *_FOREIGN):
            continue
        found.append({**head, **{k: v for k, v in figures.items() if k not in head}})
    return found


def text(story: Mapping[str, Any]) -> str:
    """One stage on one line."""
    images = f"{story['count']:,} images"
    if story["kind"] != "gradients":
        return f"stage {story['kind']}: {story['quantity']} of {images}"
    cosine = "-" if story["cosine"] is None else f"{story['cosine']:.2f}"
    rate = story["firing_rate"]
    spikes = "" if rate is None else f" · {rate:.3f} spikes per neuron and step"
    return (
        f"stage gradients: {images} · input gradient {story['zero_share']:.1%} zero, "
        f"{story['near_zero_share']:.1%} near zero, cosine of steps {cosine}{spikes} · "
        f"{story['synops']:,.0f} SynOps per image"
    )


def _gradients(record: Mapping[str, Any]) -> dict[str, Any]:
    """Of the network's input after encoding, and of all layers together."""
    layers: Sequence[Mapping[str, Any]] = record["layers"]
    count = record["count"]
    given = next(layer["output"] for layer in layers if layer["kind"] == "encoder")
    steps = len(given["zero"])
    values, pairs = given["size"] * count * steps, sum(given["pairs"])
    spiking = [layer for layer in layers if "spikes" in layer]
    neurons = sum(layer["output"]["size"] for layer in spiking) * count * steps
    spikes = sum(sum(layer["spikes"]) for layer in spiking)
    return {
        "zero_share": sum(given["zero"]) / values,
        "near_zero_share": sum(given["near_zero"]) / values,
        "cosine": sum(given["cosine"]) / pairs if pairs else None,
        "firing_rate": spikes / neurons if neurons else None,
        "synops": sum(sum(layer.get("operations", ())) for layer in layers) / count,
    }
