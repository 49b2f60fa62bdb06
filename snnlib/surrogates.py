"""Surrogate gradients: the derivative that stands in for that of the spike function."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from snnlib import repeatable
from snnlib.doors import surrogate
from snnlib.spec import neuron as spec
from snnlib.spec.neuron import AttackSurrogate, SurrogateName


class SpikeFunction(Protocol):
    """A Heaviside function with a surrogate derivative; any floating-point dtype, any shape."""

    @property
    def scale(self) -> float:
        """Factor between `profile_` and the derivative."""

    @property
    def whole(self) -> bool:
        """Whether the derivative at one value depends on others.

        Then `profile_` must be given all steps of a layer at once, [T, B, *shape], once for each
        gradient, and its argument may not be negated.
        """

    def __call__(self, u: Tensor) -> Tensor:
        """1 where u >= 0, else 0; backward multiplies by the derivative."""

    def derivative(self, u: Tensor) -> Tensor:
        """The surrogate derivative at u, an even function unless `whole`; a constant to autograd."""

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by the derivative / scale, without an allocation."""


class ATan(surrogate.ATan):  # type: ignore[misc]
    """SpikingJelly's ATan: (alpha/2) / (1 + (pi/2 alpha u)^2) (Fang et al. 2021, arXiv 2007.05785)."""

    whole = False

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

    whole = False

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


class Profiled(surrogate.SurrogateFunctionBase):  # type: ignore[misc]
    """A spike function whose derivative is that of its `profile_` times `scale`."""

    whole = False
    scale = 1.0

    def forward(self, u: Tensor) -> Tensor:
        """1 where u >= 0, else 0."""
        spikes: Tensor = _Spike.apply(u, self.derivative)  # type: ignore[no-untyped-call]
        return spikes

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by the derivative / scale."""
        raise NotImplementedError

    def derivative(self, u: Tensor) -> Tensor:
        """The surrogate derivative at u."""
        return self.profile_(u.detach().clone()).mul_(self.scale)


class ClippedSigmoid(Profiled):
    """alpha f(1 - f), f = sigmoid(alpha u) with |alpha u| <= clip, so that it never vanishes.

    The surrogate of HoSNN, of width 1/alpha = 0.2 and clip 8.
    """

    def __init__(self, alpha: float, clip: float) -> None:
        super().__init__()
        self.scale, self.clip = alpha, clip

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by f(1 - f)."""
        return _logistic_(u, self.scale, self.clip)


class Triangle(Profiled):
    """max(0, gamma - |u|) / gamma^2 (Esser et al. 2016; Bellec et al. 2018)."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma, self.scale = gamma, gamma**-2

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by max(0, gamma - |u|)."""
        return u.abs_().neg_().add_(self.gamma).clamp_(min=0)


class Rectangle(Profiled):
    """1[|u| < gamma/2] / gamma (Wu et al. 2018, eq. 27)."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma, self.scale = gamma, 1 / gamma

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by 1[|u| < gamma/2]."""
        return u.abs_().lt_(self.gamma / 2)


class Exponential(Profiled):
    """alpha/2 exp(-alpha |u|) (Shrestha and Orchard 2018, SLAYER)."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, alpha / 2

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by exp(-alpha |u|)."""
        return u.abs_().mul_(-self.alpha).exp_()


class StraightThrough(Profiled):
    """1 everywhere (Bengio et al. 2013, section 4)."""

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u by 1."""
        return u.fill_(1)


class PDSG(Profiled):
    """N(u; sigma/2, sigma) (Lun et al. 2025, arXiv 2503.03272, eq. 8).

    sigma_t is the standard deviation of u over steps 0 to t and the places of a channel, of each
    sample alone; the authors also pool the samples of a batch, on which a result would then depend.
    Where it is 0, 1 stands for it.
    """

    whole = True

    def profile_(self, u: Tensor) -> Tensor:
        """Overwrite u [T, B, C, H, W], or without places, by the density."""
        places = tuple(range(3, u.ndim)) or tuple(range(2, u.ndim))
        steps = torch.arange(1, len(u) + 1, dtype=u.dtype, device=u.device)
        count_T = steps * math.prod(u.shape[place] for place in places)
        count_T = count_T.view(-1, *[1] * (u.ndim - 1))
        centred = u - u.mean((0, *places), keepdim=True)  # sums of squares lose no digits then
        mean_T = repeatable.prefix_sums(centred.sum(places, keepdim=True), 0) / count_T
        square_T = repeatable.prefix_sums(centred.square_().sum(places, keepdim=True), 0) / count_T
        variance_T = (square_T - mean_T**2).clamp_(min=0) * count_T / (count_T - 1).clamp_(min=1)
        sigma_T = variance_T.sqrt_()
        sigma_T = torch.where(sigma_T == 0, 1.0, sigma_T)
        u.div_(sigma_T).sub_(0.5).square_().mul_(-0.5).exp_()
        return u.div_(sigma_T).mul_(1 / math.sqrt(2 * math.pi))


class ASSG(Profiled):
    """ATan of slope omega / (M + gamma D), of each value by itself (Wang et al. 2025, arXiv 2512.22522).

    The running means M of |u| and D of ||u| - M| start at 1 and 0 and move at every gradient, so
    the function belongs to one attack on one batch; `forget` begins another.
    """

    whole = True

    def __init__(self, half_area: float, beta: float, gamma: float) -> None:
        super().__init__()
        self.omega = 2 / math.pi * math.tan(math.pi * half_area)
        self.beta, self.gamma = beta, gamma
        self._mean: Tensor | None = None
        self._deviation: Tensor | None = None

    def forget(self) -> None:
        """Begin anew."""
        self._mean = self._deviation = None

    def narrow(self, places_B: Tensor) -> None:
        """Go on with some of the samples only."""
        if self._mean is not None and self._deviation is not None:
            self._mean = self._mean.index_select(1, places_B)
            self._deviation = self._deviation.index_select(1, places_B)

    def profile_(self, u: Tensor) -> Tensor:
        """Move the means by |u| and overwrite u by the derivative."""
        if self._mean is None or self._deviation is None:
            self._mean, self._deviation = torch.ones_like(u), torch.zeros_like(u)
        size = u.abs()
        self._mean.lerp_(size, 1 - self.beta)
        self._deviation.lerp_(size.sub_(self._mean).abs_(), 1 - self.beta)
        alpha = self.omega / torch.add(self._mean, self._deviation, alpha=self.gamma)
        u.mul_(alpha).mul_(math.pi / 2).square_().add_(1).reciprocal_()
        return u.mul_(alpha).mul_(0.5)


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


def _spike_function(kind: Callable[..., Any]) -> Callable[[Any], SpikeFunction]:
    """A builder that hands on all numbers of a specification."""

    def built(of: Any) -> SpikeFunction:
        numbers = {key: float(value) for key, value in vars(of).items() if key != "name"}
        function: SpikeFunction = kind(**numbers)
        return function

    return built


SURROGATES: dict[SurrogateName, Callable[[Any], SpikeFunction]] = {
    "atan": _atan,
    "sigmoid": _sigmoid,
    "triangle": _spike_function(Triangle),
    "rectangle": _spike_function(Rectangle),
    "exponential": _spike_function(Exponential),
    "straight_through": _spike_function(StraightThrough),
    "pdsg": _spike_function(PDSG),
    "assg": _spike_function(ASSG),
}


def build(spec: AttackSurrogate) -> SpikeFunction:
    """The spike function of SpikingJelly's convention (1 where u >= 0) with this derivative.

    Usable as `surrogate_function` of SpikingJelly's neurons; called alone with any tensor.
    """
    return SURROGATES[spec.name](spec)
