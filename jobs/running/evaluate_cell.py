"""Attack the trained network of a cell and record what is missing.

What is recorded stands for good; what an attack that was interrupted has finished is kept apart
(`jobs.running.partial`) and taken over.
"""

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from jobs import breaks, checkpoint, records
from jobs.planning import views
from jobs.records import Record, Row
from jobs.running import examples, outcomes, partial, transfer_source, undone
from jobs.running.attack_share import Work, attack_share, made_by
from jobs.running.cell_run import CellRun
from jobs.running.partial import Found, Parts, Subject
from snnlib import distributed, models, repeatable
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Data, Split
from snnlib.errors import NotFinite
from snnlib.spec.attack import AnyAttack

CPU_BATCH = 100
GPU_BATCH = 1000
"""Samples attacked together where the manifest leaves it open."""


def evaluate_cell(run: CellRun, data: Data) -> None:
    """Compute and record every row that is missing.

    Raises:
        Stopped: a signal came; finished attacks are recorded, finished batches kept.
        Fenced: the network, or an attack that ran, counts no more.
        SnnlibError: an attack broke a guard, so nothing of it is recorded.
    """
    world = run.job.world
    missing = distributed.broadcast_object(world, undone.ready_rows(run.job.root, run.order))
    if not missing:
        return
    model, sha256 = trained_network(run, data)
    whole: Split = getattr(data, run.evaluation.split)
    split = whole.first(run.evaluation.samples).to(world.device)
    model.decision_draws = run.evaluation.draws
    for named in run.order["attacks"]:
        if named["id"] in missing:
            attack, source_sha256 = transfer_source.armed(run, named["attack"], data)
            subject = Subject(
                attack_id=named["id"],
                model_sha256=sha256,
                source_sha256=source_sha256,
                samples_sha256=split.fingerprint,
                total=len(split),
                batch=batch_size(run, len(split)),
                invalidated=run.invalidated(named["id"]),
            )
            epsilons = sorted(map(Fraction, missing[named["id"]]))
            work = Work(
                model=model,
                attack=attack,
                split=split,
                subject=subject,
                epsilons=epsilons,
                found=_earlier(run, attack, subject, epsilons),
            )
            _record(run, work, named["attack"])


def trained_network(run: CellRun, data: Data) -> tuple[SpikingClassifier, str]:
    """The network of a cell that is trained, and the SHA-256 of its weights.

    Raises:
        CorruptFile: the weights are not those that the training recorded.
        NotFinite: one of them is NaN or infinite. A spiking layer answers NaN with silence, so no
            logit would show it.
    """
    weights, sha256 = checkpoint.load_final(run.cell)
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise NotFinite(
                f"the network's {name} is NaN or infinite in places, so nothing it answers means "
                "anything; its training diverged or its file was replaced: train it again"
            )
    model = models.build(run.spec.model, shape=data.shape, classes=data.classes, seed=0)
    model.load_state_dict(weights)
    return model.to(run.job.world.device), sha256


def batch_size(run: CellRun, total: int) -> int:
    """Samples attacked together; the same on every resume, since it can change bits."""
    usual = CPU_BATCH if run.job.world.device.type == "cpu" else GPU_BATCH
    return min(run.evaluation.batch or usual, total)


def _earlier(
    run: CellRun, attack: AnyAttack, subject: Subject, epsilons: Sequence[Fraction]
) -> Found:
    """What earlier attempts finished; read on rank 0, since nodes may see the folder differently."""
    found = Found()
    if run.leads:
        found = partial.read(run.cell.partial(subject.attack_id), subject, epsilons)
        for name, why in found.refused:
            run.event("refused", partial=name, attack=subject.attack_id, why=why)
        asked = run.evaluation.save_examples
        found.parts = examples.complete(found.parts, attack, asked, subject)
    return distributed.broadcast_object(run.job.world, found)


def _record(run: CellRun, work: Work, attack: dict[str, Any]) -> None:
    """Run one attack over the split, shared by the ranks, and write its record."""
    began, attack_id = time.monotonic(), work.subject.attack_id
    own = attack_share(run, work)
    gathered = distributed.gather_objects(run.job.world, own)
    run.guard_network(work.subject.model_sha256)
    run.guard_attack(attack_id, work.subject.invalidated)
    if not run.leads:
        return
    parts = united([work.found.parts, *gathered])
    rows = merged(parts, work.epsilons, work.subject.total)
    pictures = examples.packed(work.split, parts, rows, work.attack, run.evaluation.save_examples)
    record = Record(
        training_id=run.order["training_id"],
        attack_id=attack_id,
        attack=attack,
        evaluation=_evaluated(run, work.subject),
        model_sha256=work.subject.model_sha256,
        samples_sha256=work.subject.samples_sha256,
        rows=rows,
        measured={
            **_measured(run, work, time.monotonic() - began),
            "row_seconds": outcomes.seconds(parts, work.epsilons),
            **({} if pictures is None else {"examples": pictures[1]}),
        },
        members=outcomes.member_names(work.attack),
    )
    records.write(run.cell, record, None if pictures is None else pictures[0])
    run.event("recorded", attack=attack_id, batches=len(work.left), of=work.turns)
    run.advanced = True
    partial.remove(run.cell.partial(attack_id))
    shown = ", ".join(f"{row.correct}/{row.total} at {views.epsilon(row.epsilon)}" for row in rows)
    run.say(f"{work.attack.name}: {shown}")


def _evaluated(run: CellRun, subject: Subject) -> dict[str, Any]:
    """On what, and with which randomness and other weights, it was attacked."""
    draws, source = run.evaluation.draws, subject.source_sha256
    return {
        "dataset": run.spec.dataset.name,
        "split": run.evaluation.split,
        "samples": run.evaluation.samples,
        "seed": run.evaluation.seed,
        **({} if draws == 1 else {"draws": draws}),
        **({} if source is None else {"source_sha256": source}),
    }


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


def united(parts: Sequence[Parts]) -> Parts:
    """Outcomes of all ranks and attempts.

    Raises:
        ValueError: if a batch was counted twice.
    """
    found = {key: part for share in parts for key, part in share.items()}
    if len(found) < sum(map(len, parts)):
        raise ValueError("a batch was evaluated by two ranks")
    return found


def merged(parts: Parts, epsilons: Sequence[Fraction], total: int) -> tuple[Row, ...]:
    """Outcomes in the order of the split, each sample exactly once.

    Raises:
        ValueError: if a batch is missing.
    """
    rows = []
    for epsilon in epsilons:
        batches = [parts[key] for key in sorted(parts) if key[1] == epsilon]
        mask = tuple(flag for row in batches for flag in row.mask)
        if len(mask) != total:
            raise ValueError(f"{len(mask)} outcomes for {total} samples")
        rows.append(
            Row(
                epsilon=epsilon,
                correct=sum(mask),
                total=total,
                mask=mask,
                zero_gradient=sum(row.zero_gradient for row in batches),
                breaks=breaks.joined([row.breaks for row in batches]),
            )
        )
    return tuple(rows)
