"""Surrogate gradients: the derivative that stands in for that of the spike function."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from snnlib.doors import surrogate
from snnlib.spec import neuron as spec
from snnlib.spec.neuron import Surrogate, SurrogateName


class SpikeFunction(Protocol):
    """A Heaviside function with a surrogate derivative; any floating-point dtype, any shape."""

    @property
    def scale(self) -> float:
        """Factor between `profile_` and the derivative."""

    def __call__(self, u: Tensor) -> Tensor:
        """1 where u >= 0, else 0; backward multiplies by the derivative."""

    def derivative(self, u: Tensor) -> Tensor:
        """The surrogate derivative at u, an even function; a constant to autograd."""

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by the derivative / scale, without an allocation."""


class ATan(surrogate.ATan):  # type: ignore[misc]
    """SpikingJelly's ATan: (alpha/2) / (1 + (pi/2 alpha u)^2) (Fang et al. 2021, arXiv 2007.05785)."""

    @property
    def scale(self) -> float:
        """Factor between `profile_` and the derivative."""
        return float(self.alpha) / 2

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by 1 / (1 + (pi/2 alpha u)^2)."""
        u.mul_(math.pi / 2 * self.alpha)
        return u.mul_(u).add_(1).reciprocal_()  # in SpikingJelly's order, hence with its bits

    def derivative(self, u: Tensor) -> Tensor:
        """The surrogate derivative at u."""
        return self.profile_(u.detach().clone()).mul_(self.scale)


def _logistic_(u: Tensor, alpha: float, clip: float | None) -> Tensor:
    """Overwrite u by f(1 - f), f = sigmoid(-|alpha u|): taken where f has all its digits."""
    u.abs_().mul_(-alpha)
    if clip is not None:
        u.clamp_(min=-clip)
    u.sigmoid_()
    return torch.addcmul(u, u, u, value=-1, out=u)


class Sigmoid(surrogate.Sigmoid):  # type: ignore[misc]
    """SpikingJelly's Sigmoid: alpha f(1 - f), f = sigmoid(alpha u) (Zenke and Vogels 2021)."""

    @property
    def scale(self) -> float:
        """Factor between `profile_` and the derivative."""
        return float(self.alpha)

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by f(1 - f)."""
        return _logistic_(u, self.alpha, None)

    def derivative(self, u: Tensor) -> Tensor:
        """The surrogate derivative at u."""
        return self.profile_(u.detach().clone()).mul_(self.scale)


class ClippedSigmoid(surrogate.SurrogateFunctionBase):  # type: ignore[misc]
    """alpha f(1 - f), f = sigmoid(alpha u) with |alpha u| <= clip, so that it never vanishes.

    The surrogate of HoSNN, of width 1/alpha = 0.2 and clip 8.
    """

    alpha: float
    clip: float

    def __init__(self, alpha: float, clip: float) -> None:
        super().__init__(alpha=alpha, clip=clip)

    @property
    def scale(self) -> float:
        """Factor between `profile_` and the derivative."""
        return self.alpha

    def forward(self, u: Tensor) -> Tensor:
        """1 where u >= 0, else 0."""
        spikes: Tensor = _Spike.apply(u, self.derivative)  # type: ignore[no-untyped-call]
        return spikes

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by f(1 - f)."""
        return _logistic_(u, self.alpha, self.clip)

    def derivative(self, u: Tensor) -> Tensor:
        """The surrogate derivative at u."""
        return self.profile_(u.detach().clone()).mul_(self.scale)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(u)
        ctx.derivative = derivative
        return (u >= 0).to(u.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return grads[0] * ctx.derivative(u), None


def _atan(of: spec.ATan) -> SpikeFunction:
    function: SpikeFunction = ATan(alpha=float(of.alpha))
    return function


def _sigmoid(of: spec.Sigmoid) -> SpikeFunction:
    function: SpikeFunction
    if of.clip is None:
        function = Sigmoid(alpha=float(of.alpha))
    else:
        function = ClippedSigmoid(alpha=float(of.alpha), clip=float(of.clip))
    return function


SURROGATES: dict[SurrogateName, Callable[[Any], SpikeFunction]] = {
    "atan": _atan,
    "sigmoid": _sigmoid,
}


def build(spec: Surrogate) -> SpikeFunction:
    """The spike function of SpikingJelly's convention (1 where u >= 0) with this derivative.

    Usable as `surrogate_function` of SpikingJelly's neurons; called alone with any tensor.
    """
    return SURROGATES[spec.name](spec)
