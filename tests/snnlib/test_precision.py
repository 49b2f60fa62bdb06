"""Training in tf32 and bf16: where it holds, and that attacks and neurons stay in float32."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlib import models, noise, precision
from snnlib.classifier import SpikingClassifier
from snnlib.regimes import REGIMES, TrainingBatch
from snnlib.spec.attack import PGD
from snnlib.spec.layers import Conv, Linear
from snnlib.spec.model import LayerTable, Model, SEWResNet, Small
from snnlib.spec.neuron import IF, LIF
from snnlib.spec.training import AdversarialRegime, CleanRegime, Regime, RegimeName, TradesRegime
from tests.snnlib import networks

EPSILON = Fraction(1, 10)
TABLE = LayerTable(
    layers=(
        Conv(out_channels=4, kernel_size=3, batch_norm=True),
        Linear(out_features=30, weight_scale=Decimal(3)),
    ),
    time_steps=4,
    readout="current",
)
SMALL = Small(neuron=LIF(v_threshold=Decimal("0.25")), time_steps=2)
ATTACK = PGD(steps=2, random_start=False)


def network(spec: Model, shape: tuple[int, int, int] = (1, 8, 8)) -> SpikingClassifier:
    return models.build(spec, shape=shape, classes=10, seed=0).train()


def batch(shape: tuple[int, int, int] = (1, 8, 8)) -> TrainingBatch:
    few = networks.batch(6, shape)
    key = noise.Key(seed=0, stream="test", samples_B=few.samples_B)
    return TrainingBatch(images_BCHW=few.images_BCHW, labels_B=few.labels_B, key=key)


def losses(module: SpikingClassifier, regime: Regime) -> Tensor:
    return REGIMES[regime.name](module, regime, batch()).loss_B


@pytest.mark.parametrize("spec", [SMALL, TABLE])
def test_bf16_is_near_fp32_and_answers_in_it(spec: Model) -> None:
    whole = losses(network(spec), CleanRegime())
    module = network(spec)
    half = losses(module, CleanRegime(precision="bf16"))
    assert half.dtype == torch.float32
    assert 0 < (half - whole).abs().mean() < 0.2  # a spike more or less
    torch.autograd.backward(half.sum())
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in module.parameters())


@pytest.mark.slow
def test_bf16_trains_a_residual_network_with_maps_of_one_pixel() -> None:
    module = network(SEWResNet(name="sew_resnet18", neuron=IF(), time_steps=1), (3, 32, 32))
    found = REGIMES["clean"](module, CleanRegime(precision="bf16"), batch((3, 32, 32)))
    torch.autograd.backward(found.loss_B.sum())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


def test_neurons_are_given_float32_and_synapses_are_not() -> None:
    module = network(SMALL)
    dtypes: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    neurons = list(module.spiking_layers.values())
    synapses = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    def see(layer: Any, _inputs: Any, output: Tensor) -> None:
        dtypes[layer in neurons].add(output.dtype)

    for layer in (*neurons, *synapses):
        layer.register_forward_hook(see)
    losses(module, CleanRegime(precision="bf16"))
    assert dtypes == {True: {torch.float32}, False: {torch.bfloat16}}
    assert not any(layer._forward_pre_hooks for layer in neurons)


@pytest.mark.parametrize(
    ("regime", "attacked", "trained"),
    [
        (AdversarialRegime(epsilon=EPSILON, attack=ATTACK, precision="bf16"), 2, 1),
        (TradesRegime(epsilon=EPSILON, attack=ATTACK, precision="bf16"), 3, 2),
    ],
    ids=["adversarial", "trades"],
)
def test_inner_attacks_stay_in_float32(regime: Regime, attacked: int, trained: int) -> None:
    module = network(SMALL)
    seen: list[tuple[bool, bool]] = []
    module.layers.register_forward_hook(
        lambda m, _i, _o: seen.append((m.training, torch.is_autocast_enabled("cpu")))
    )
    losses(module, regime)
    assert seen == [(False, False)] * attacked + [(True, True)] * trained


@pytest.mark.parametrize("name", ["clean", "adversarial"])
def test_tf32_holds_in_training_passes_alone(name: RegimeName) -> None:
    module, seen = network(SMALL), []
    module.layers.register_forward_hook(
        lambda m, _i, _o: seen.append((m.training, torch.get_float32_matmul_precision()))
    )
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    regime: Regime = CleanRegime(precision="tf32")
    if name == "adversarial":
        regime = AdversarialRegime(epsilon=EPSILON, precision="tf32")
    losses(module, regime)
    assert set(seen) <= {(True, "high"), (False, before[0])}
    assert (True, "high") in seen
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)


def test_flags_come_back_after_an_error() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with pytest.raises(ZeroDivisionError), precision.products("tf32"):
        print(1 / (not torch.backends.cudnn.allow_tf32))
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)


def test_fp32_is_the_response_itself() -> None:
    module, one = network(SMALL), batch()
    found = precision.response(module, one.images_BCHW, "pixel", "fp32")
    assert torch.equal(found.logits, module(one.images_BCHW))
    assert found.readout_TBK is found.current_TBK
