"""Attack the trained network of a cell and record what is missing."""

import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from jobs import checkpoint, identity, records, task, views
from jobs.cell_run import CellRun, Stopped
from jobs.records import Record, Row
from snnlib import distributed, evaluate, models
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Data, Split
from snnlib.evaluate import BatchOutcome
from snnlib.spec.attack import PGD, AnyAttack

CPU_BATCH = 100
GPU_BATCH = 1000
"""Samples attacked together where the manifest leaves it open."""

Flags = tuple[list[list[bool]], list[list[bool]]]
"""Still correct, and zero gradient, for each epsilon and each sample of a batch."""


def evaluate_cell(run: CellRun, data: Data) -> None:
    """Compute and record every row that is missing.

    Raises:
        Stopped: a signal came; finished attacks are recorded.
        SnnlibError: an attack broke a guard, so nothing of it is recorded.
    """
    world = run.job.world
    missing = distributed.broadcast_object(world, task.missing_rows(run.cell, run.order))
    if not missing:
        return
    model, sha256 = trained_network(run, data)
    whole: Split = getattr(data, run.evaluation.split)
    split = whole.first(run.evaluation.samples).to(world.device)
    for attack in run.order["attacks"]:
        if attack["id"] in missing:
            epsilons = sorted(map(Fraction, missing[attack["id"]]))
            _record(run, model, sha256, attack, split, epsilons)


def trained_network(run: CellRun, data: Data) -> tuple[SpikingClassifier, str]:
    """The network of a cell that is trained, and the SHA-256 of its weights."""
    weights, sha256 = checkpoint.load_final(run.cell)
    model = models.build(run.spec.model, shape=data.shape, classes=data.classes, seed=0)
    model.load_state_dict(weights)
    return model.to(run.job.world.device), sha256


def _record(
    run: CellRun,
    model: SpikingClassifier,
    sha256: str,
    named: Mapping[str, Any],
    split: Split,
    epsilons: Sequence[Fraction],
) -> None:
    """Run one attack over the split, sharded over the ranks, and write its record."""
    began = time.monotonic()
    size = batch_size(run, len(split))
    own = _attack_shard(run, model, named, split, epsilons)
    gathered = distributed.gather_objects(run.job.world, own)
    if not run.leads:
        return
    rows = merged(gathered, epsilons, len(split))
    record = Record(
        training_id=run.order["training_id"],
        attack_id=named["id"],
        attack=named["attack"],
        evaluation={
            "dataset": run.spec.dataset.name,
            "split": run.evaluation.split,
            "samples": run.evaluation.samples,
            "seed": run.evaluation.seed,
        },
        model_sha256=sha256,
        samples_sha256=split.fingerprint,
        rows=rows,
        measured=run.measured(seconds=round(time.monotonic() - began, 3), batch=size),
    )
    records.write(run.cell, record)
    run.event("recorded", attack=named["id"])
    run.advanced = True
    shown = ", ".join(f"{row.correct}/{row.total} at {views.epsilon(row.epsilon)}" for row in rows)
    run.say(f"{named['attack']['name']}: {shown}")


def batch_size(run: CellRun, total: int) -> int:
    """Samples attacked together; the same on every resume, since it can change bits."""
    usual = CPU_BATCH if run.job.world.device.type == "cpu" else GPU_BATCH
    return min(run.evaluation.batch or usual, total)


def _attack_shard(
    run: CellRun,
    model: SpikingClassifier,
    named: Mapping[str, Any],
    split: Split,
    epsilons: Sequence[Fraction],
) -> dict[int, Flags]:
    """This rank's batches, by the position of their first sample."""
    world, size = run.job.world, batch_size(run, len(split))
    everyone = evaluate.batches(len(split), size)
    mine = evaluate.shard(everyone, world.rank, world.size)
    attack = identity.restore_attack(named["attack"])
    found: dict[int, Flags] = {}
    # every rank asks for a stop equally often, also the one with a batch less
    for turn in range(-(-len(everyone) // world.size)):
        batch = split.batch(mine[turn], size) if turn < len(mine) else None
        flags: Flags = ([], [])
        for turn_epsilons in _turns(attack, epsilons):
            if run.job.stopping():
                raise Stopped
            if batch is not None:
                outcome: BatchOutcome = evaluate.attack_batch(
                    model, attack, turn_epsilons, batch, seed=run.evaluation.seed
                )
                flags[0].extend(outcome.correct_EB.cpu().tolist())
                flags[1].extend(outcome.zero_gradient_EB.cpu().tolist())
        if batch is not None:
            found[mine[turn].start] = flags
    return found


def _turns(attack: AnyAttack, epsilons: Sequence[Fraction]) -> list[Sequence[Fraction]]:
    """Epsilons computed between two looks at the stop flag.

    FGSM shares one gradient over all of them; PGD shares nothing, and a long turn would keep the
    other ranks waiting in a collective.
    """
    return [[epsilon] for epsilon in epsilons] if isinstance(attack, PGD) else [epsilons]


def merged(
    parts: Sequence[Mapping[int, Flags]], epsilons: Sequence[Fraction], total: int
) -> tuple[Row, ...]:
    """Outcomes of all ranks in the order of the split, each sample exactly once.

    Raises:
        ValueError: if a batch is missing or was counted twice.
    """
    starts = [start for part in parts for start in part]
    if len(set(starts)) != len(starts):
        raise ValueError("a batch was evaluated by two ranks")
    batches = [flags for _, flags in sorted((s, f) for part in parts for s, f in part.items())]
    rows = []
    for i, epsilon in enumerate(epsilons):
        mask = tuple(flag for correct, _ in batches for flag in correct[i])
        if len(mask) != total:
            raise ValueError(f"{len(mask)} outcomes for {total} samples")
        zero = sum(sum(flags[i]) for _, flags in batches)
        rows.append(
            Row(epsilon=epsilon, correct=sum(mask), total=total, mask=mask, zero_gradient=zero)
        )
    return tuple(rows)
