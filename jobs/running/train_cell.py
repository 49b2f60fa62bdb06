"""Train the network of a cell, from its newest checkpoint to its end."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import checkpoint, files
from jobs.checkpoint import State, Weights
from jobs.errors import UsageError
from jobs.running.agreement import Agreement
from jobs.running.cell_run import CellRun, Stopped
from jobs.running.signature_stage import load_signature
from jobs.running.sinks import opened
from snnlib import distributed, repeatable
from snnlib.datasets import Data
from snnlib.train import EpochMetrics, Training

SAVE_SHARE = 20
"""A save may cost one part in this many of the time since the last one."""
SAVE_S = 2.0
"""Seconds between two saves at least."""


@dataclass
class _Past:
    """What a training carries along besides the network, over all its attempts.

    Attributes:
        best: weights of the best epoch so far; None before the first.
        codes: hashes of all code that trained it.
        machines: each kind of machine that trained it (`_machine`).
        history: metrics of its epochs.
    """

    best: Weights | None
    codes: tuple[str, ...]
    machines: tuple[dict[str, Any], ...]
    history: list[dict[str, Any]]


def train(run: CellRun, data: Data) -> None:
    """Train to the end, saving on the way.

    Raises:
        Stopped: a signal came; the training is saved.
        Fenced: a younger attempt has taken over.
        UsageError: the checkpoint needs another number of processes.
        NotFinite: the loss is no number.
        EnvironmentFault: a rank has died.
    """
    world = run.job.world
    training = Training(run.spec, data, world=world, start=_start_weights(run), nds=_signature(run))
    past = _resume(run, training)
    speed, saves = _Speed(), _Saves(run, training, past)
    with opened(run, past.history) as sinks:
        while not training.done:
            if training.epoch_complete:
                metrics = saves.validated()
                if training.is_best or run.spec.regime.select == "last":
                    past.best = checkpoint.copied(training.module.state_dict())
                past.history.append(_log_epoch(run, metrics, speed.take()))
                sinks.epoch(past.history[-1])
                run.guard()
            else:
                speed.advance(training)
                run.step = training.step
            stopping, due = distributed.any_of(world, run.job.stop.up, run.leads and saves.due())
            if stopping or due:
                saves.save()
            if stopping:
                raise Stopped
        if run.leads:
            _finish(run, training.step, past)
        run.advanced = True
    distributed.barrier(world)


class _Saves:
    """When this attempt saves.

    Seldom enough not to slow the training down, but before a validation that lasts: a rank that is
    in one when the machine goes would else lose the steps since the last save too.
    """

    def __init__(self, run: CellRun, training: Training, past: _Past) -> None:
        self._run, self._training, self._past = run, training, past
        self._saved_s, self._cost_s = time.monotonic(), 0.0
        self._state = self._reached()
        attacked = run.spec.regime.adversary is not None
        self._validation_s = math.inf if attacked else 0.0  # until the first one has been timed

    def _reached(self) -> tuple[int, int]:
        return self._training.step, self._training.epoch

    def due(self) -> bool:
        """Whether a save would be late after what comes next."""
        lasts = self._validation_s if self._training.epoch_complete else 0.0
        since = time.monotonic() - self._saved_s
        return since + lasts > max(SAVE_S, SAVE_SHARE * self._cost_s)

    def validated(self) -> EpochMetrics:
        """Finish the epoch.

        Raises:
            Stopped: on all ranks; the training is saved as it was before.
            EnvironmentFault: a rank has died.
        """
        began = time.monotonic()
        try:
            metrics = self._training.finish_epoch(Agreement.of(self._run.job))
        except Stopped:
            self.save()
            raise
        self._validation_s = time.monotonic() - began
        return metrics

    def save(self) -> None:
        """Save where the training is, unless that was done already.

        Raises:
            Fenced: a younger attempt has taken over.
        """
        if self._state == self._reached():
            return
        began = time.monotonic()
        _save(self._run, self._training, self._past)
        self._state = self._reached()
        self._saved_s, self._cost_s = time.monotonic(), time.monotonic() - began


class _Speed:
    """How fast this attempt trains: all ranks' images, without validation and saving."""

    def __init__(self) -> None:
        self._images, self._seconds = 0, 0.0

    def advance(self, training: Training) -> None:
        """Do one optimiser step."""
        began = time.perf_counter()
        self._images += training.advance().samples
        self._seconds += time.perf_counter() - began

    def take(self) -> float:
        """Images per second since the last call; 0 if another attempt did all steps since."""
        speed = self._images / self._seconds if self._seconds else 0.0
        self._images, self._seconds = 0, 0.0
        return round(speed, 1)


def _start_weights(run: CellRun) -> Weights | None:
    """Weights of the parent or of an own file; None to start at random."""
    start = run.spec.start
    if start is None:
        return None
    kind, _, name = start.rpartition(":")
    if kind == "sha256":
        return checkpoint.load_own(Path(run.order["files"][name]), name)
    return checkpoint.load_final(run.job.root.cell(start))[0]


def _signature(run: CellRun) -> Weights | float | None:
    """Signature of TA-LIF layers: the parent's, an own file's, or one value for all."""
    nds = run.spec.nds
    if nds is None:
        return None
    parent, is_of_parent, stage_id = nds.partition("/")
    if is_of_parent:
        return load_signature(run.job.root.cell(parent), stage_id)
    kind, _, name = nds.partition(":")
    if kind == "constant":
        return float(name)
    return checkpoint.load_own(Path(run.order["files"][name]), name)


def _resume(run: CellRun, training: Training) -> _Past:
    """Go on from the newest whole checkpoint: best weights, all codes and metrics so far."""
    code, machine = os.environ["SPIKEGRID_CODE"], _machine(run)
    found = None
    if run.leads:
        found = checkpoint.newest(
            run.cell, lambda path, why: run.event("refused", checkpoint=path.name, why=why)
        )
    found = distributed.broadcast_object(run.job.world, found)
    if found is None:
        return _Past(best=None, codes=(code,), machines=(machine,), history=[])
    folder, state = found
    if state.world_size != run.job.world.size:
        raise UsageError(
            f"{folder.name} was saved by {state.world_size} processes, this job has "
            f"{run.job.world.size}: give the cell its old resources again"
        )
    history = state.rest.pop("history")
    training.load({**state.rest, "model": state.model})
    run.resumed_from = folder.name
    run.event("resumed", checkpoint=folder.name, step=state.step)
    run.say(f"go on from step {state.step:,} ({folder.name})")
    others = tuple(one for one in state.machines if one != machine)
    return _Past(
        best=state.best,
        codes=tuple(dict.fromkeys((*state.codes, code))),
        machines=(*others, machine),
        history=history,
    )


def _machine(run: CellRun) -> dict[str, Any]:
    """What the bits of a training rest on besides its specification and world size."""
    measured = run.measured()
    return {key: measured[key] for key in ("device", "threads", "versions")}


def _save(run: CellRun, training: Training, past: _Past) -> None:
    """Save where the training is, unless a younger attempt has taken over."""
    run.guard()
    rest = training.state()
    model = rest.pop("model")
    if run.leads:
        state = State(
            step=training.step,
            world_size=run.job.world.size,
            codes=past.codes,
            machines=past.machines,
            model=model,
            best=past.best,
            rest={**rest, "history": past.history},
        )
        checkpoint.save(run.cell, run.number, state)
        run.event("saved", step=training.step)
    run.advanced = True


def _log_epoch(run: CellRun, metrics: EpochMetrics, images_per_s: float) -> dict[str, Any]:
    line = {**vars(metrics), "images_per_s": images_per_s}
    if run.leads:
        files.append(run.files.metrics, line)
    validated = ""
    if metrics.validation_total:
        share = metrics.validation_correct / metrics.validation_total
        on_test = run.spec.regime.select == "best_test"
        validated = f" · {'test' if on_test else 'validation'} {share:.1%}"
    run.say(
        f"epoch {metrics.epoch}/{run.spec.regime.epochs} · loss {metrics.loss:.4f} · "
        f"train {metrics.train_accuracy:.1%}{validated} · {metrics.seconds:.1f} s"
    )
    return line


def _finish(run: CellRun, steps: int, past: _Past) -> None:
    """Write the trained network, then say that it stands; of two attempts one counts."""
    assert past.best is not None, "an epoch has ended"
    about = {"step": steps, "world_size": run.job.world.size, "codes": list(past.codes)}
    folder, sha256 = checkpoint.save_final(run.cell, run.number, past.best, about)
    chosen = _chosen(run, past.history)
    promise = repeatable.promise(run.job.world.device, machines=len(past.machines))
    summary = {
        "schema_version": 1,
        "training_id": run.order["training_id"],
        "label": run.label,
        "model_sha256": sha256,
        "checkpoint": folder,
        "epochs": run.spec.regime.epochs,
        "steps": steps,
        "best_epoch": chosen["epoch"],
        "validation_correct": chosen["validation_correct"],
        "validation_total": chosen["validation_total"],
        "history": past.history,
        "measured": run.measured(codes=list(past.codes), promise=promise),
    }
    if not files.create(run.cell.training, files.dumps(summary)):
        run.event("twin", why="another attempt finished this training first")
    checkpoint.clear(run.cell)


def _chosen(run: CellRun, history: list[dict[str, Any]]) -> dict[str, Any]:
    """The epoch whose network is kept: the last, or the earliest of the best."""
    if run.spec.regime.select == "last":
        return history[-1]
    return max(history, key=lambda line: (line["validation_correct"], -line["epoch"]))
