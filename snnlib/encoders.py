"""Encoders: from the image of each time step to the network's input.

An encoder computes its code exactly and differentiates a smooth twin, `soft_*`, instead: its output
is hard + (soft - soft.detach()), whose second part is 0 (backward pass differentiable
approximation, Athalye et al. 2018, section 4.1). An attack on pixels thus sees a gradient. Values
beyond [0, 1], which an attack without clipping makes, are coded like the nearer end of the range.

Every function may be called alone, in float32 or float64: images x_TBCHW, one for each step, in;
inputs z_TBCHW out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from snnlib import noise
from snnlib.errors import SnnlibError
from snnlib.spec.encoder import Direct, Encoder, EncoderName, Latency, Phase

Encode = Callable[[Tensor, noise.Key | None, int], Tensor]
"""(x_TBCHW, key, draw) to z_TBCHW; noise depends on key and draw only."""

PLANES = 8
_SLACK = 2.0**-14  # 255 (k/255), and that moved by an epsilon, may come out just below k
LATENCY_WIDTH = 0.5
"""Width of the soft spike, in steps, chosen by its effect.

Of .3, .4, .5, .6, .75, 1, 1.5, 2, 3 and 5, PGD10 through .5 cost undefended networks (digits; 2 or
3 layers of IF neurons; T = 4 and 10; two seeds) the most accuracy at nearly every epsilon from 8/255
to 64/255: 87 % fell to 23 % at 32/255, against 54 % with .3 and 36 % with 1. Narrower ones leave
pixels between two steps without a gradient, wider ones point to steps that no spike can reach.
"""


def direct(x_TBCHW: Tensor, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> Tensor:
    """The image itself as a current; with `mean` and `std`, (x - mean) / std.

    Args:
        x_TBCHW: images; if one is expanded over time, so is the result.
        mean: one value, or one for each channel.
        std: as many.
    """
    if not mean:
        return x_TBCHW
    mean_C11, std_C11 = (x_TBCHW.new_tensor(values)[:, None, None] for values in (mean, std))
    if x_TBCHW.stride(0) == 0:
        return ((x_TBCHW[0] - mean_C11) / std_C11).expand_as(x_TBCHW)
    return (x_TBCHW - mean_C11) / std_C11


def poisson(
    x_TBCHW: Tensor, key: noise.Key | None, draw: int = 0, *, chance_TBCHW: Tensor | None = None
) -> Tensor:
    """Spikes of probability x at every step, independently; backward `soft_poisson`.

    Args:
        x_TBCHW: images.
        key: what the noise depends on.
        draw: how often the key was used before.
        chance_TBCHW: uniform numbers in [0, 1) to use instead of the key's: a spike where they
            are below x.

    Raises:
        SnnlibError: without a key and without numbers.
    """
    if chance_TBCHW is not None:
        return _twin((chance_TBCHW < x_TBCHW).to(x_TBCHW.dtype), x_TBCHW, soft_poisson)
    if key is None:
        raise SnnlibError(
            "the poisson encoder draws keyed noise; call the network inside "
            "`with classifier.keyed(Key(seed=..., stream=..., samples_B=...)):`"
        )
    steps, batch = x_TBCHW.shape[:2]
    if len(key.samples_B) != batch:
        raise SnnlibError(f"the key names {len(key.samples_B)} samples, the batch has {batch}")
    chance_TBCHW = noise.uniform((steps, *x_TBCHW.shape[2:]), key, draw).transpose(0, 1)
    return _twin((chance_TBCHW < x_TBCHW).to(x_TBCHW.dtype), x_TBCHW, soft_poisson)


def soft_poisson(x_TBCHW: Tensor) -> Tensor:
    """The rate x itself: straight-through (Bengio et al. 2013, section 4)."""
    return x_TBCHW


def latency(x_TBCHW: Tensor) -> Tensor:
    """One spike at step round((T - 1)(1 - x)), half to even; backward `soft_latency`.

    The code of SpikingJelly's LatencyEncoder (Park et al. 2020, time to first spike). Where images
    differ by step, step t spikes if its own image would spike there.
    """
    time_T1111 = _steps(x_TBCHW)
    last = len(x_TBCHW) - 1
    fired_TBCHW = ((last * (1 - x_TBCHW)).round().clamp(0, last)) == time_T1111
    return _twin(fired_TBCHW.to(x_TBCHW.dtype), x_TBCHW, soft_latency)


def soft_latency(x_TBCHW: Tensor, width: float = LATENCY_WIDTH) -> Tensor:
    """exp(-((t - (T - 1)(1 - x)) / width)^2 / 2) at step t: a spike smeared over time.

    Args:
        x_TBCHW: images.
        width: standard deviation, in steps.
    """
    delay_TBCHW = _steps(x_TBCHW) - (len(x_TBCHW) - 1) * (1 - x_TBCHW)
    return torch.exp(-0.5 * (delay_TBCHW / width) ** 2)


def phase(x_TBCHW: Tensor, *, weighted: bool = False) -> Tensor:
    """Bit plane k = t mod 8 + 1 of floor(255 x) at step t from 0; backward `soft_phase`.

    The code of SpikingJelly's WeightedPhaseEncoder of 8 phases for floor(255 x)/256 (Kim et al.
    2018, section 3). A level counts as reached from 2^-14 below.

    Args:
        x_TBCHW: images.
        weighted: scale plane k by 2^-k.
    """
    level_TBCHW = (255 * x_TBCHW + _SLACK).clamp(0, 255).to(torch.uint8)
    place_T1111 = PLANES - 1 - _steps(x_TBCHW).to(torch.uint8) % PLANES
    planes_TBCHW = (level_TBCHW >> place_T1111 & 1).to(x_TBCHW.dtype)
    if weighted:
        planes_TBCHW = planes_TBCHW * _plane_weights(x_TBCHW)
    return _twin(planes_TBCHW, x_TBCHW, partial(soft_phase, weighted=weighted))


def soft_phase(x_TBCHW: Tensor, *, weighted: bool = False) -> Tensor:
    """2^-k x in plane k: straight-through, each plane by its share of the image.

    Of all ways to spread a change of x = sum_k 2^-k plane_k over its planes this one is the
    shortest, up to a factor. If `weighted`, 4^-k x: the planes are scaled once more.
    """
    weight_T1111 = _plane_weights(x_TBCHW)
    return x_TBCHW * (weight_T1111**2 if weighted else weight_T1111)


def _steps(x_TBCHW: Tensor) -> Tensor:
    """0 to T - 1 as [T, 1, 1, 1, 1], whatever axes x has behind the first."""
    steps_T = torch.arange(len(x_TBCHW), dtype=x_TBCHW.dtype, device=x_TBCHW.device)
    return steps_T.reshape(-1, *[1] * (x_TBCHW.ndim - 1))


def _plane_weights(x_TBCHW: Tensor) -> Tensor:
    return torch.exp2(-(_steps(x_TBCHW) % PLANES) - 1)


def _twin(hard: Tensor, x: Tensor, soft: Callable[[Tensor], Tensor]) -> Tensor:
    """The values of `hard` with the gradient of `soft` at x."""
    if not (x.requires_grad and torch.is_grad_enabled()):
        return hard
    smooth = soft(x)
    return hard + (smooth - smooth.detach())  # finite y - y is exactly 0


def _direct(spec: Direct) -> Encode:
    mean, std = (tuple(map(float, values)) for values in (spec.mean, spec.std))
    return lambda x_TBCHW, _key, _draw: direct(x_TBCHW, mean, std)


def _poisson(_spec: Any) -> Encode:
    return poisson


def _latency(_spec: Latency) -> Encode:
    return lambda x_TBCHW, _key, _draw: latency(x_TBCHW)


def _phase(spec: Phase) -> Encode:
    return lambda x_TBCHW, _key, _draw: phase(x_TBCHW, weighted=spec.weighted)


ENCODERS: dict[EncoderName, Callable[[Any], Encode]] = {
    "direct": _direct,
    "poisson": _poisson,
    "latency": _latency,
    "phase": _phase,
}


def build(spec: Encoder) -> Encode:
    """The encoder that a specification describes."""
    return ENCODERS[spec.name](spec)


def bounds(spec: Encoder, channels: int) -> tuple[float | Tensor, float | Tensor]:
    """Least and greatest value of an encoded image: [0, 1] or its image under a normalisation.

    Args:
        spec: the encoder.
        channels: C of the images.

    Returns:
        Each a number, or a tensor [C, 1, 1] where channels differ.
    """
    if not isinstance(spec, Direct) or not spec.mean:
        return 0.0, 1.0
    encode = build(spec)
    images = (torch.full((1, 1, channels, 1, 1), x, dtype=torch.float64) for x in (0.0, 1.0))
    ends = (encode(image, None, 0)[0, 0] for image in images)
    low, high = (end[0].item() if len(spec.mean) == 1 else end for end in ends)
    return low, high
