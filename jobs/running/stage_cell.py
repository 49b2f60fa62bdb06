"""Compute what is missing of a trained network besides evaluations, and record it once.

Where a record stands, the stage is done. Of two attempts the first counts.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from jobs import files, identity
from jobs.running import audit_stage, gradients_stage, signature_stage, undone
from jobs.running.cell_run import CellRun, Stopped
from jobs.running.evaluate_cell import batch_size, trained_network
from snnlib import distributed, evaluate
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch, Data, Split
from snnlib.spec.stage import AuditStage, GradientsStage, NDSStage, Stage

SCHEMA_VERSION = 1


def compute_stages(run: CellRun, data: Data) -> None:
    """Compute and record every stage that is missing.

    Raises:
        Stopped: a signal came; finished stages are recorded.
        Fenced: the network counts no more.
        CorruptFile: a stage's tensors are there without a record, of other weights.
        SnnlibError: the network has no such stage, or something is not finite.
    """
    missing = distributed.broadcast_object(
        run.job.world, undone.missing_stages(run.cell, run.order)
    )
    if not missing:
        return
    model, sha256 = trained_network(run, data)
    for named in missing:
        _compute(run, model, sha256, named, data)
    # a rank that ends takes the others with it, and the leading one still writes
    distributed.barrier(run.job.world)


def _compute(
    run: CellRun, model: SpikingClassifier, sha256: str, named: Mapping[str, Any], data: Data
) -> None:
    """Compute one stage, sharded over the ranks, and record it."""
    began = time.monotonic()
    stage = identity.restore_stage(named["stage"])
    split = _samples(stage, data)
    size = batch_size(run, len(split))
    there = split.to(run.job.world.device)
    found = _found(run, model, sha256, (named["id"], stage), there, size)
    run.guard_network(sha256)
    if not run.leads:
        return
    result = {
        "schema_version": SCHEMA_VERSION,
        "training_id": run.order["training_id"],
        "stage": named["stage"],
        "stage_id": named["id"],
        "model_sha256": sha256,
        "samples_sha256": split.fingerprint,
        **found,
    }
    measured = run.measured(seconds=round(time.monotonic() - began, 3), batch=size)
    if _keep_record(run, result, measured):
        run.event("recorded", stage=named["id"])
    run.advanced = True


def _samples(stage: Stage, data: Data) -> Split:
    """Over which images a stage goes."""
    match stage:
        case NDSStage():
            return data.train
        case GradientsStage() | AuditStage():
            whole: Split = getattr(data, stage.split)
            return whole.first(stage.samples)


def _found(
    run: CellRun,
    model: SpikingClassifier,
    sha256: str,
    wanted: tuple[str, Stage],
    split: Split,
    size: int,
) -> dict[str, Any]:
    """What a stage found, as its record says it."""
    stage_id, stage = wanted
    match stage:
        case NDSStage():
            batches = _shard(run, split, size)
            return signature_stage.collect(run, model, sha256, (stage_id, stage), batches)
        case GradientsStage():
            return gradients_stage.track(run, model, stage, _shard(run, split, size))
        case AuditStage():
            return audit_stage.examine(run, model, stage, split, size)


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


def _keep_record(run: CellRun, result: Mapping[str, Any], measured: Mapping[str, Any]) -> bool:
    """Write the record; False, with an event, if another attempt did."""
    path = run.cell.stage(result["stage_id"])
    path.parent.mkdir(exist_ok=True)
    if files.create(path, files.dumps({**result, "measured": measured})):
        return True
    first = files.read_json(path)
    different = [key for key, value in result.items() if first.get(key) != value]
    why = "another attempt finished this stage first"
    run.event("twin", stage=result["stage_id"], why=why, different=different)
    return False
