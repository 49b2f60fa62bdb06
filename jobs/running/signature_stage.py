"""Signatures: tensors beside the record of a stage, verified when a child reads them."""

import hashlib
from collections.abc import Iterable
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save

from jobs import files
from jobs.checkpoint import Weights
from jobs.errors import CorruptFile
from jobs.layout import CellFiles
from jobs.running.cell_run import CellRun
from snnlib import nds
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch
from snnlib.spec.stage import NDSStage


def collect(
    run: CellRun,
    model: SpikingClassifier,
    sha256: str,
    stage: tuple[str, NDSStage],
    batches: Iterable[Batch],
) -> dict[str, Any]:
    """Collect a signature over this rank's batches and merge it; the leading rank keeps its tensors.

    Args:
        run: the attempt.
        model: the trained network.
        sha256: of its weights.
        stage: its id and what is asked for.
        batches: of this rank.

    Returns:
        What its record says; on other ranks nothing of use.

    Raises:
        SnnlibError: the network has no signature, or one that is not finite.
        Fenced: the network counts no more.
        CorruptFile: tensors are there without a record, of other weights.
    """
    stage_id, wanted = stage
    sums = nds.merged(run.job.world, nds.collect(model, batches, quantity=wanted.quantity))
    run.guard_network(sha256)  # tensors of another network would be in the way of the next
    if not run.leads:
        return {}
    kept = _keep_tensors(run, stage_id, nds.mean(sums), sha256)
    run.say(f"{wanted.kind}: {wanted.quantity} of {sums.count:,} images")
    return {"count": sums.count, "tensors_sha256": kept}


def load_signature(cell: CellFiles, stage_id: str) -> Weights:
    """The signature that was collected from a trained network.

    Raises:
        CorruptFile: if it is not what was recorded, or was taken of other weights than the cell
            has now.
    """
    record = files.read_json(cell.stage(stage_id))
    path = cell.stage_tensors(stage_id)
    again = f"move {cell.stages} away to collect it again"
    if files.sha256(path) != record["tensors_sha256"]:
        raise CorruptFile(f"{path}: altered since it was recorded; {again}")
    if record["model_sha256"] != files.read_json(cell.training)["model_sha256"]:
        raise CorruptFile(f"{path}: was taken of other weights than training.json names; {again}")
    return load_file(path)


def _keep_tensors(run: CellRun, stage_id: str, tensors: Weights, model_sha256: str) -> str:
    """Write tensors unless an earlier attempt did; SHA-256 of those that stand.

    Raises:
        CorruptFile: if those that stand are of other weights.
    """
    path = run.cell.stage_tensors(stage_id)
    path.parent.mkdir(exist_ok=True)
    data = save(tensors, {"model_sha256": model_sha256})
    own = hashlib.sha256(data).hexdigest()
    if files.create(path, data):
        return own
    standing = files.sha256(path)
    if standing != own:
        with safe_open(path, "pt") as found:
            whose = str((found.metadata() or {}).get("model_sha256"))
        if whose != model_sha256:
            raise CorruptFile(
                f"{path}: is of a network with weights {whose[:16]}, these are "
                f"{model_sha256[:16]}; move {path.parent} away to collect it again"
            )
        why = "an earlier attempt collected another signature, which counts"
        run.event("twin", stage=stage_id, why=why, own=own, standing=standing)
    return standing
