"""The audit on real networks: masked gradients are convicted, plain adversarial training is not.

Each network learns the digits first. One seed and short trainings here, three seeds in full as proofs.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from snnlib import audit, datasets, nds
from snnlib.audit import Audit
from snnlib.classifier import SpikingClassifier
from snnlib.distributed import World
from snnlib.evaluate import batches
from snnlib.spec.attack import FGSM
from snnlib.spec.audit import EPSILONS, Item, Judgement, judge
from snnlib.spec.audit_attacks import attacks
from snnlib.spec.data import Dataset
from snnlib.spec.encoder import Phase
from snnlib.spec.layers import Conv, Linear, Output, Pool
from snnlib.spec.model import LayerTable, Model, Small
from snnlib.spec.neuron import IF, LIF, TALIF, ReLU, SpikeNeuron, TraceLIF, TraceNeuron
from snnlib.spec.stage import AuditStage
from snnlib.spec.training import AdversarialRegime, CleanRegime, Regime, TrainingSpec
from snnlib.train import Training

DIGITS = Dataset(name="digits")
DATA = datasets.load(DIGITS)
ANN, SNN = Small(neuron=ReLU(), time_steps=1), Small(neuron=LIF(), time_steps=4)
PUBLISHED = AuditStage(gradient="tsslbp")


def clean(epochs: int) -> CleanRegime:
    return CleanRegime(epochs=epochs, lr=Decimal("0.005"))


def adversarial(epochs: int) -> AdversarialRegime:
    radius = Fraction(32, 255)
    return AdversarialRegime(attack=FGSM(), epsilon=radius, epochs=epochs, lr=Decimal("0.005"))


def trained(
    model: Model, regime: Regime, seed: int = 0, signature: Mapping[str, Tensor] | None = None
) -> SpikingClassifier:
    """The network after its last epoch."""
    named = None if signature is None else "constant:0"
    spec = TrainingSpec(dataset=DIGITS, model=model, regime=regime, seed=seed, nds=named)
    training = Training(
        spec, DATA, world=World.single(), nds=None if signature is None else dict(signature)
    )
    while not training.done:
        if training.epoch_complete:
            training.finish_epoch()
        else:
            training.advance()
    return training.module


def traces(neuron: TraceNeuron) -> LayerTable:
    """The network of the quickstart whose layers exchange traces."""
    first, second = (Conv(out_channels=n, kernel_size=3, padding=1) for n in (16, 32))
    layers = (first, Pool(), second, Pool(), Linear(out_features=64), Output())
    return LayerTable(neuron=neuron, layers=layers, readout="current")


def adapting(epochs: int, seed: int = 0) -> tuple[SpikingClassifier, SpikingClassifier]:
    """LIF, and TA-LIF steered by its signature."""
    lif = trained(traces(TraceLIF()), clean(epochs), seed)
    shown = (DATA.train.batch(rows, 100) for rows in batches(len(DATA.train), 100))
    signature = nds.mean(nds.collect(lif, shown, quantity="membrane"))
    steered = traces(TALIF(tau_v=Decimal("1.5")))
    return lif, trained(steered, clean(epochs), seed, signature)


def judged(
    network: SpikingClassifier, model: Model, stage: AuditStage | None = None, samples: int = 100
) -> Judgement:
    asked = stage or AuditStage()
    done = Audit(attacks=attacks(asked, model), epsilons=EPSILONS, before_pass=lambda: None)
    batch = DATA.test.batch(range(samples), samples)
    seen = audit.merged(World.single(), audit.collect(network, [batch], done))
    return judge(audit.figures(seen, EPSILONS))


def failing(found: Judgement) -> set[Item]:
    return {finding.item for finding in found.findings if finding.verdict == "fail"}


class Step(torch.autograd.Function):
    """Eight levels; its derivative is 0 wherever there is one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.zeros_like(grads[0])


class Quantised(nn.Module):
    """A network behind levels that hide its gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.inner(Step.apply(x)))  # type: ignore[no-untyped-call]


class Saturated(Quantised):
    """A network whose softmax is flat to the last digit."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, 1000 * self.inner(x))


@pytest.mark.slow
@pytest.mark.parametrize("trick", [Quantised, Saturated])
def test_a_gradient_that_is_made_to_vanish_is_convicted(trick: type[Quantised]) -> None:
    network = trained(ANN, clean(6))
    network.layers = trick(network.layers)
    found = judged(network, ANN)
    assert found.verdict == "fail"
    assert {"zero_gradient", "black_box", "unbounded"} <= failing(found)


@pytest.mark.slow
def test_a_phase_code_judged_after_its_encoder_is_convicted() -> None:
    model = Small(neuron=IF(), time_steps=8, encoder=Phase())
    found = judged(trained(model, clean(8)), model, AuditStage(space="encoded"))
    assert found.verdict == "fail"
    assert failing(found) & {"masking_gap", "black_box"}


@pytest.mark.slow
def test_the_published_gradient_is_convicted_on_ta_lif_alone() -> None:
    lif, ta_lif = adapting(epochs=20)
    assert judged(lif, traces(TraceLIF()), PUBLISHED).verdict == "pass"
    found = judged(ta_lif, traces(TALIF()), PUBLISHED)
    assert {"masking_gap", "black_box", "finite_difference"} <= failing(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [pytest.param(ANN, id="relu"), pytest.param(SNN, id="lif", marks=pytest.mark.proof)]
)
def test_adversarial_training_is_acquitted(model: Small) -> None:
    found = judged(trained(model, adversarial(10)), model)
    assert found.verdict == "pass", found.findings[0].text


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("neuron", [ReLU(), LIF()], ids=["relu", "lif"])
def test_three_seeds_are_acquitted(neuron: SpikeNeuron, seed: int) -> None:
    model = Small(neuron=neuron, time_steps=1 if neuron.name == "relu" else 4)
    network = trained(model, adversarial(25), seed)
    for samples in (100, 400):
        found = judged(network, model, samples=samples)
        assert found.verdict == "pass", found.findings[0].text


@pytest.mark.proof
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_seeds_of_ta_lif_are_convicted(seed: int) -> None:
    lif, ta_lif = adapting(epochs=30, seed=seed)
    for network, model, verdict in (
        (lif, traces(TraceLIF()), "pass"),
        (ta_lif, traces(TALIF()), "fail"),
    ):
        assert judged(network, model, PUBLISHED).verdict == verdict
    assert judged(ta_lif, traces(TALIF())).verdict == "pass"  # by the whole gradient
