"""Neurons against voltages and derivatives computed by hand."""

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlib import neurons
from snnlib.spec.model import IF, LIF, Neuron, Surrogate

ATAN = Surrogate()
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
        (Surrogate(), 1 / (1 + (math.pi * 0.3) ** 2)),
        (Surrogate(name="sigmoid", alpha=Decimal(4)), 4 * math.exp(1.2) / (1 + math.exp(1.2)) ** 2),
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


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(("dtype", "atol"), [("f32", 1e-5), ("f64", 1e-12)])
def test_if_equals_spikingjelly_0_0_0_0_14(*, detach: bool, dtype: str, atol: float) -> None:
    """Spikes, voltages after the reset and input gradients that the version of system A gives."""
    with np.load(GOLDEN, allow_pickle=False) as golden:
        case = {n: torch.from_numpy(golden[f"detach{detach:d}/{dtype}/{n}"]) for n in NAMES}
        x, grad_out = (torch.from_numpy(golden[name]) for name in ("x", "grad_out"))
    x = x.to(case["v_seq"].dtype).requires_grad_()
    node: Any = neurons.build(IF(detach_reset=detach), ATAN)
    node.store_v_seq = True
    spikes = node(x)
    (grad_x,) = torch.autograd.grad(spikes, x, grad_out.to(x.dtype))
    assert torch.equal(spikes, case["spikes"].to(x.dtype))
    assert torch.allclose(node.v_seq, case["v_seq"], atol=atol)
    assert torch.allclose(grad_x, case["grad_x"], atol=atol)
