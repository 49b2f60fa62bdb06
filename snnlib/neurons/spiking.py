"""Neurons that emit spikes: SpikingJelly's, all time steps at once, reset to 0 after a spike.

Each function makes a layer from its specification and a surrogate gradient of
`snnlib.surrogates`; the layer maps currents [T, B, ...] to spikes of the same shape and keeps its
membrane until `reset`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from snnlib.doors import neuron
from snnlib.neurons import attacked
from snnlib.spec.neuron import IF, LIF, AttackRule, ParametricLIF, ReLU


class IntegrateAndFire(neuron.IFNode):  # type: ignore[misc]
    """SpikingJelly's IFNode with hard reset to 0, on a CPU as one operation for all steps.

    Spikes and membrane have the bits of SpikingJelly's graph of single steps, and so have ATan's
    gradients; those of others agree to rounding. That graph serves whenever `store_v_seq` asks for
    the whole trajectory; on a GPU SpikingJelly's own kernels run.
    """

    gradient: AttackRule = "bptt"

    def charge(self, v_B: Tensor, x_B: Tensor) -> Tensor:
        """v + I."""
        return v_B + x_B

    def shares(self) -> tuple[float, float]:
        """All of membrane and current."""
        return 1.0, 1.0

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, B, ...] to spikes of the same shape; the membrane goes on from before."""
        if attacked.wanted(self):
            return attacked.spikes(self, x_seq)
        if x_seq.device.type != "cpu" or self.store_v_seq:
            spikes: Tensor = super().multi_step_forward(x_seq)
            return spikes
        (before_B,) = self.materialize_states((x_seq,), (self._memories["v"],), "m")
        spikes, after_B = _IntegrateAndFire.apply(x_seq, before_B, self)  # type: ignore[no-untyped-call]
        self._memories["v"] = after_B
        return spikes


class _IntegrateAndFire(torch.autograd.Function):
    """u_t = v_{t-1} + I_t, s_t = 1[u_t >= V], v_t = u_t (1 - s_t), and the way back.

    With a_t = dL/ds_t, b_t = dL/dv_t and h_t the surrogate derivative at u_t - V:
    dL/du_t = (a_t - b_t u_t) h_t + b_t (1 - s_t), without b_t u_t if the reset is detached, and
    b_{t-1} = dL/du_t = dL/dI_t.
    """

    @staticmethod
    def forward(ctx: Any, x_TB: Tensor, v_B: Tensor, node: Any) -> tuple[Tensor, Tensor]:
        # Negated, one operation of torch resets the membrane: what is above -V stays.
        minus_u_TB, spikes_TB = torch.empty_like(x_TB), torch.empty_like(x_TB)
        minus_v_B = torch.neg(v_B)
        for x_B, minus_u_B in zip(x_TB.unbind(), minus_u_TB.unbind(), strict=True):
            torch.sub(minus_v_B, x_B, out=minus_u_B)
            torch.threshold(minus_u_B, -node.v_threshold, 0, out=minus_v_B)
        torch.le(minus_u_TB, -node.v_threshold, out=spikes_TB)
        ctx.save_for_backward(minus_u_TB, spikes_TB)
        ctx.threshold, ctx.detach_reset = node.v_threshold, node.detach_reset
        ctx.function = node.surrogate_function
        return spikes_TB, minus_v_B.neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TB: Tensor, carry_B: Tensor) -> tuple[Tensor, Tensor, None]:
        minus_u_TB, spikes_TB = ctx.saved_tensors
        grad_u_TB = _slope_(minus_u_TB + ctx.threshold, ctx.function)  # even functions
        if ctx.detach_reset:
            grad_u_TB *= grad_TB
        past_B = torch.empty_like(carry_B)
        for t in reversed(range(len(grad_u_TB))):
            if not ctx.detach_reset:
                grad_u_TB[t] *= grad_TB[t] + carry_B * minus_u_TB[t]
            torch.addcmul(carry_B, carry_B, spikes_TB[t], value=-1, out=past_B)
            carry_B = grad_u_TB[t].add_(past_B)
        return grad_u_TB, carry_B, None


class LeakyIntegrateAndFire(neuron.LIFNode):  # type: ignore[misc]
    """SpikingJelly's LIFNode with `decay_input` and hard reset to 0."""

    gradient: AttackRule = "bptt"

    def charge(self, v_B: Tensor, x_B: Tensor) -> Tensor:
        """v + (I - v) / tau."""
        charged: Tensor = v_B + (x_B - v_B) / self.tau
        return charged

    def shares(self) -> tuple[float, float]:
        """1 - 1/tau of the membrane, 1/tau of the current."""
        return 1 - 1 / self.tau, 1 / self.tau

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, B, ...] to spikes of the same shape; the membrane goes on from before."""
        if attacked.wanted(self):
            return attacked.spikes(self, x_seq)
        spikes: Tensor = super().multi_step_forward(x_seq)
        return spikes


class ParametricLeakyIntegrateAndFire(neuron.ParametricLIFNode):  # type: ignore[misc]
    """SpikingJelly's ParametricLIFNode with `decay_input` and hard reset to 0."""

    gradient: AttackRule = "bptt"

    def charge(self, v_B: Tensor, x_B: Tensor) -> Tensor:
        """v + (I - v) sigmoid(w)."""
        charged: Tensor = v_B + (x_B - v_B) * self.w.sigmoid()
        return charged

    def shares(self) -> tuple[Tensor, Tensor]:
        """1 - sigmoid(w) of the membrane, sigmoid(w) of the current."""
        leak = self.w.detach().sigmoid()
        return 1 - leak, leak

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, B, ...] to spikes of the same shape; the membrane goes on from before."""
        if attacked.wanted(self):
            return attacked.spikes(self, x_seq)
        spikes: Tensor = super().multi_step_forward(x_seq)
        return spikes


def _slope_(u: Tensor, function: Any) -> Tensor:
    """Overwrite u by the surrogate derivative."""
    profile: Tensor = function.profile_(u)
    return profile if function.scale == 1 else profile.mul_(function.scale)


def if_node(spec: IF, function: Any) -> nn.Module:
    """Integrate-and-fire neuron."""
    node: nn.Module = IntegrateAndFire(**_common(spec, function))
    return node


def lif_node(spec: LIF, function: Any) -> nn.Module:
    """Leaky integrate-and-fire neuron whose input leaks too."""
    node: nn.Module = LeakyIntegrateAndFire(
        tau=float(spec.tau), decay_input=True, **_common(spec, function)
    )
    return node


def plif_node(spec: ParametricLIF, function: Any) -> nn.Module:
    """LIF with a learned leak (Fang et al. 2021, eq. 7)."""
    node: nn.Module = ParametricLeakyIntegrateAndFire(
        init_tau=float(spec.init_tau), decay_input=True, **_common(spec, function)
    )
    return node


def _common(spec: IF | LIF | ParametricLIF, function: Any) -> dict[str, Any]:
    return {
        "v_threshold": float(spec.v_threshold),
        "v_reset": 0.0,
        "surrogate_function": function,
        "detach_reset": spec.detach_reset,
        "step_mode": "m",
    }


def relu_node(_spec: ReLU, _function: Any) -> nn.Module:
    """No spikes at all: max(0, current)."""
    return nn.ReLU()
