"""Surrogate derivatives against autograd, hand-computed values and their primitives."""

import math
from decimal import Decimal

import pytest
import torch

from snnlib import surrogates
from snnlib.spec.neuron import (
    ASSG,
    HOSNN_SURROGATE,
    PDSG,
    ATan,
    Exponential,
    Rectangle,
    Sigmoid,
    StraightThrough,
    Surrogate,
    Triangle,
)

SPECS = (
    ATan(),
    ATan(alpha=Decimal(5)),
    Sigmoid(),
    Sigmoid(alpha=Decimal(7)),
    HOSNN_SURROGATE,
    Triangle(gamma=Decimal("0.5")),
    Rectangle(gamma=Decimal(3)),
    Exponential(),
    StraightThrough(),
)
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
        (Triangle(gamma=Decimal("0.5")), -0.3, 0.2 / 0.25),
        (Triangle(), 1.5, 0),
        (Rectangle(gamma=Decimal(4)), -1.9, 0.25),
        (Rectangle(gamma=Decimal(4)), 2, 0),
        (Exponential(alpha=Decimal(3)), -0.5, 1.5 * math.exp(-1.5)),
        (StraightThrough(), -7, 1),
    ],
)
def test_derivative_by_hand(spec: Surrogate, u: float, expected: float) -> None:
    found = surrogates.build(spec).derivative(torch.tensor([u], dtype=torch.float64))
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_sigmoid_derivative_keeps_its_tails() -> None:
    """1 - f is 0 in float32 from alpha u = 17 on; f(1 - f) is not."""
    tails = surrogates.build(Sigmoid()).derivative(torch.tensor([-20.0, 20.0]))
    assert tails.tolist() == pytest.approx([2 * math.exp(-40)] * 2, rel=1e-5)


@pytest.mark.parametrize("spec", [*SPECS[:4], *SPECS[5:-1]], ids=repr)
def test_a_surrogate_has_area_one_unless_it_never_vanishes(spec: Surrogate) -> None:
    u = torch.linspace(-10, 10, 400_001, dtype=torch.float64).sinh()
    area = torch.trapezoid(surrogates.build(spec).derivative(u), u).item()
    assert area == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("shape", "places"), [((3, 2, 4, 5, 6), (2, 3)), ((3, 2, 7), (1,))])
def test_pdsg_is_a_density_of_what_each_sample_and_channel_saw_so_far(
    shape: tuple[int, ...], places: tuple[int, ...]
) -> None:
    u = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = surrogates.build(PDSG()).derivative(u)
    for t, b in ((0, 0), (1, 1), (2, 0)):
        seen = u[: t + 1, b]
        over = (0, *places) if len(places) == 2 else (0, 1)
        sigma = seen.std(over, keepdim=True)[0]
        density = (
            (-(((u[t, b] - sigma / 2) / sigma) ** 2) / 2).exp() / sigma / math.sqrt(2 * math.pi)
        )
        torch.testing.assert_close(found[t, b], density)
    alone = surrogates.build(PDSG()).derivative(u[:, 1:])
    torch.testing.assert_close(alone[:, 0], found[:, 1])


def test_pdsg_of_constant_potentials_is_finite() -> None:
    found = surrogates.build(PDSG()).derivative(torch.full((2, 1, 3), 0.5))
    assert found.flatten().tolist() == pytest.approx([1 / math.sqrt(2 * math.pi)] * 6)


def test_assg_sharpens_with_what_it_saw() -> None:
    function = surrogates.build(ASSG())
    omega, mean, deviation = 2 / math.pi * math.tan(0.42 * math.pi), 1.0, 0.0
    for value in (0.5, -0.2, 0.0):
        found = function.derivative(torch.tensor([value], dtype=torch.float64))
        mean = 0.9 * mean + 0.1 * abs(value)
        deviation = 0.9 * deviation + 0.1 * abs(abs(value) - mean)
        alpha = omega / (mean + 1.5 * deviation)
        expected = alpha / 2 / (1 + (math.pi / 2 * alpha * value) ** 2)
        assert found.item() == pytest.approx(expected, rel=1e-12)
