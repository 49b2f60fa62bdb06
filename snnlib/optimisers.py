"""Optimisers by name, and learning rates as a function of the step."""

import math
from collections.abc import Callable, Iterator
from decimal import Decimal

from torch import nn, optim
from torch.nn import Parameter

from snnlib.models.table import constrain, decay_nds
from snnlib.spec.training import Optimiser, Regime, Schedule

Parameters = Iterator[Parameter]


def _adam(parameters: Parameters, lr: float, weight_decay: float) -> optim.Optimizer:
    return optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _adamw(parameters: Parameters, lr: float, weight_decay: float) -> optim.Optimizer:
    return optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _sgd(parameters: Parameters, lr: float, weight_decay: float) -> optim.Optimizer:
    return optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=0.9)


OPTIMISERS: dict[Optimiser, Callable[[Parameters, float, float], optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}
"""(parameters, learning rate, weight decay) to an optimiser of them."""


def step(
    optimiser: optim.Optimizer,
    module: nn.Module,
    *,
    clip_grad_norm: Decimal | float | None = None,
    weight_clip: Decimal | float | None = None,
    nds_decay: bool = False,
) -> None:
    """One optimiser step from the gradients at hand, which it uses up.

    In the order of HoSNN: bound the norm of all gradients together, step, clip weights, keep every
    theta at or above 0.

    Args:
        optimiser: of all parameters of `module`.
        module: the network.
        clip_grad_norm: bound of the norm of all gradients together.
        weight_clip: bound of every weight of convolutions and linear layers.
        nds_decay: whether the optimiser's weight decay shrinks signatures of convolutions.
    """
    if clip_grad_norm is not None:
        nn.utils.clip_grad_norm_(module.parameters(), float(clip_grad_norm))
    optimiser.step()
    optimiser.zero_grad()
    constrain(module, None if weight_clip is None else float(weight_clip))
    if nds_decay:
        group = optimiser.param_groups[0]
        decay_nds(module, 1 - group["lr"] * group["weight_decay"])


def _constant(_regime: Regime, _step: int, _steps_per_epoch: int) -> float:
    return 1.0


def _cosine(regime: Regime, step: int, steps_per_epoch: int) -> float:
    """Half a cosine from 1 to 0, without restarts (Loshchilov and Hutter 2017, eq. 5)."""
    return 0.5 * (1 + math.cos(math.pi * (step / (steps_per_epoch * regime.epochs))))


def _cosine_epochs(regime: Regime, step: int, steps_per_epoch: int) -> float:
    """(1 + cos(pi e / t_max)) / 2 in epoch e, as PyTorch's CosineAnnealingLR with eta_min 0."""
    epoch, t_max = step // steps_per_epoch, regime.t_max or regime.epochs
    return 0.5 * (1 + math.cos(math.pi * epoch / t_max))


SCHEDULES: dict[Schedule, Callable[[Regime, int, int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "cosine_epochs": _cosine_epochs,
}
"""(regime, step from 0, steps per epoch) to a factor of the learning rate."""


def learning_rate(regime: Regime, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (from 0)."""
    return float(regime.lr) * SCHEDULES[regime.schedule](regime, step, steps_per_epoch)
