"""Optimisers by name, and learning rates as a function of the step."""

import math
from collections.abc import Callable, Iterator

from torch import optim
from torch.nn import Parameter

from snnlib.spec.training import Optimiser, Schedule

Parameters = Iterator[Parameter]


def _adam(parameters: Parameters, lr: float, weight_decay: float) -> optim.Optimizer:
    return optim.Adam(parameters, lr=lr, weight_decay=weight_decay)


def _adamw(parameters: Parameters, lr: float, weight_decay: float) -> optim.Optimizer:
    return optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


def _sgd(parameters: Parameters, lr: float, weight_decay: float) -> optim.Optimizer:
    return optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=0.9)


OPTIMISERS: dict[Optimiser, Callable[[Parameters, float, float], optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}


def _constant(_progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    """Half a cosine from 1 to 0, without restarts (Loshchilov and Hutter 2017, eq. 5)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[Schedule, Callable[[float], float]] = {"constant": _constant, "cosine": _cosine}


def learning_rate(base: float, schedule: Schedule, step: int, steps: int) -> float:
    """Learning rate of a step (from 0) out of `steps`."""
    return base * SCHEDULES[schedule](step / steps)
