"""Gradient tracking as a stage: what `snnlib.gradients` finds, as the JSON of its record."""

from collections.abc import Iterable
from typing import Any

from jobs.running.cell_run import CellRun
from snnlib import gradients
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch
from snnlib.gradients import COUNTS, SUMS, Found, Layer, Slopes
from snnlib.spec.stage import GradientsStage


def track(
    run: CellRun, model: SpikingClassifier, stage: GradientsStage, batches: Iterable[Batch]
) -> dict[str, Any]:
    """Track gradients over this rank's batches and merge them.

    Args:
        run: the attempt.
        model: the trained network.
        stage: what is asked for.
        batches: of this rank.

    Returns:
        What its record says: samples, and the layers in the order of the network, with totals
        over samples for each step.

    Raises:
        SnnlibError: a gradient is not finite, or a layer cannot be told apart by steps.
    """
    found = gradients.merged(run.job.world, gradients.collect(model, batches, stage))
    run.say(f"{stage.kind}: {len(found.layers)} layers, {found.count:,} images")
    return record(found)


def record(found: Found) -> dict[str, Any]:
    """What was found, JSON-ready."""
    layers = [_layer(name, layer) for name, layer in found.layers.items()]
    return {"count": found.count, "layers": layers}


def _layer(name: str, layer: Layer) -> dict[str, Any]:
    return {
        "name": name,
        "kind": layer.kind,
        **{side: _side(slopes) for side, slopes in layer.sides.items()},
        **({} if layer.spikes_T is None else {"spikes": layer.spikes_T.tolist()}),
        **({} if layer.operations_T is None else {"operations": layer.operations_T.tolist()}),
    }


def _side(slopes: Slopes) -> dict[str, Any]:
    counts = dict(zip(COUNTS, slopes.counts_KT.tolist(), strict=True))
    sums = dict(zip(SUMS, slopes.sums_KT.tolist(), strict=True))
    return {"size": slopes.size, **counts, **sums}
