"""The step of HoSNN: bound the gradient's norm, step, clip weights, keep theta at or above 0."""

import math
from decimal import Decimal

import pytest
import torch
from torch import nn, optim

from snnlib import models, optimisers
from snnlib.spec.layers import Conv
from snnlib.spec.model import LayerTable
from snnlib.spec.neuron import TALIF
from snnlib.spec.training import CleanRegime

SPEC = LayerTable(layers=(Conv(out_channels=2, kernel_size=3),), neuron=TALIF(), time_steps=2)


def test_step_is_bounded_clipped_and_constrained() -> None:
    model = models.build(SPEC, shape=(1, 4, 4), classes=3, seed=0, nds=0.5)
    optimiser = optim.SGD(model.parameters(), lr=1.0)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    count = sum(value.numel() for value in before.values())
    optimisers.step(optimiser, model, clip_grad_norm=1, weight_clip=0.1)
    for name, value in model.named_parameters():
        stepped = before[name] - 1 / count**0.5
        low = 0.0 if name.endswith("theta") else -0.1
        high = float("inf") if name.endswith("theta") else 0.1
        assert torch.allclose(value, stepped.clamp(low, high), atol=1e-6)
        assert value.grad is None


def test_signatures_of_convolutions_decay_only_on_request() -> None:
    model = models.build(SPEC, shape=(1, 4, 4), classes=3, seed=0, nds=0.5)
    optimiser = optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    optimisers.step(optimiser, model)
    assert (model.state_dict()["layers.conv_1.neuron.nds"] == 0.5).all()
    optimisers.step(optimiser, model, nds_decay=True)
    assert torch.allclose(model.state_dict()["layers.conv_1.neuron.nds"], torch.tensor(0.475))


@pytest.mark.parametrize(("t_max", "epochs"), [(200, 201), (3, 8), (None, 5)])
def test_cosine_epochs_is_that_of_pytorch(t_max: int | None, epochs: int) -> None:
    regime = CleanRegime(schedule="cosine_epochs", t_max=t_max, epochs=epochs, lr=Decimal("0.0005"))
    optimiser = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.0005)
    theirs = optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=t_max or epochs)
    for epoch in range(epochs):
        rates = [optimisers.learning_rate(regime, 7 * epoch + step, 7) for step in (0, 6)]
        assert rates == pytest.approx([theirs.get_last_lr()[0]] * 2, abs=1e-12)
        optimiser.step()
        theirs.step()


@pytest.mark.parametrize(
    ("regime", "factors"),
    [
        (CleanRegime(schedule="constant", epochs=2), [1, 1, 1, 1]),
        (
            CleanRegime(schedule="cosine", epochs=2),
            [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)],
        ),
        (CleanRegime(schedule="cosine_epochs", epochs=2), [1, 1, 0.5, 0.5]),
        (CleanRegime(schedule="cosine_epochs", epochs=2, t_max=1), [1, 1, 0, 0]),
    ],
)
def test_learning_rates_by_hand(regime: CleanRegime, factors: list[float]) -> None:
    found = [optimisers.learning_rate(regime, step, 2) / 0.001 for step in range(4)]
    assert found == pytest.approx(factors)
