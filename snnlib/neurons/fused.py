"""Neurons that emit traces, fast: the equations of `neurons.trace` without a graph per step.

Both gradients run once backwards in time and keep only the membranes; thresholds and spikes are
computed again from them. All work is in place and, on a CPU, in blocks that stay in its cache.
Inside, samples and neurons are one axis each: [T, B, F] (without theta [T, 1, B F]).
"""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlib.neurons.trace import THETA_STEP, Adaptation, Constants
from snnlib.spec.neuron import ThetaGradient
from snnlib.surrogates import SpikeFunction

BLOCK = 131_072
"""Neurons times samples that a CPU takes through all steps before it turns to the next."""


def bptt(
    current_TB: Tensor,
    constants: Constants,
    spike: SpikeFunction,
    adaptation: Adaptation | None = None,
) -> Tensor:
    """As `trace.bptt`, differentiable once.

    With d_t the gradient of a_t that comes from above, h_t the surrogate derivative at u_t - V_t,
    and A, R, S, W, U the gradients of a, u~, s, V, u:

        A_t = d_t + (1 - 1/tau_s) A_{t+1}
        R_t = (1 - 1/tau_m) U_{t+1}
        S_t = A_t / tau_s - u_t R_t
        W_t = W_{t+1} - h_t S_t
        U_t = h_t S_t + (1 - s_t) R_t + theta W_t

    so that dI_t = U_t and dtheta = sum_{b,t} (u_t - u*_t) W_t. They follow from the equations of
    `trace` by the chain rule.
    """
    return _run(_BPTT, current_TB, adaptation, _Layer(constants, spike))


def bptr(
    current_TB: Tensor,
    constants: Constants,
    spike: SpikeFunction,
    adaptation: Adaptation | None = None,
) -> Tensor:
    """Traces with the gradient of `tsslbp`, where 1[rate > 0] takes the place of the surrogate.

    Backward pass through rate (Ding et al. 2022, SNN-RAT): a neuron that spiked at all passes its
    gradient on. Theta gets none: the rule is an attacker's.
    """
    return _run(_BPTR, current_TB, adaptation, _Layer(constants, spike))


def tsslbp(
    current_TB: Tensor,
    constants: Constants,
    spike: SpikeFunction,
    adaptation: Adaptation | None = None,
    theta_gradient: ThetaGradient = "sample",
) -> Tensor:
    """As `trace.tsslbp`."""
    return _run(_TSSLBP, current_TB, adaptation, _Layer(constants, spike, theta_gradient))


class Seen(NamedTuple):
    """States of a rectangle of samples and neurons, at all steps; to be read at once only.

    Attributes:
        membrane_Tb: before reset, [T, samples, neurons].
        trace_Tb: [T, samples, neurons].
        samples: which of the batch.
        neurons: which of the layer, counted as one axis.
    """

    membrane_Tb: Tensor
    trace_Tb: Tensor
    samples: slice
    neurons: slice


@torch.no_grad()
def watched(
    current_TB: Tensor,
    constants: Constants,
    adaptation: Adaptation | None,
    watch: Callable[[Seen], None],
) -> Tensor:
    """The traces of `bptt` without a gradient; membranes are shown on the way, never kept.

    Args:
        current_TB: I, [T, B, *shape].
        constants: of the layer.
        adaptation: theta and signature; thresholds stay at V_0 without.
        watch: called for blocks that cover every sample and neuron once.
    """
    current_TBF = current_TB.flatten(2)
    theta_F = nds_TF = None
    if adaptation is not None:
        theta_F, nds_TF = adaptation.theta.reshape(-1), adaptation.nds_T.flatten(1)
    trace_TBF = torch.empty_like(current_TBF, memory_format=torch.contiguous_format)
    scratch = _Scratch(trace_TBF)
    for block in _blocks(current_TBF):
        trace_Tb = block.of(trace_TBF)
        membrane_Tb = scratch("membrane", trace_Tb.shape)
        states_T = tuple(x.unbind() for x in (block.of(current_TBF), membrane_Tb, trace_Tb))
        _advance(states_T, block.adaptation(theta_F, nds_TF), constants, scratch)
        watch(Seen(membrane_Tb, trace_Tb, *block))
    return trace_TBF.view(current_TB.shape)


class _Layer(NamedTuple):
    """What a call knows besides its tensors."""

    constants: Constants
    spike: SpikeFunction
    theta_gradient: ThetaGradient = "sample"
    shape: torch.Size = torch.Size()

    def profile_(self, distance_Tb: Tensor) -> None:
        """Overwrite distances from the threshold by the surrogate's profile."""
        # of a spike function that must see the whole layer, the only block is the layer
        self.spike.profile_(distance_Tb.view(self.shape) if self.spike.whole else distance_Tb)


def _run(function: Any, current_TB: Tensor, adaptation: Adaptation | None, layer: _Layer) -> Tensor:
    steps, batch = current_TB.shape[:2]
    layer = layer._replace(shape=current_TB.shape)
    if adaptation is None:
        trace: Tensor = function.apply(current_TB.flatten(1)[:, None], None, None, layer)
    else:
        theta_F, nds_TF = adaptation.theta.reshape(-1), adaptation.nds_T.reshape(steps, -1)
        current_TBF = current_TB.reshape(steps, batch, theta_F.numel())
        trace = function.apply(current_TBF, theta_F, nds_TF, layer)
    return trace.view(current_TB.shape)


class _Block(NamedTuple):
    """A rectangle of samples and neurons, at all steps."""

    samples: slice
    neurons: slice

    def of(self, x_TBF: Tensor) -> Tensor:
        """Its part of a tensor."""
        return x_TBF[:, self.samples, self.neurons]

    def adaptation(self, theta_F: Tensor | None, nds_TF: Tensor | None) -> Adaptation | None:
        """What moves its thresholds."""
        if theta_F is None or nds_TF is None:
            return None
        return Adaptation(theta_F[self.neurons], nds_TF[:, None, self.neurons])


def _blocks(x_TBF: Tensor, *, whole: bool = False) -> Iterator[_Block]:
    """Cover all samples and neurons, if `whole` by one block; the first block is the largest."""
    _, batch, count = x_TBF.shape
    limit = BLOCK if x_TBF.device.type == "cpu" and not whole else x_TBF.numel()
    wide = max(1, ceil(count / ceil(count / limit))) if count else 1
    high = ceil(batch / ceil(batch * wide / limit)) if batch else 1
    for first in range(0, count, wide):
        for sample in range(0, batch, high):
            yield _Block(slice(sample, sample + high), slice(first, first + wide))


class _Scratch:
    """Memory that the blocks of a call share: fresh pages cost more than the arithmetic."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._memory: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: torch.Size) -> Tensor:
        size = shape.numel()
        if name not in self._memory:
            self._memory[name] = self._like.new_empty(size)
        return self._memory[name][:size].view(shape)


def _forward(
    current_TBF: Tensor, theta_F: Tensor | None, nds_TF: Tensor | None, layer: _Layer, *, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Traces, and the membranes if they are to be kept."""
    trace_TBF = torch.empty_like(current_TBF, memory_format=torch.contiguous_format)
    membrane_TBF = torch.empty_like(trace_TBF) if keep else None
    scratch = _Scratch(trace_TBF)
    for block in _blocks(current_TBF):
        current_T, trace_T = block.of(current_TBF).unbind(), block.of(trace_TBF).unbind()
        if membrane_TBF is None:
            membrane_T = (scratch("membrane", trace_T[0].shape),) * len(trace_T)
        else:
            membrane_T = block.of(membrane_TBF).unbind()
        adaptation = block.adaptation(theta_F, nds_TF)
        _advance((current_T, membrane_T, trace_T), adaptation, layer.constants, scratch)
    return trace_TBF, membrane_TBF


def _advance(
    states_T: tuple[tuple[Tensor, ...], ...],
    adaptation: Adaptation | None,
    constants: Constants,
    scratch: _Scratch,
) -> None:
    """Take a block through all steps: read its currents, write its membranes and traces."""
    shape = states_T[0][0].shape
    rest = scratch("rest", shape)
    before = None
    threshold: Any = constants.v_threshold
    if adaptation is not None:
        threshold = scratch("threshold", shape).fill_(constants.v_threshold)
    for t, (current, membrane, trace) in enumerate(zip(*states_T, strict=True)):
        if before is None:
            membrane.copy_(current)
        else:
            torch.add(current, rest, alpha=constants.membrane_decay, out=membrane)
        if adaptation is not None:
            error = torch.sub(membrane, adaptation.nds_T[t], out=rest)
            threshold.addcmul_(adaptation.theta, error)
        torch.gt(membrane, threshold, out=trace)
        torch.addcmul(membrane, membrane, trace, value=-1, out=rest)
        if before is None:
            trace.mul_(1 / constants.tau_s)
        else:
            trace.lerp_(before, constants.trace_decay)
        before = trace


class _TSSLBP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current_TBF: Tensor,
        theta_F: Tensor | None,
        nds_TF: Tensor | None,
        layer: _Layer,
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        trace_TBF, membrane_TBF = _forward(current_TBF, theta_F, nds_TF, layer, keep=keep)
        ctx.layer = layer
        ctx.save_for_backward(membrane_TBF, nds_TF)
        return trace_TBF

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        membrane_TBF, nds_TF = ctx.saved_tensors
        constants, spike, theta_gradient = ctx.layer[:3]
        grad_TBF = torch.empty_like(membrane_TBF)
        scratch, zero = _Scratch(membrane_TBF), membrane_TBF.new_zeros(())
        for block in _blocks(membrane_TBF, whole=spike.whole):
            grad_Tb = block.of(grad_TBF)
            h_Tb = scratch("h", grad_Tb.shape)
            torch.sub(block.of(membrane_TBF), constants.v_threshold, out=h_Tb)
            ctx.layer.profile_(h_Tb)
            g = scratch("g", grad_Tb[0].shape).zero_()
            for d, h, grad in _reversed(block.of(grads[0]), h_Tb, grad_Tb):
                torch.lerp(d, g, constants.trace_decay, out=g)
                torch.addcmul(zero, g, h, value=spike.scale, out=grad)
        grad_theta_F = None
        if ctx.needs_input_grad[1]:
            grad_theta_F = _published(membrane_TBF, nds_TF, grad_TBF, theta_gradient)
        return grad_TBF, grad_theta_F, None, None


def _published(
    membrane_TBF: Tensor, nds_TF: Tensor, grad_TBF: Tensor, theta_gradient: ThetaGradient
) -> Tensor:
    """Gradient of theta under TSSL-BP, see `trace.tsslbp`: [F]."""
    steps, batch, _ = grad_TBF.shape
    factor = -THETA_STEP / steps**2
    if theta_gradient == "batch":
        error_F = membrane_TBF.sum((0, 1)).sub_(nds_TF.sum(0), alpha=batch)
        return error_F.mul_(grad_TBF.sum((0, 1))).mul_(factor / batch)
    error_BF = membrane_TBF.sum(0).sub_(nds_TF.sum(0))
    return error_BF.mul_(grad_TBF.sum(0)).sum(0).mul_(factor)


def _reversed(*x_Tb: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(reversed(x.unbind()) for x in x_Tb), strict=True)


class _BPTR(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current_TBF: Tensor,
        theta_F: Tensor | None,
        nds_TF: Tensor | None,
        layer: _Layer,
    ) -> Tensor:
        keep = ctx.needs_input_grad[0]
        trace_TBF, _ = _forward(current_TBF, theta_F, nds_TF, layer, keep=False)
        ctx.layer = layer
        # at every step: where tau_s is 1, a trace is 0 again one step after its spike
        ctx.save_for_backward(trace_TBF.any(0) if keep else None)
        return trace_TBF

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (spiked_BF,) = ctx.saved_tensors
        grad_TBF = torch.empty_like(grads[0], memory_format=torch.contiguous_format)
        g = torch.zeros_like(grads[0][0])
        for d, grad in _reversed(grads[0], grad_TBF):
            torch.lerp(d, g, ctx.layer.constants.trace_decay, out=g)
            torch.mul(g, spiked_BF, out=grad)
        return grad_TBF, None, None, None


class _BPTT(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current_TBF: Tensor,
        theta_F: Tensor | None,
        nds_TF: Tensor | None,
        layer: _Layer,
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        trace_TBF, membrane_TBF = _forward(current_TBF, theta_F, nds_TF, layer, keep=keep)
        ctx.layer = layer
        ctx.save_for_backward(membrane_TBF, theta_F, nds_TF)
        return trace_TBF

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        membrane_TBF, theta_F, nds_TF = ctx.saved_tensors
        grad_TBF = torch.empty_like(membrane_TBF)
        grad_theta_F = torch.zeros_like(theta_F) if ctx.needs_input_grad[1] else None
        scratch = _Scratch(membrane_TBF)
        for block in _blocks(membrane_TBF, whole=ctx.layer.spike.whole):
            adaptation = block.adaptation(theta_F, nds_TF)
            states_Tb = [block.of(x) for x in (membrane_TBF, grads[0], grad_TBF)]
            pull = None if grad_theta_F is None else grad_theta_F[block.neurons]
            _retreat(states_Tb, adaptation, pull, ctx.layer, scratch)
        return grad_TBF, grad_theta_F, None, None


def _retreat(
    states_Tb: list[Tensor],
    adaptation: Adaptation | None,
    grad_theta: Tensor | None,
    layer: _Layer,
    scratch: _Scratch,
) -> None:
    """Take a block back through all steps, by the equations of `bptt`.

    Args:
        states_Tb: its membranes u and the gradients d, read; the gradients of the currents, written.
        adaptation: of its neurons.
        grad_theta: of its neurons; their share is added.
        layer: constants and spike function.
        scratch: working memory.
    """
    u_Tb, d_Tb, grad_Tb = states_Tb
    constants, spike, size = layer.constants, layer.spike, u_Tb[0].shape
    error_Tb, h_Tb = _distance(u_Tb, adaptation, constants, scratch)
    silent_Tb = torch.le(h_Tb, 0, out=scratch("silent", u_Tb.shape))
    layer.profile_(h_Tb)
    A, U, W, pulls = (scratch(name, size).zero_() for name in ("A", "U", "W", "pulls"))
    S, zero = scratch("S", size), u_Tb.new_zeros(())
    for u, d, h, silent, error, grad in _reversed(u_Tb, d_Tb, h_Tb, silent_Tb, error_Tb, grad_Tb):
        torch.lerp(d, A, constants.trace_decay, out=A)  # A / tau_s
        torch.addcmul(A, u, U, value=-constants.membrane_decay, out=S)
        torch.addcmul(zero, S, h, value=spike.scale, out=grad)
        if adaptation is not None:
            W.sub_(grad)
            grad.addcmul_(adaptation.theta, W)
            if grad_theta is not None:
                pulls.addcmul_(error, W)
        grad.addcmul_(silent, U, value=constants.membrane_decay)
        U = grad
    if grad_theta is not None:
        grad_theta.add_(pulls.sum(0))


def _distance(
    u_Tb: Tensor, adaptation: Adaptation | None, constants: Constants, scratch: _Scratch
) -> tuple[Tensor, Tensor]:
    """Of the membranes from the signature (anything without one) and from the threshold."""
    distance_Tb = scratch("distance", u_Tb.shape)
    if adaptation is None:
        torch.sub(u_Tb, constants.v_threshold, out=distance_Tb)
        return u_Tb, distance_Tb
    error_Tb = torch.sub(u_Tb, adaptation.nds_T, out=scratch("error", u_Tb.shape))
    before = scratch("S", u_Tb[0].shape).fill_(constants.v_threshold)
    for error, threshold in zip(error_Tb.unbind(), distance_Tb.unbind(), strict=True):
        # The operation of `_advance`: the same rounding, hence the same spikes.
        before = torch.addcmul(before, adaptation.theta, error, out=threshold)
    return error_Tb, torch.sub(u_Tb, distance_Tb, out=distance_Tb)
