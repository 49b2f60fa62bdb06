"""Losses per sample against values computed by hand."""

import math

import pytest
import torch

from snnlib.losses import LOSSES
from snnlib.spec.attack import AttackLoss

LOGITS = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([1, 2, 0])
E = math.e


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
    assert LOSSES[name](LOGITS, LABELS).tolist() == pytest.approx(expected)
