"""The step of HoSNN: bound the gradient's norm, step, clip weights, keep theta at or above 0."""

import torch
from torch import optim

from snnlib import models, optimisers
from snnlib.spec.layers import Conv
from snnlib.spec.model import LayerTable
from snnlib.spec.neuron import TALIF

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
