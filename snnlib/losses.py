"""Losses of logits, one value per sample."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from snnlib.spec.attack import AttackLoss

PerSample = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """-log softmax(z)_y, [B]."""
    return functional.cross_entropy(logits_BK, labels_B, reduction="none")


def margin(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y, [B]: positive once fooled (Carlini and Wagner 2017, f_6)."""
    own = functional.one_hot(labels_B, logits_BK.shape[1]).bool()
    others = logits_BK.masked_fill(own, float("-inf")).amax(1)
    return others - logits_BK.gather(1, labels_B[:, None])[:, 0]


LOSSES: dict[AttackLoss, PerSample] = {"cross_entropy": cross_entropy, "margin": margin}
