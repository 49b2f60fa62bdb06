"""Theta and the signature of TA-LIF layers: initial values, gradients, bounds."""

from decimal import Decimal
from typing import Any

import pytest
import torch

from snnlib import neurons, surrogates
from snnlib.neurons import fused, trace
from snnlib.neurons.trace import Adaptation, Constants
from snnlib.spec.neuron import HOSNN_SURROGATE, TALIF, ThetaGradient, TraceLIF

BOTH = pytest.mark.parametrize("how", [trace, fused], ids=["plain", "fused"])
CONSTANTS = Constants(tau_m=5.0, tau_s=3.0, v_threshold=1.0)


def layer(**keys: Any) -> Any:
    spec = TALIF(tau_v=Decimal("2.5"), **keys)
    return neurons.build(spec, HOSNN_SURROGATE, shape=(2, 3), time_steps=5)


def test_starts_at_one_over_tau_v_with_signature_zero() -> None:
    state = layer().state_dict()
    assert set(state) == {"theta", "nds"}
    assert torch.equal(state["theta"], torch.full((2, 3), 0.4))
    assert torch.equal(state["nds"], torch.zeros(5, 2, 3))


def test_only_theta_is_learned() -> None:
    assert [name for name, _ in layer().named_parameters()] == ["theta"]
    assert not list(neurons.build(TraceLIF(), HOSNN_SURROGATE).parameters())


def test_constrain_raises_negative_theta_to_zero() -> None:
    found = layer()
    with torch.no_grad():
        found.theta[0] = torch.tensor([-0.1, 0.0, 0.2])
    same = found.theta
    found.constrain()
    assert found.theta is same
    assert found.theta.tolist() == [[0, 0, pytest.approx(0.2)], [pytest.approx(0.4)] * 3]


@BOTH
def test_theta_zero_is_plain_lif(how: Any) -> None:
    current = torch.randn(5, 4, 2, 3, dtype=torch.float64) + 0.5
    spike = surrogates.build(HOSNN_SURROGATE)
    adaptation = Adaptation(current.new_zeros(2, 3), torch.rand(5, 2, 3, dtype=torch.float64))
    adapting = how.bptt(current, CONSTANTS, spike, adaptation)
    assert torch.equal(adapting, how.bptt(current, CONSTANTS, spike))
    assert adapting.any()


@BOTH
@pytest.mark.parametrize("theta_gradient", ["sample", "batch"])
def test_published_gradient_and_its_repair_by_hand(theta_gradient: ThetaGradient, how: Any) -> None:
    """Two samples, one neuron, two steps: the means that are multiplied, written out."""
    current = torch.tensor([[0.3, 0.9], [0.5, -0.2]], dtype=torch.float64)[..., None]
    current.requires_grad_()
    theta = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    nds = torch.tensor([[0.1], [0.7]], dtype=torch.float64)
    spike = surrogates.build(HOSNN_SURROGATE)
    out = how.tsslbp(current, CONSTANTS, spike, Adaptation(theta, nds), theta_gradient)
    grad, found = torch.autograd.grad(out.sum(), [current, theta])
    # no spikes: u = .3, .74 and .9, .52
    errors = [((0.3 - 0.1) + (0.74 - 0.7)) / 2, ((0.9 - 0.1) + (0.52 - 0.7)) / 2]
    pushes = [-float(grad[:, b].mean()) for b in range(2)]
    expected = {
        "sample": 0.1 * (pushes[0] * errors[0] + pushes[1] * errors[1]),
        "batch": 0.1 * (pushes[0] + pushes[1]) / 2 * (errors[0] + errors[1]),
    }[theta_gradient]
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_module_hands_theta_gradient_on() -> None:
    torch.manual_seed(0)
    current, found = torch.randn(5, 4, 2, 3) + 0.5, {}
    for mode in ("sample", "batch"):
        module = layer(gradient="tsslbp", theta_gradient=mode)
        module(current).square().sum().backward()
        found[mode] = module.theta.grad
    assert not torch.allclose(found["sample"], found["batch"])


def test_double_precision() -> None:
    module = layer().double()
    current = torch.randn(5, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    module(current).sum().backward()
    assert current.grad is not None
    assert (current.grad.dtype, module.theta.grad.dtype) == (torch.float64, torch.float64)
