"""Losses of a network's response, one value per sample.

Called alone, with given output traces a_TBK: `kernel(Response(current_TBK=a, readout_TBK=a,
target_T=target_trace(T, tau_s)), labels_B)`. `SpikingClassifier.response` makes such a response.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snnlib.errors import SnnlibError
from snnlib.psp import psp
from snnlib.response import Response
from snnlib.spec.attack import AttackLoss
from snnlib.spec.training import Loss

PerSample = Callable[[Response, Tensor], Tensor]


def cross_entropy(response: Response, labels_B: Tensor) -> Tensor:
    """-log softmax(z)_y of the logits z, [B]: the loss of the decision."""
    return functional.cross_entropy(response.logits, labels_B, reduction="none")


def margin(response: Response, labels_B: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y, [B]: positive once fooled (Carlini and Wagner 2017, f_6)."""
    logits_BK = response.logits
    own = functional.one_hot(labels_B, logits_BK.shape[1]).bool()
    others = logits_BK.masked_fill(own, float("-inf")).amax(1)
    return others - logits_BK.gather(1, labels_B[:, None])[:, 0]


def dlr(response: Response, labels_B: Tensor) -> Tensor:
    """(max_{k != y} z_k - z_y) / (z_(1) - z_(3)), [B] (Croce and Hein 2020, eq. 6).

    z_(i) is the i-th largest logit. Where z_(1) = z_(3), as often among spike counts, the ratio says
    nothing and its numerator, the margin, stands for it.
    """
    ordered_BK = response.logits.sort(dim=1, descending=True).values
    return _ratio(margin(response, labels_B), ordered_BK[:, 0] - ordered_BK[:, 2])


def dlr_targeted(response: Response, labels_B: Tensor, targets_B: Tensor) -> Tensor:
    """(z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2), [B] (Croce and Hein 2020, eq. 7).

    Where the divisor is 0 the numerator stands alone, as in `dlr`.
    """
    logits_BK = response.logits
    ordered_BK = logits_BK.sort(dim=1, descending=True).values
    own_B, other_B = (logits_BK.gather(1, of[:, None])[:, 0] for of in (labels_B, targets_B))
    return _ratio(other_B - own_B, ordered_BK[:, 0] - (ordered_BK[:, 2] + ordered_BK[:, 3]) / 2)


def _ratio(value_B: Tensor, by_B: Tensor) -> Tensor:
    defined_B = by_B > 0
    return torch.where(defined_B, value_B / torch.where(defined_B, by_B, 1.0), value_B)


def current_cross_entropy(response: Response, labels_B: Tensor) -> Tensor:
    """Cross entropy of the output layer's mean current, whatever the readout, [B]."""
    logits_BK = response.current_TBK.mean(0)
    return functional.cross_entropy(logits_BK, labels_B, reduction="none")


def trace_cross_entropy(response: Response, labels_B: Tensor) -> Tensor:
    """-(1/T) sum_t r_t log softmax(a_t)_y, [B]: output traces a against the target's r.

    Attack loss of HoSNN for MNIST and CIFAR-10, whose r is psp(psp(S)) of the spikes S of
    `target_spikes`.
    """
    target_T = _target(response)
    own_TB = labels_B.expand(len(target_T), -1)
    chance_TBK = functional.log_softmax(response.readout_TBK, dim=2)
    chosen_TB = chance_TBK.gather(2, own_TB[..., None])[..., 0]
    return -(target_T[:, None] * chosen_TB).mean(0)


def kernel(response: Response, labels_B: Tensor) -> Tensor:
    """1/2 sum_{k,t} (a_kt - [k = y] r_t)^2, [B]: training loss of HoSNN (Geng and Li 2023)."""
    target_T = _target(response)
    own_BK = functional.one_hot(labels_B, response.readout_TBK.shape[2])
    difference_TBK = response.readout_TBK - target_T[:, None, None] * own_BK
    return 0.5 * difference_TBK.square().sum((0, 2))


def divergence(logits_BK: Tensor, other_BK: Tensor) -> Tensor:
    """KL(p || q) = sum_k p_k (log p_k - log q_k), [B], p and q the softmax of two sets of logits."""
    log_p_BK, log_q_BK = logits_BK.log_softmax(1), other_BK.log_softmax(1)
    return (log_p_BK.exp() * (log_p_BK - log_q_BK)).sum(1)


def _target(response: Response) -> Tensor:
    assert response.target_T is not None, "only networks that are read by traces have a target"
    steps, expected = len(response.readout_TBK), len(response.target_T)
    if steps != expected:
        raise SnnlibError(f"the network was built for {expected} steps, its input has {steps}")
    return response.target_T.to(response.readout_TBK)


def target_spikes(steps: int) -> list[int]:
    """Spikes S that the output of the true class should have.

    HoSNN defines 0,1,1,1,1 for T = 5 and 0,1,0,1,... for multiples of 10; here silence at first,
    then a spike at every step (T < 10) or at every other (T >= 10). With T = 1 it spikes at once.
    """
    if steps == 1:
        return [1]
    return [int(t > 0) if steps < 10 else t % 2 for t in range(steps)]


def target_trace(steps: int, tau_s: float) -> Tensor:
    """psp(psp(S)), [T]: the filter stands in the target and again in the loss, as published."""
    spikes_TB = torch.tensor(target_spikes(steps), dtype=torch.float64)[:, None]
    return psp(psp(spikes_TB, tau_s), tau_s)[:, 0]


LOSSES: dict[AttackLoss, PerSample] = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "dlr": dlr,
    "trace_cross_entropy": trace_cross_entropy,
    "current_cross_entropy": current_cross_entropy,
}
"""What attacks raise."""

TRAINING_LOSSES: dict[Loss, PerSample] = {"cross_entropy": cross_entropy, "kernel": kernel}
"""What training lowers."""
SUMMED: frozenset[Loss] = frozenset(["kernel"])
"""Training losses that are summed over the batch; the others are averaged."""
