"""What the stages of a trained network found, in short: for `show`."""

from collections.abc import Callable, Mapping, Sequence
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
            figures = _FIGURES.get(kind, _asked)(record)
            head = {"stage_id": path.stem, "kind": kind, "count": record["count"]}
        except (CorruptFile, *_FOREIGN):
            continue
        found.append({**head, **{k: v for k, v in figures.items() if k not in head}})
    return found


def text(story: Mapping[str, Any]) -> str:
    """One stage on one line; an audit's items on lines of their own."""
    images = f"{story['count']:,} images"
    if story["kind"] == "audit":
        return "\n".join([f"stage audit: {images} · {_judged(story)}", *map(_item, story["items"])])
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


def verdict(story: Mapping[str, Any]) -> str:
    """The verdict of an audit and the items that did not pass, on one line."""
    failing = [item["text"] for item in story["items"] if item["verdict"] != "pass"]
    return "; ".join([_judged(story), *failing])


def _judged(story: Mapping[str, Any]) -> str:
    """The verdict, and which attacker is judged where it is not the network's own."""
    asked = story["stage"]
    own = {"loss": "cross_entropy", "surrogate": "own", "gradient": "own", "space": "pixel"}
    other = [f"{key} {_name(asked[key])}" for key, value in own.items() if asked[key] != value]
    return f"{story['verdict']} (judged by {', '.join(other)})" if other else str(story["verdict"])


def _name(choice: Any) -> str:
    return str(choice["name"] if isinstance(choice, dict) else choice)


def _item(item: Mapping[str, Any]) -> str:
    return f"  {item['verdict']:<10}  {item['item']:<17}  {item['text']}"


def _asked(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, of stages whose record says no more."""
    return dict(record["stage"])


def _audit(record: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict and items, the worst first."""
    kept = ("item", "verdict", "value", "text")
    items = [{key: item[key] for key in kept} for item in record["items"]]
    return {"verdict": record["verdict"], "items": items, "stage": dict(record["stage"])}


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


_FIGURES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "gradients": _gradients,
    "audit": _audit,
}
