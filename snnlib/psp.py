"""The synapse filter that networks of traces put on their input and on their targets."""

from typing import Any

import torch
from torch import Tensor


def psp(x_TB: Tensor, tau_s: float) -> Tensor:
    """Filter x in time, starting from 0: y_t = y_{t-1} + (x_t - y_{t-1}) / tau_s.

    That is the published syn_t = syn_{t-1} (1 - 1/tau_s) + x_t, y_t = syn_t / tau_s (Geng and Li
    2023, code of HoSNN).

    Args:
        x_TB: [T, ...], any shape behind time; float32 or float64.
        tau_s: time constant in steps, >= 1.

    Returns:
        y of the same shape, differentiable once.
    """
    filtered: Tensor = _Filter.apply(x_TB, 1 / tau_s)  # type: ignore[no-untyped-call]
    return filtered


def kernel(time_steps: int, tau_s: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """The response to a constant 1, 1 - (1 - 1/tau_s)^t for t = 1..T: [T]."""
    steps_T = torch.arange(1, time_steps + 1, dtype=torch.float64)
    return (1 - (1 - 1 / tau_s) ** steps_T).to(dtype)


def _follow(x_TB: Tensor, share: float, *, backwards: bool) -> Tensor:
    """Each step goes the share of the way from the step before (after, if backwards) to x."""
    y_TB = torch.empty_like(x_TB, memory_format=torch.contiguous_format)
    order = range(len(x_TB))
    before = None
    for t in reversed(order) if backwards else order:
        if before is None:
            torch.mul(x_TB[t], share, out=y_TB[t])
        else:
            torch.lerp(before, x_TB[t], share, out=y_TB[t])
        before = y_TB[t]
    return y_TB


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TB: Tensor, share: float) -> Tensor:
        ctx.share = share
        return _follow(x_TB, share, backwards=False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # The filter's transpose is the filter in reversed time.
        return _follow(grads[0], ctx.share, backwards=True), None
