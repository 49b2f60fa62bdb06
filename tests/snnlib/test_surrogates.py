"""Surrogate derivatives against autograd, hand-computed values and their primitives."""

import math
from decimal import Decimal

import pytest
import torch

from snnlib import surrogates
from snnlib.spec.neuron import HOSNN_SURROGATE, ATan, Sigmoid, Surrogate

SPECS = (ATan(), ATan(alpha=Decimal(5)), Sigmoid(), Sigmoid(alpha=Decimal(7)), HOSNN_SURROGATE)
U = torch.linspace(-4, 4, 801, dtype=torch.float64)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backward_multiplies_by_the_derivative(spec: Surrogate, dtype: torch.dtype) -> None:
    function = surrogates.build(spec)
    u = U.to(dtype, copy=True).requires_grad_()
    (found,) = torch.autograd.grad(function(u).sum(), u)
    assert found.dtype == dtype
    atol = 1e-12 if dtype == torch.float64 else 1e-6
    assert torch.allclose(found, function.derivative(u.detach()), rtol=0, atol=atol)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_forward_fires_at_zero_and_derivative_is_even(spec: Surrogate) -> None:
    function = surrogates.build(spec)
    before = U.clone()
    assert torch.equal(function(U), (U >= 0).double())
    assert torch.equal(function.derivative(U), function.derivative(-U))
    assert torch.equal(before, U)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_profile_is_the_derivative_in_place(spec: Surrogate) -> None:
    function, u = surrogates.build(spec), U.clone()
    found = function.profile_(u)
    assert found.data_ptr() == u.data_ptr()
    assert torch.allclose(found * function.scale, function.derivative(U), rtol=1e-14)


@pytest.mark.parametrize(
    ("spec", "u", "expected"),
    [
        (ATan(), -0.3, 1 / (1 + (math.pi * 0.3) ** 2)),
        (Sigmoid(alpha=Decimal(4)), -0.3, 4 * math.exp(1.2) / (1 + math.exp(1.2)) ** 2),
        (HOSNN_SURROGATE, 0.0, 1.25),
        (HOSNN_SURROGATE, 0.4, 5 * math.exp(2) / (1 + math.exp(2)) ** 2),
        # beyond the clip: alpha f(1-f) of 8
        (HOSNN_SURROGATE, 100.0, 5 * math.exp(8) / (1 + math.exp(8)) ** 2),
        (HOSNN_SURROGATE, -1.7, 5 * math.exp(8) / (1 + math.exp(8)) ** 2),
    ],
)
def test_derivative_by_hand(spec: Surrogate, u: float, expected: float) -> None:
    found = surrogates.build(spec).derivative(torch.tensor([u], dtype=torch.float64))
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_sigmoid_derivative_keeps_its_tails() -> None:
    """1 - f is 0 in float32 from alpha u = 17 on; f(1 - f) is not."""
    tails = surrogates.build(Sigmoid()).derivative(torch.tensor([-20.0, 20.0]))
    assert tails.tolist() == pytest.approx([2 * math.exp(-40)] * 2, rel=1e-5)
