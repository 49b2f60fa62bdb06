"""Attack the trained network of a cell and record what is missing.

What is recorded stands for good; what an attack that was interrupted has finished is kept apart
(`jobs.running.partial`) and taken over.
"""

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from jobs import checkpoint, identity, records
from jobs.planning import views
from jobs.records import Record, Row
from jobs.running import partial, task
from jobs.running.attack_share import Work, attack_share, made_by
from jobs.running.cell_run import CellRun
from jobs.running.partial import Found, Parts, Subject
from snnlib import distributed, models, repeatable
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Data, Split

CPU_BATCH = 100
GPU_BATCH = 1000
"""Samples attacked together where the manifest leaves it open."""


def evaluate_cell(run: CellRun, data: Data) -> None:
    """Compute and record every row that is missing.

    Raises:
        Stopped: a signal came; finished attacks are recorded, finished batches kept.
        SnnlibError: an attack broke a guard, so nothing of it is recorded.
    """
    world = run.job.world
    missing = distributed.broadcast_object(world, task.missing_rows(run.cell, run.order))
    if not missing:
        return
    model, sha256 = trained_network(run, data)
    whole: Split = getattr(data, run.evaluation.split)
    split = whole.first(run.evaluation.samples).to(world.device)
    for named in run.order["attacks"]:
        if named["id"] in missing:
            subject = Subject(
                attack_id=named["id"],
                model_sha256=sha256,
                samples_sha256=split.fingerprint,
                total=len(split),
                batch=batch_size(run, len(split)),
            )
            epsilons = sorted(map(Fraction, missing[named["id"]]))
            work = Work(
                model=model,
                attack=identity.restore_attack(named["attack"]),
                split=split,
                subject=subject,
                epsilons=epsilons,
                found=_earlier(run, subject, epsilons),
            )
            _record(run, work, named["attack"])


def trained_network(run: CellRun, data: Data) -> tuple[SpikingClassifier, str]:
    """The network of a cell that is trained, and the SHA-256 of its weights."""
    weights, sha256 = checkpoint.load_final(run.cell)
    model = models.build(run.spec.model, shape=data.shape, classes=data.classes, seed=0)
    model.load_state_dict(weights)
    return model.to(run.job.world.device), sha256


def batch_size(run: CellRun, total: int) -> int:
    """Samples attacked together; the same on every resume, since it can change bits."""
    usual = CPU_BATCH if run.job.world.device.type == "cpu" else GPU_BATCH
    return min(run.evaluation.batch or usual, total)


def _earlier(run: CellRun, subject: Subject, epsilons: Sequence[Fraction]) -> Found:
    """What earlier attempts finished; read on rank 0, since nodes may see the folder differently."""
    found = Found()
    if run.leads:
        found = partial.read(run.cell.partial(subject.attack_id), subject, epsilons)
        for name, why in found.refused:
            run.event("refused", partial=name, attack=subject.attack_id, why=why)
    return distributed.broadcast_object(run.job.world, found)


def _record(run: CellRun, work: Work, attack: dict[str, Any]) -> None:
    """Run one attack over the split, shared by the ranks, and write its record."""
    began, attack_id = time.monotonic(), work.subject.attack_id
    own = attack_share(run, work)
    gathered = distributed.gather_objects(run.job.world, own)
    if not run.leads:
        return
    rows = merged([work.found.parts, *gathered], work.epsilons, work.subject.total)
    record = Record(
        training_id=run.order["training_id"],
        attack_id=attack_id,
        attack=attack,
        evaluation={
            "dataset": run.spec.dataset.name,
            "split": run.evaluation.split,
            "samples": run.evaluation.samples,
            "seed": run.evaluation.seed,
        },
        model_sha256=work.subject.model_sha256,
        samples_sha256=work.subject.samples_sha256,
        rows=rows,
        measured=_measured(run, work, time.monotonic() - began),
    )
    records.write(run.cell, record)
    run.event("recorded", attack=attack_id, batches=len(work.left), of=work.turns)
    run.advanced = True
    partial.remove(run.cell.partial(attack_id))
    shown = ", ".join(f"{row.correct}/{row.total} at {views.epsilon(row.epsilon)}" for row in rows)
    run.say(f"{work.attack.name}: {shown}")


def _measured(run: CellRun, work: Work, seconds: float) -> dict[str, Any]:
    """Facts of the record, of earlier attempts too as far as they had a part in it."""
    own, earlier = made_by(run), work.found.made
    codes = dict.fromkeys(code for one in (*earlier, own) for code in one["codes"])
    machine = ("device", "threads", "versions")
    alike = all(one[key] == own[key] for one in earlier for key in machine)
    return run.measured(
        seconds=round(seconds + work.found.seconds, 3),
        batch=work.subject.batch,
        codes=list(codes),
        promise=repeatable.promise(run.job.world.device) if alike else "statistical",
    )


def merged(parts: Sequence[Parts], epsilons: Sequence[Fraction], total: int) -> tuple[Row, ...]:
    """Outcomes of all ranks and attempts in the order of the split, each sample exactly once.

    Raises:
        ValueError: if a batch is missing or was counted twice.
    """
    keys = [key for part in parts for key in part]
    if len(set(keys)) != len(keys):
        raise ValueError("a batch was evaluated by two ranks")
    found = {key: row for part in parts for key, row in part.items()}
    rows = []
    for epsilon in epsilons:
        batches = [found[key] for key in sorted(found) if key[1] == epsilon]
        mask = tuple(flag for row in batches for flag in row.mask)
        if len(mask) != total:
            raise ValueError(f"{len(mask)} outcomes for {total} samples")
        zero = sum(row.zero_gradient for row in batches)
        rows.append(
            Row(epsilon=epsilon, correct=sum(mask), total=total, mask=mask, zero_gradient=zero)
        )
    return tuple(rows)
