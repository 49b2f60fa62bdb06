"""Layers that are fast for a reason, against the plain ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from snnlib.layers import AveragePool2, Folded

GENERATOR = torch.Generator().manual_seed(0)


def test_pool_is_the_mean_of_its_windows() -> None:
    x = torch.rand(3, 2, 6, 8, generator=GENERATOR, dtype=torch.float64).requires_grad_()
    upstream = torch.rand(3, 2, 3, 4, generator=GENERATOR, dtype=torch.float64)
    found, plain = AveragePool2()(x), functional.avg_pool2d(x, 2)
    gradients = [torch.autograd.grad(y, x, upstream)[0] for y in (found, plain)]
    assert torch.allclose(found, plain, atol=1e-15)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("constant", [False, True])
def test_folded_is_the_layer_at_every_step(*, constant: bool) -> None:
    layer = nn.Conv2d(2, 3, 3, dtype=torch.float64)
    x_TBCHW = torch.rand(4, 5, 2, 6, 6, generator=GENERATOR, dtype=torch.float64)
    if constant:
        x_TBCHW = x_TBCHW[:1].expand(4, -1, -1, -1, -1)
    expected = torch.stack([layer(x_BCHW) for x_BCHW in x_TBCHW])
    assert torch.allclose(Folded(layer)(x_TBCHW), expected, atol=1e-12)


def test_a_constant_input_is_computed_once() -> None:
    layer, sizes = nn.Linear(3, 2), []
    layer.register_forward_hook(lambda _m, inputs, _y: sizes.append(len(inputs[0])))
    Folded(layer)(torch.rand(5, 3).expand(4, 5, 3))
    Folded(layer)(torch.rand(4, 5, 3))
    assert sizes == [5, 20]
