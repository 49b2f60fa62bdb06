"""Losses per sample against values computed by hand."""

import math

import pytest
import torch
from torch import Tensor

from snnlib.losses import LOSSES, divergence, kernel, target_spikes, target_trace
from snnlib.response import Response
from snnlib.spec.attack import AttackLoss
from snnlib.spec.model import Ties

LOGITS = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([1, 2, 0])
E = math.e


def response(logits_BK: Tensor) -> Response:
    """A response of two steps around given logits."""
    currents = torch.stack((logits_BK + 1, logits_BK - 1))
    return Response(current_TBK=currents, readout_TBK=currents)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "cross_entropy",
            [math.log(1 + E**-1 + E**-2), 1 + math.log(1 + E**-1 + E**-2), math.log(3)],
        ),
        ("margin", [-1, 1, 0]),
    ],
)
def test_loss_by_hand(name: AttackLoss, expected: list[float]) -> None:
    assert LOSSES[name](response(LOGITS), LABELS).tolist() == pytest.approx(expected)


def test_divergence_by_hand() -> None:
    one, other = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log(), torch.zeros(2, 2)
    # 3/4 log((3/4) / (1/2)) + 1/4 log((1/4) / (1/2)), and none between equals
    wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert divergence(one, other).tolist() == pytest.approx([wanted, 0])


def test_current_loss_passes_the_readout_by() -> None:
    currents = response(LOGITS).current_TBK
    read = Response(current_TBK=currents, readout_TBK=torch.zeros_like(currents))
    assert torch.equal(
        LOSSES["current_cross_entropy"](read, LABELS),
        LOSSES["cross_entropy"](response(LOGITS), LABELS),
    )


TRACES = Response(
    current_TBK=torch.zeros(2, 1, 2),
    readout_TBK=torch.tensor([[[0.5, 0.25]], [[1.0, 0.0]]]),
    target_T=torch.tensor([0.25, 0.5]),
)


def test_kernel_loss_by_hand() -> None:
    expected = 0.5 * (0.25**2 + 0.25**2 + 0.5**2 + 0.0)
    assert kernel(TRACES, torch.tensor([0])).tolist() == pytest.approx([expected])


def test_trace_cross_entropy_by_hand() -> None:
    steps = (0.25 * math.log(1 + E**-0.25), 0.5 * math.log(1 + E**-1))
    found = LOSSES["trace_cross_entropy"](TRACES, torch.tensor([0]))
    assert found.tolist() == pytest.approx([sum(steps) / 2])


@pytest.mark.parametrize(
    ("steps", "spikes"),
    [(1, "1"), (3, "011"), (5, "01111"), (10, "0101010101"), (12, "010101010101")],
)
def test_target_spikes(steps: int, spikes: str) -> None:
    assert "".join(map(str, target_spikes(steps))) == spikes


def test_target_trace_is_filtered_twice() -> None:
    once = [0, 1 / 3, 5 / 9, 19 / 27, 65 / 81]
    twice = [0.0]
    for value in once[1:]:
        twice.append(twice[-1] * 2 / 3 + value / 3)
    assert target_trace(5, 3.0).tolist() == pytest.approx(twice)


@pytest.mark.parametrize(("ties", "expected"), [("current", [2, 1]), ("first", [0, 1])])
def test_ties_are_broken_by_the_current(ties: Ties, expected: list[int]) -> None:
    read = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])
    currents = torch.tensor([[[2.0, 9.0, 3.0], [9.0, 1.0, 2.0]]])
    found = Response(current_TBK=currents, readout_TBK=read).predicted(ties)
    assert found.tolist() == expected
