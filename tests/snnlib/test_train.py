"""Training: exact continuation, one order of samples, the selection, and equality over ranks."""

import itertools
import os
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from snnlib import distributed, repeatable
from snnlib.distributed import World
from snnlib.errors import NotFinite
from snnlib.evaluate import attack_batch
from snnlib.spec.attack import PGD, Clean
from snnlib.spec.data import Dataset
from snnlib.spec.encoder import Direct, Poisson
from snnlib.spec.model import Small
from snnlib.spec.neuron import IF
from snnlib.spec.training import (
    AdversarialRegime,
    CleanRegime,
    RATRegime,
    Regime,
    SRRegime,
    TradesRegime,
    TrainingSpec,
)
from snnlib.train import EpochMetrics, Training
from tests.snnlib import ddp_rank, networks

EPSILON = Fraction(8, 255)
REGIMES: dict[str, Regime] = {
    "clean": CleanRegime(epochs=2, batch_size=40),
    "adversarial": AdversarialRegime(
        epochs=2, batch_size=40, epsilon=Fraction(8, 255), attack=PGD(steps=2)
    ),
    "trades": TradesRegime(epochs=2, batch_size=40, epsilon=EPSILON, attack=PGD(steps=2)),
    "rat": RATRegime(epochs=2, batch_size=40, epsilon=EPSILON, schedule="cosine_epochs"),
    "sr": SRRegime(epochs=2, batch_size=40, coefficient=Decimal("0.1")),
    "bf16": CleanRegime(epochs=2, batch_size=40, precision="bf16"),
}

ENCODERS = {"direct": Direct(), "poisson": Poisson()}


def training(regime: Regime, **model: Any) -> Training:
    repeatable.pin(threads=1, seed=0)
    spec = TrainingSpec(
        dataset=Dataset(name="digits", augment="shift"),
        model=Small(neuron=IF(v_threshold=Decimal("0.5")), time_steps=3, **model),
        regime=regime,
        seed=1,
    )
    return Training(spec, ddp_rank.few_digits(100), world=World.single())


def run(one: Training) -> list[EpochMetrics]:
    found = []
    while not one.done:
        if one.epoch_complete:
            found.append(one.finish_epoch())
        else:
            one.advance()
    return found


@pytest.mark.parametrize(
    ("regime", "encoder"),
    [
        *itertools.product(["clean", "adversarial"], ["direct", "poisson"]),
        *itertools.product(["trades", "rat", "sr", "bf16"], ["direct"]),
    ],
)
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_resume_is_exact_at_any_step(regime: str, encoder: Any, steps: int, tmp_path: Path) -> None:
    straight = training(REGIMES[regime], encoder=ENCODERS[encoder])
    wanted = run(straight)
    first = training(REGIMES[regime], encoder=ENCODERS[encoder])
    before = []
    for _ in range(steps):
        if first.epoch_complete:
            before.append(first.finish_epoch())
        first.advance()
    torch.save(first.state(), tmp_path / "state.pt")
    torch.rand(3)  # nothing may rest on the global generator
    second = training(REGIMES[regime], encoder=ENCODERS[encoder])
    second.load(torch.load(tmp_path / "state.pt", weights_only=True))
    metrics = before + run(second)
    assert networks.state_hash(second.module) == networks.state_hash(straight.module)
    assert [_result(m) for m in metrics] == [_result(m) for m in wanted]
    assert second.best_epoch == straight.best_epoch


def _result(metrics: EpochMetrics) -> tuple[object, ...]:
    return tuple(v for k, v in vars(metrics).items() if k != "seconds")


def test_a_state_does_not_move_on_with_the_training() -> None:
    one = training(REGIMES["clean"])
    one.advance()
    state = one.state()
    weight = next(iter(state["model"].values())).clone()
    one.advance()
    assert state["progress"]["step"] == 1
    assert torch.equal(next(iter(state["model"].values())), weight)


def test_an_epoch_sees_every_sample_once_in_a_new_order() -> None:
    one = training(CleanRegime(epochs=2, batch_size=40))
    epochs: list[list[int]] = []
    while not one.done:
        if one.epoch_complete:
            one.finish_epoch()
            continue
        if one.step % one.steps_per_epoch == 0:
            epochs.append([])
        epochs[-1] += one._rows()[0].tolist()
        one.advance()
    assert [sorted(rows) for rows in epochs] == [list(range(100))] * 2
    assert epochs[0] != epochs[1]


def test_counts_of_steps() -> None:
    one = training(CleanRegime(epochs=3, batch_size=40))
    assert (one.steps_per_epoch, one.total_steps, one.step, one.epoch) == (3, 9, 0, 0)
    assert [one.advance().samples for _ in range(3)] == [40, 40, 20]
    assert (one.epoch_complete, one.done) == (True, False)


def test_metrics_of_an_epoch() -> None:
    one = training(CleanRegime(epochs=1, batch_size=40, lr=Decimal("0.01")))
    losses = [one.advance() for _ in range(3)]
    metrics = one.finish_epoch()
    assert metrics.loss == pytest.approx(sum(r.loss * r.samples for r in losses) / 100)
    assert (metrics.epoch, metrics.validation_total) == (1, 200)
    assert 0 <= metrics.validation_correct <= 200
    assert len(metrics.firing_rates) == 3
    assert all(0 < rate < 1 for rate in metrics.firing_rates.values())
    assert metrics.lr == pytest.approx(0.01 * 0.25)  # (1 + cos(2 pi / 3)) / 2


def test_training_learns() -> None:
    regime = CleanRegime(epochs=12, batch_size=20, lr=Decimal("0.01"))
    metrics = run(training(regime))
    assert metrics[-1].loss < 0.7 * metrics[0].loss
    assert metrics[-1].validation_correct > 80


@pytest.mark.parametrize(("select", "kept"), [("best_val", [1, 3]), ("last", [1, 2, 3])])
def test_selection_keeps_the_earliest_of_equals(
    monkeypatch: pytest.MonkeyPatch, select: Any, kept: list[int]
) -> None:
    scores = iter([50, 50, 60])
    monkeypatch.setattr(Training, "_validated", lambda *_: (next(scores), {}))
    one = training(CleanRegime(epochs=3, batch_size=100, select=select))
    found = []
    while not one.done:
        one.advance()
        metrics = one.finish_epoch()
        found += [metrics.epoch] if one.is_best else []
    assert found == kept
    assert one.best_epoch == 3


def test_adversarial_validation_is_attacked() -> None:
    weights = training(CleanRegime(epochs=8, batch_size=20, lr=Decimal("0.01")))
    clean = run(weights)[-1].validation_correct
    regime = AdversarialRegime(epochs=1, epsilon=Fraction(1, 5), lr=Decimal("0.0000001"))
    one = training(regime)
    one.module.load_state_dict(weights.model_state())
    attacked = run(one)[-1].validation_correct
    assert attacked < clean / 2


@pytest.mark.parametrize("name", ["adversarial", "trades", "rat"])
def test_every_attacking_regime_selects_under_its_attack(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    one, seen = training(REGIMES[name]), set()

    def watch(module: Any, attack: Any, epsilons: Any, batch: Any, **how: Any) -> Any:
        seen.add((attack.name, epsilons))
        return attack_batch(module, attack, epsilons, batch, **how)

    monkeypatch.setattr("snnlib.train.attack_batch", watch)
    one._validated()
    adversary = REGIMES[name].adversary
    assert adversary is not None
    assert seen == {("clean", (0,)), (adversary.attack.name, (EPSILON,))}


class Told(Exception):
    """To leave a validation."""


class Piece:
    """Counts its looks, and leaves at one of them."""

    def __init__(self, leave: int = 0) -> None:
        self.looks, self.ends, self._leave = 0, 0, leave

    def look(self) -> None:
        self.looks += 1
        if self.looks == self._leave:
            raise Told

    def end_together(self) -> None:
        self.ends += 1


def at_the_end_of_an_epoch(name: str) -> Training:
    one = training(REGIMES[name])
    while not one.epoch_complete:
        one.advance()
    return one


@pytest.mark.parametrize("leave", [1, 2, 5])
def test_a_validation_that_is_left_changes_nothing(leave: int) -> None:
    wanted = at_the_end_of_an_epoch("adversarial").finish_epoch()
    one = at_the_end_of_an_epoch("adversarial")
    before = networks.state_hash(one.module)
    with pytest.raises(Told):
        one.finish_epoch(Piece(leave))
    assert (one.epoch, one.epoch_complete, networks.state_hash(one.module)) == (0, True, before)
    assert _result(one.finish_epoch()) == _result(wanted)


def test_processes_end_a_validation_together_before_they_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, piece, ends = at_the_end_of_an_epoch("adversarial"), Piece(), []

    def total(world: World, values: torch.Tensor) -> torch.Tensor:
        ends.append(piece.ends)
        return values

    monkeypatch.setattr(distributed, "total", total)
    one.finish_epoch(piece)
    assert ends == [1]
    assert piece.looks > 4  # two batches: a clean pass of each, and those of the attack


def test_best_test_selects_on_clean_test_images() -> None:
    regime = AdversarialRegime(epochs=1, epsilon=Fraction(1, 5), select="best_test")
    one = training(regime)
    metrics = run(one)[-1]
    test = ddp_rank.few_digits(100).test
    batch = test.batch(range(len(test)), len(test))
    found = attack_batch(one.module, Clean(), (Fraction(0),), batch, seed=1)
    assert metrics.validation_total == len(test) == 400
    assert metrics.validation_correct == int(found.correct_EB.sum())


def test_without_validation_the_last_epoch_is_kept() -> None:
    one = training(CleanRegime(epochs=2, batch_size=100, select="last"))
    one._validation = one._validation.first(0)
    for metrics in run(one):
        assert (metrics.validation_correct, metrics.validation_total) == (0, 0)
        assert metrics.firing_rates == {}
    assert (one.is_best, one.best_epoch) == (True, 2)


@pytest.mark.parametrize(("name", "passes"), [("clean", 1), ("trades", 2), ("sr", 2)])
def test_steps_are_made_in_training_mode(name: str, passes: int) -> None:
    one, modes = training(REGIMES[name]), []
    one.module.eval()
    one.module.layers.register_forward_hook(lambda m, _i, _o: modes.append(m.training))
    one.advance()
    assert modes.count(True) == passes
    assert modes.count(False) == (3 if name == "trades" else 0)  # its ascent: f(x), two steps


def test_rat_settles_its_weights_after_each_step() -> None:
    regime = RATRegime(epsilon=EPSILON, beta=Decimal("0.01"), lr=Decimal("0.000000001"))
    one = training(regime)
    weight = next(p for p in one.module.parameters() if p.ndim == 2)
    before = weight.detach().clone()
    one.advance()
    wanted = before - 0.01 * (before @ before.t() - torch.eye(len(before))) @ before
    assert torch.allclose(weight, wanted, atol=1e-6)


def test_start_weights_are_taken() -> None:
    source = training(REGIMES["clean"])
    run(source)
    spec, data = source.spec, ddp_rank.few_digits(100)
    one = Training(spec, data, world=World.single(), start=source.model_state())
    assert networks.state_hash(one.module) == networks.state_hash(source.module)


def test_nan_loss_names_the_step() -> None:
    one = training(REGIMES["clean"])
    one.advance()
    with torch.no_grad():
        list(one.module.parameters())[-1].fill_(float("nan"))
    with pytest.raises(NotFinite, match=r"the loss became nan in step 2 of 6 \(epoch 1\)"):
        one.advance()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Up to float summation; the last batch of one sample leaves a process without any."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *command, ddp_rank.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    for regime in ddp_rank.REGIMES:
        ddp_rank.main(regime, tmp_path / "one.pt", World.single())
        one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", regime))
        assert one["counts"] == two["counts"], regime
        for name, tensor in one["model"].items():
            assert torch.allclose(tensor, two["model"][name], atol=1e-5, rtol=0), (regime, name)
        assert one["losses"] == pytest.approx(two["losses"], abs=1e-5), regime
