"""Compute what is missing of a trained network besides evaluations, and record it once.

The tensors come first, then the record that names their hash: where a record stands, the stage is
done. Of two attempts the first counts.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save

from jobs import files, identity, task
from jobs.cell_run import CellRun, Stopped
from jobs.checkpoint import Weights
from jobs.errors import CorruptFile
from jobs.evaluate_cell import batch_size, trained_network
from jobs.layout import CellFiles
from snnlib import distributed, evaluate, nds
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch, Data, Split
from snnlib.spec.stage import NDSStage

SCHEMA_VERSION = 1


def compute_stages(run: CellRun, data: Data) -> None:
    """Compute and record every stage that is missing.

    Raises:
        Stopped: a signal came; finished stages are recorded.
        CorruptFile: the stage's tensors are there without a record, of other weights.
        SnnlibError: the network has no signature, or one that is not finite.
    """
    missing = distributed.broadcast_object(run.job.world, task.missing_stages(run.cell, run.order))
    if not missing:
        return
    model, sha256 = trained_network(run, data)
    for named in missing:
        _signature(run, model, sha256, named, data.train)
    # a rank that ends takes the others with it, and the leading one still writes
    distributed.barrier(run.job.world)


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


def _signature(
    run: CellRun, model: SpikingClassifier, sha256: str, named: Mapping[str, Any], split: Split
) -> None:
    """Collect a signature over the training split, sharded over the ranks, and record it."""
    began = time.monotonic()
    stage = identity.restore_as(NDSStage, named["stage"])
    size = batch_size(run, len(split))
    batches = _shard(run, split.to(run.job.world.device), size)
    own = nds.collect(model, batches, quantity=stage.quantity)
    sums = nds.merged(run.job.world, own)
    if not run.leads:
        return
    result = {
        "schema_version": SCHEMA_VERSION,
        "training_id": run.order["training_id"],
        "stage": named["stage"],
        "stage_id": named["id"],
        "model_sha256": sha256,
        "samples_sha256": split.fingerprint,
        "count": sums.count,
        "tensors_sha256": _keep_tensors(run, named["id"], nds.mean(sums), sha256),
    }
    measured = run.measured(seconds=round(time.monotonic() - began, 3), batch=size)
    if _keep_record(run, result, measured):
        run.event("recorded", stage=named["id"])
    run.advanced = True
    run.say(f"{stage.kind}: {stage.quantity} of {sums.count:,} images")


def _shard(run: CellRun, split: Split, size: int) -> Iterator[Batch]:
    """This rank's batches.

    Raises:
        Stopped: a signal came.
    """
    world = run.job.world
    everyone = evaluate.batches(len(split), size)
    mine = evaluate.shard(everyone, world.rank, world.size)
    # every rank asks for a stop equally often, also the one with a batch less
    for turn in range(-(-len(everyone) // world.size)):
        if run.job.stopping():
            raise Stopped
        if turn < len(mine):
            yield split.batch(mine[turn], size)


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


def _keep_record(run: CellRun, result: Mapping[str, Any], measured: Mapping[str, Any]) -> bool:
    """Write the record; False, with an event, if another attempt did."""
    path = run.cell.stage(result["stage_id"])
    if files.create(path, files.dumps({**result, "measured": measured})):
        return True
    first = files.read_json(path)
    different = [key for key, value in result.items() if first.get(key) != value]
    why = "another attempt finished this stage first"
    run.event("twin", stage=result["stage_id"], why=why, different=different)
    return False
