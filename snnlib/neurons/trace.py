"""Neurons that emit traces of their spikes: the equations, step by step.

The readable reference: `neurons.fused` computes the same. Time constants are in steps.

    u_t = (1 - 1/tau_m) u~_{t-1} + I_t         membrane
    V_t = V_{t-1} + theta (u_t - u*_t)         threshold, V_0 before the first step
    s_t = 1[u_t > V_t]                         spikes
    u~_t = u_t (1 - s_t)                       hard reset to 0
    a_t = a_{t-1} + (s_t - a_{t-1}) / tau_s    trace

LIF has theta = 0. Source: Geng and Li 2023 (HoSNN, arXiv 2308.10373), section 3, and its code.
Dtypes: float32 and float64, one for all tensors of a call.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from snnlib.spec.neuron import TALIF, ThetaGradient, TraceLIF
from snnlib.surrogates import SpikeFunction

THETA_STEP = 0.1
"""Factor of the published gradient of theta."""


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What all neurons of a layer share: time constants in steps, and the base threshold V_0."""

    tau_m: float
    tau_s: float
    v_threshold: float

    @classmethod
    def of(cls, spec: TraceLIF | TALIF) -> Self:
        """The constants of a specification."""
        return cls(
            tau_m=float(spec.tau_m), tau_s=float(spec.tau_s), v_threshold=float(spec.v_threshold)
        )

    @property
    def membrane_decay(self) -> float:
        """1 - 1/tau_m, what one step leaves of the membrane."""
        return 1 - 1 / self.tau_m

    @property
    def trace_decay(self) -> float:
        """1 - 1/tau_s, what one step leaves of the trace."""
        return 1 - 1 / self.tau_s


class Adaptation(NamedTuple):
    """What moves the thresholds of TA-LIF.

    Attributes:
        theta: [*shape], per neuron, >= 0.
        nds_T: the signature u*, [T, *shape].
    """

    theta: Tensor
    nds_T: Tensor


class Trajectory(NamedTuple):
    """All states of a layer, each [T, B, *shape].

    Attributes:
        membrane_TB: u_t, before the reset.
        threshold_TB: V_t.
        spikes_TB: s_t, 0 or 1.
        trace_TB: a_t, the output.
    """

    membrane_TB: Tensor
    threshold_TB: Tensor
    spikes_TB: Tensor
    trace_TB: Tensor


def trajectory(
    current_TB: Tensor,
    constants: Constants,
    spike: SpikeFunction,
    adaptation: Adaptation | None = None,
) -> Trajectory:
    """Follow the equations; differentiable through leak, reset and threshold.

    Args:
        current_TB: I, [T, B, *shape].
        constants: of the layer.
        spike: Heaviside function whose derivative, centred at V_t, backward uses.
        adaptation: theta and signature; thresholds stay at V_0 without.
    """
    rest_B = trace_B = torch.zeros_like(current_TB[0])
    threshold_B = torch.full_like(rest_B, constants.v_threshold)
    states = []
    for t, current_B in enumerate(current_TB):
        membrane_B = constants.membrane_decay * rest_B + current_B
        if adaptation is not None:
            threshold_B = threshold_B + adaptation.theta * (membrane_B - adaptation.nds_T[t])
        # `spike` fires at equality, these neurons above it; its derivative is even.
        spikes_B = 1 - spike(threshold_B - membrane_B)
        rest_B = membrane_B * (1 - spikes_B)
        trace_B = trace_B + (spikes_B - trace_B) / constants.tau_s
        states.append((membrane_B, threshold_B, spikes_B, trace_B))
    return Trajectory(*(torch.stack(state) for state in zip(*states, strict=True)))


def bptt(
    current_TB: Tensor,
    constants: Constants,
    spike: SpikeFunction,
    adaptation: Adaptation | None = None,
) -> Tensor:
    """Traces [T, B, *shape]; the gradient is autograd's, through everything."""
    return trajectory(current_TB, constants, spike, adaptation).trace_TB


def tsslbp(
    current_TB: Tensor,
    constants: Constants,
    spike: SpikeFunction,
    adaptation: Adaptation | None = None,
    theta_gradient: ThetaGradient = "sample",
) -> Tensor:
    """Traces [T, B, *shape] with the published gradient, through the trace alone.

    With d_t the gradient of a_t and h the surrogate derivative,

        g_t = d_t / tau_s + (1 - 1/tau_s) g_{t+1}
        dI_t = g_t h(u_t - V_0)

    and for theta, e_b the time mean of u - u* and c_b that of -dI in sample b,

        0.1 mean_b(c_b) sum_b(e_b) (`batch`, as published) or 0.1 sum_b(c_b e_b) (`sample`).

    Source: TSSL-BP (Zhang and Li 2020, arXiv 2002.10085) as in the code of HoSNN.

    Args:
        current_TB: I, [T, B, *shape].
        constants: of the layer.
        spike: gives h.
        adaptation: theta and signature; thresholds stay at V_0 without.
        theta_gradient: which gradient theta gets.
    """
    theta, nds_T = adaptation or (None, None)
    function: Any = _TSSLBP
    traces: Tensor = function.apply(current_TB, theta, nds_T, constants, spike, theta_gradient)
    return traces


class _TSSLBP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current_TB: Tensor,
        theta: Tensor | None,
        nds_T: Tensor | None,
        constants: Constants,
        *rest: Any,
    ) -> Tensor:
        ctx.constants, (ctx.spike, ctx.theta_gradient) = constants, rest
        adaptation = Adaptation(theta, nds_T) if theta is not None and nds_T is not None else None
        states = trajectory(current_TB, constants, ctx.spike, adaptation)
        ctx.save_for_backward(states.membrane_TB, nds_T)
        return states.trace_TB

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        membrane_TB, nds_T = ctx.saved_tensors
        constants: Constants = ctx.constants
        grad_B, reversed_grads = torch.zeros_like(grads[0][0]), []
        for grad_trace_B in grads[0].flip(0):
            grad_B = grad_trace_B / constants.tau_s + constants.trace_decay * grad_B
            reversed_grads.append(grad_B)
        grad_TB = torch.stack(reversed_grads[::-1])
        grad_TB = grad_TB * ctx.spike.derivative(membrane_TB - constants.v_threshold)
        if nds_T is None:
            return grad_TB, None, None, None, None, None
        error_B, push_B = (membrane_TB - nds_T[:, None]).mean(0), -grad_TB.mean(0)
        if ctx.theta_gradient == "batch":
            grad_theta = THETA_STEP * push_B.mean(0) * error_B.sum(0)
        else:
            grad_theta = THETA_STEP * (push_B * error_B).sum(0)
        return grad_TB, grad_theta, None, None, None, None
