"""Neurons against voltages and derivatives computed by hand."""

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlib import neurons, surrogates
from snnlib.doors import neuron
from snnlib.spec.neuron import IF, LIF, ATan, Neuron, ParametricLIF, ReLU, Sigmoid, Surrogate

ATAN = ATan()
GOLDEN = Path(__file__).parent.parent / "data" / "if_node.npz"
NAMES = ("spikes", "v_seq", "grad_x")


@pytest.mark.parametrize(
    ("spec", "currents", "spikes", "voltages"),
    [
        # u: .6, 1.2 (spike), .6, 1.2 (spike), -.25
        (IF(), [0.6, 0.6, 0.6, 0.6, -0.25], [0, 1, 0, 1, 0], [0.6, 0, 0.6, 0, -0.25]),
        # u: .5, exactly the threshold .5 at once, then .25
        (IF(v_threshold=Decimal("0.5")), [0.5, 0.25], [1, 0], [0, 0.25]),
        # u = v + (I - v)/2: .75, 1.125 (spike), .75, .375
        (LIF(), [1.5, 1.5, 1.5, 0.0], [0, 1, 0, 0], [0.75, 0, 0.75, 0.375]),
        # u = v + (I - v)/4: .5, 1.125 (spike), .25
        (LIF(tau=Decimal(4)), [2.0, 3.0, 1.0], [0, 1, 0], [0.5, 0, 0.25]),
        # the leak 1/4 is learned and starts there
        (ParametricLIF(init_tau=Decimal(4)), [2.0, 3.0, 1.0], [0, 1, 0], [0.5, 0, 0.25]),
    ],
)
def test_voltages_by_hand(
    spec: Neuron, currents: list[float], spikes: list[float], voltages: list[float]
) -> None:
    node: Any = neurons.build(spec, ATAN)
    node.store_v_seq = True
    found = node(torch.tensor(currents)[:, None])
    assert found[:, 0].tolist() == spikes
    assert node.v_seq[:, 0].tolist() == pytest.approx(voltages, abs=1e-6)


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        (ATan(), 1 / (1 + (math.pi * 0.3) ** 2)),
        (Sigmoid(alpha=Decimal(4)), 4 * math.exp(1.2) / (1 + math.exp(1.2)) ** 2),
    ],
)
def test_surrogate_derivative_by_hand(surrogate: Surrogate, expected: float) -> None:
    current = torch.tensor([[0.7]], requires_grad=True)  # u - threshold = -0.3
    (found,) = torch.autograd.grad(neurons.build(IF(), surrogate)(current).sum(), current)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_through_the_reset_by_hand(*, detach: bool) -> None:
    """s_2 after s_1: du_2/dI_1 = (1 - s_1) - u_1 h(u_1 - 1), the last part unless detached."""
    currents = torch.tensor([[0.4], [0.5]], requires_grad=True, dtype=torch.float64)
    spikes = neurons.build(IF(detach_reset=detach), ATAN)(currents)
    (found,) = torch.autograd.grad(spikes[1].sum(), currents)

    def h(u: float) -> float:
        return 1 / (1 + (math.pi * u) ** 2)

    through = 0 if detach else 0.4 * h(0.4 - 1)
    assert found[:, 0].tolist() == pytest.approx([h(-0.1) * (1 - through), h(-0.1)])


@pytest.mark.parametrize("whole", [False, True])  # the fused layer, and the graph of steps
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(("dtype", "atol"), [("f32", 1e-5), ("f64", 1e-12)])
def test_if_equals_spikingjelly_0_0_0_0_14(
    *, whole: bool, detach: bool, dtype: str, atol: float
) -> None:
    """Spikes, voltages after the reset and input gradients that the version of system A gives."""
    with np.load(GOLDEN, allow_pickle=False) as golden:
        case = {n: torch.from_numpy(golden[f"detach{detach:d}/{dtype}/{n}"]) for n in NAMES}
        x, grad_out = (torch.from_numpy(golden[name]) for name in ("x", "grad_out"))
    x = x.to(case["v_seq"].dtype).requires_grad_()
    node: Any = neurons.build(IF(detach_reset=detach), ATAN)
    node.store_v_seq = whole
    spikes = node(x)
    (grad_x,) = torch.autograd.grad(spikes, x, grad_out.to(x.dtype))
    assert torch.equal(spikes, case["spikes"].to(x.dtype))
    last = node.v_seq if whole else node.v
    assert torch.allclose(last, case["v_seq"] if whole else case["v_seq"][-1], atol=atol)
    assert torch.allclose(grad_x, case["grad_x"], atol=atol)


def trajectory(node: Any, x: torch.Tensor, upstream: torch.Tensor) -> list[torch.Tensor]:
    """Spikes of two calls without a reset between them, last voltage, and input gradient."""
    leaf = x.clone().requires_grad_()
    spikes = torch.cat([node(leaf[:6]), node(leaf[6:])])
    (grad,) = torch.autograd.grad((spikes * upstream).sum() + (node.v**2).sum(), leaf)
    return [spikes, node.v, grad]


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "surrogate", [ATAN, ATan(alpha=Decimal(5)), Sigmoid(), Sigmoid(clip=Decimal(8))]
)
def test_the_fused_if_is_spikingjellys_graph(
    *, surrogate: Surrogate, dtype: torch.dtype, detach: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, upstream = torch.randn(2, 10, 4, 3, 5, dtype=dtype, generator=generator)
    function = surrogates.build(surrogate)
    options = {"v_reset": 0.0, "detach_reset": detach, "step_mode": "m"}
    plain = neuron.IFNode(surrogate_function=function, **options)
    fused = neurons.build(IF(detach_reset=detach), surrogate)
    *exact, grad = trajectory(fused, x, upstream)
    *expected, plain_grad = trajectory(plain, x, upstream)
    assert all(torch.equal(a, b) for a, b in zip(exact, expected, strict=True))
    assert torch.allclose(grad, plain_grad, rtol=0, atol=20 * torch.finfo(dtype).eps)
    assert surrogate.name == "sigmoid" or torch.equal(grad, plain_grad)


def test_reset_forgets_the_membrane() -> None:
    node: Any = neurons.build(IF(), ATAN)
    currents = torch.full((2, 1), 0.4)
    first = node(currents)
    assert node(currents).tolist() == [[1.0], [0.0]]
    node.reset()
    assert torch.equal(node(currents), first)


def test_the_leak_of_a_parametric_lif_is_learned() -> None:
    node: Any = neurons.build(ParametricLIF(init_tau=Decimal(3)), ATAN)
    spikes = node(torch.tensor([[1.0], [1.0], [1.0]]))
    (grad,) = torch.autograd.grad(spikes.sum(), node.w)
    assert node.w.sigmoid().item() == pytest.approx(1 / 3)
    assert grad != 0


def test_relu_has_no_spikes() -> None:
    node = neurons.build(ReLU(), ATAN)
    assert node(torch.tensor([-1.0, 0.4])).tolist() == [0, pytest.approx(0.4)]
    assert not hasattr(node, "surrogate_function")


@pytest.mark.parametrize("spec", [IF(), LIF(), ParametricLIF()])
def test_the_surrogate_can_be_exchanged(spec: Neuron) -> None:
    node: Any = neurons.build(spec, ATAN)
    x = torch.full((1, 1), 0.3, requires_grad=True)
    grads = []
    for surrogate in (ATAN, Sigmoid(), ATAN):
        node.surrogate_function = surrogates.build(surrogate)
        node.reset()
        grads.append(torch.autograd.grad(node(x).sum(), x)[0].item())
    assert grads[0] == grads[2] != grads[1]
