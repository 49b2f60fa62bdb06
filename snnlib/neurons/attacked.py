"""The way back through spiking neurons where an attacker chose it: all steps at once, any neuron.

Surrogates that must see a whole layer (`SpikeFunction.whole`) and the rule `bptr` cannot go through
SpikingJelly's graph of single steps. Spikes are the same; parameters get no gradient.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snnlib.spec.neuron import AttackRule


class Node(Protocol):
    """What a spiking layer offers for this, besides what SpikingJelly gives it.

    Attributes:
        gradient: `bptt`, or an attacker's `bptr`; exchangeable between calls.
    """

    gradient: AttackRule

    def charge(self, v_B: Tensor, x_B: Tensor) -> Tensor:
        """Membranes u_t from v_{t-1} and currents, rounded as SpikingJelly does."""

    def shares(self) -> tuple[Any, Any]:
        """What u_t holds of v_{t-1} and of the current."""


def wanted(node: Any) -> bool:
    """Whether a layer's gradient must go this way."""
    return bool(node.gradient != "bptt" or node.surrogate_function.whole)


def spikes(node: Any, x_TB: Tensor) -> Tensor:
    """Currents [T, B, ...] to spikes of the same shape; the membrane goes on from before."""
    (before_B,) = node.materialize_states((x_TB,), (node._memories["v"],), "m")
    found: Tensor
    found, node._memories["v"] = _ChosenWay.apply(x_TB, before_B, node)  # type: ignore[no-untyped-call]
    return found


class _ChosenWay(torch.autograd.Function):
    """u_t = charge(v_{t-1}, I_t), s_t = 1[u_t >= V], v_t = u_t (1 - s_t), and the way back.

    `bptr`: dI_t = g_t 1[rate > 0]. `bptt`, with b_t = dL/dv_t, h_t the surrogate derivative at u_t - V
    and the shares p, q of membrane and current: dL/du_t = (g_t - b_t u_t) h_t + b_t (1 - s_t), without
    b_t u_t if the reset is detached; b_{t-1} = p dL/du_t, dI_t = q dL/du_t.
    """

    @staticmethod
    def forward(ctx: Any, x_TB: Tensor, v_B: Tensor, node: Any) -> tuple[Tensor, Tensor]:
        u_TB = torch.empty_like(x_TB)
        for x_B, u_B in zip(x_TB.unbind(), u_TB.unbind(), strict=True):
            u_B.copy_(node.charge(v_B, x_B))
            v_B = u_B.masked_fill(u_B >= node.v_threshold, 0)
        ctx.save_for_backward(u_TB)
        ctx.node, ctx.rule, ctx.function = node, node.gradient, node.surrogate_function
        return (u_TB >= node.v_threshold).to(x_TB.dtype), v_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TB: Tensor, _carry_B: Tensor) -> tuple[Tensor, None, None]:
        (u_TB,) = ctx.saved_tensors
        fired_TB = u_TB >= ctx.node.v_threshold
        if ctx.rule == "bptr":
            return grad_TB * fired_TB.any(0), None, None
        of_membrane, of_current = ctx.node.shares()
        h_TB = ctx.function.profile_(u_TB - ctx.node.v_threshold).mul_(ctx.function.scale)
        carry_B = torch.zeros_like(grad_TB[0])
        found = []
        for u_B, fired_B, h_B, grad_B in _reversed(u_TB, fired_TB, h_TB, grad_TB):
            spike_B = grad_B if ctx.node.detach_reset else grad_B - carry_B * u_B
            membrane_B = spike_B * h_B + carry_B.masked_fill(fired_B, 0)
            found.append(of_current * membrane_B)
            carry_B = of_membrane * membrane_B
        return torch.stack(found[::-1]), None, None


def _reversed(*x_TB: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(reversed(x.unbind()) for x in x_TB), strict=True)
