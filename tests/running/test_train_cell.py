"""A training as an attempt runs it: when it saves, how it is stopped, what it says of itself."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from jobs import checkpoint, files
from jobs.layout import CellFiles, RunRoot
from jobs.running import train_cell
from jobs.running.agreement import Agreement
from jobs.running.cell_run import CellRun, Stopped
from snnlib.spec.attack import PGD
from snnlib.spec.data import Dataset
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF
from snnlib.spec.training import AdversarialRegime, CleanRegime, Regime, TrainingSpec
from snnlib.train import Training
from tests.examples import run_root
from tests.running import alone
from tests.snnlib import ddp_rank

DATA = ddp_rank.few_digits(60)
CLEAN = CleanRegime(epochs=2, batch_size=30)
ATTACKED = AdversarialRegime(epochs=2, batch_size=30, epsilon=Fraction(8, 255), attack=PGD(steps=2))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    monkeypatch.setenv("SPIKEGRID_SINKS", "")
    return run_root(tmp_path)


def attempt(root: RunRoot, number: int = 1, regime: Regime = ATTACKED, threads: int = 1) -> CellRun:
    spec = TrainingSpec(
        dataset=Dataset(name="digits"), model=Small(neuron=LIF(), time_steps=2), regime=regime
    )
    return alone.attempt(root, spec, number, threads=threads)


def whole(run: CellRun) -> dict[str, Any]:
    """What a training that runs to its end writes."""
    train_cell.train(run, DATA)
    found: dict[str, Any] = files.read_json(run.cell.training)
    return found


def saved(run: CellRun) -> list[int]:
    return [line["step"] for line in files.read_lines(run.files.events) if line["event"] == "saved"]


@pytest.fixture
def at_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[CellRun, int], None]:
    """Have a signal come just before one of the looks of a validation."""

    def arrange(run: CellRun, count: int) -> None:
        looks, real = [], Agreement.look

        def look(agreed: Agreement) -> None:
            looks.append(1)
            run.job.stop.up = len(looks) == count
            real(agreed)

        monkeypatch.setattr(Agreement, "look", look)

    return arrange


def stopped(run: CellRun, at_look: Callable[[CellRun, int], None], look: int) -> CellFiles:
    at_look(run, look)
    with pytest.raises(Stopped):
        train_cell.train(run, DATA)
    return run.cell


@pytest.mark.parametrize("regime", [CLEAN, ATTACKED])
@pytest.mark.parametrize("look", [1, 2])
def test_a_signal_in_a_validation_is_answered_there_and_no_step_is_lost(
    root: RunRoot, tmp_path: Path, at_look: Any, regime: Regime, look: int
) -> None:
    first = attempt(root, regime=regime)
    cell = stopped(first, at_look, look)
    assert (first.advanced, saved(first)) == (True, [2])
    found = checkpoint.newest(cell, lambda *_: None)
    assert found is not None
    assert (found[1].step, found[1].rest["progress"]["epoch"]) == (2, 0)
    quiet = whole(attempt(run_root(tmp_path / "quiet"), regime=regime))
    assert whole(attempt(root, 2, regime))["model_sha256"] == quiet["model_sha256"]


def test_a_validation_that_is_stopped_twice_has_not_advanced(root: RunRoot, at_look: Any) -> None:
    stopped(attempt(root), at_look, 1)
    second = attempt(root, 2)
    stopped(second, at_look, 1)
    assert (second.advanced, saved(second)) == (False, [])


@pytest.mark.parametrize(("regime", "before"), [(CLEAN, []), (ATTACKED, [2])])
def test_steps_are_saved_before_a_validation_that_may_last(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, regime: Regime, before: list[int]
) -> None:
    run, seen = attempt(root, regime=regime), []
    real = Training.finish_epoch

    def watched(*arguments: Any) -> Any:
        seen.append(saved(run))
        return real(*arguments)

    monkeypatch.setattr(Training, "finish_epoch", watched)
    whole(run)
    assert seen == [before, before]  # the first one took no time, so no save precedes the second


def test_saves_before_and_after_a_validation_both_stand(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_cell._Saves, "due", lambda self: self._training.step == 2)
    monkeypatch.setattr(checkpoint, "clear", lambda _: None)
    run = attempt(root)
    whole(run)
    assert saved(run) == [2, 2]
    found = checkpoint.newest(run.cell, lambda *_: None)
    assert found is not None
    assert (found[0].name, found[1].rest["progress"]["epoch"]) == ("step-00000002.a0001.1", 1)


@pytest.mark.parametrize(("threads", "promise"), [(1, "bitwise"), (2, "statistical")])
def test_a_training_promises_no_more_than_holds_for_all_its_attempts(
    root: RunRoot, at_look: Any, threads: int, promise: str
) -> None:
    stopped(attempt(root), at_look, 1)
    assert whole(attempt(root, 2, threads=threads))["measured"]["promise"] == promise


def test_machines_are_remembered_over_several_attempts(root: RunRoot, at_look: Any) -> None:
    regime = replace(ATTACKED, epochs=3)
    stopped(attempt(root, 1, regime, threads=1), at_look, 1)
    stopped(attempt(root, 2, regime, threads=2), at_look, 9)
    found = checkpoint.newest(attempt(root, 3, regime).cell, lambda *_: None)
    assert found is not None
    assert [one["threads"] for one in found[1].machines] == [1, 2]
    assert whole(attempt(root, 4, regime, threads=2))["measured"]["promise"] == "statistical"
