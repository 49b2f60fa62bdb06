"""Encoders: from the image of each time step to the network's input."""

from collections.abc import Callable

from torch import Tensor

from snnlib import noise
from snnlib.errors import SnnlibError
from snnlib.spec.model import EncoderName

Encode = Callable[[Tensor, noise.Key | None, int], Tensor]
"""(x_TBCHW, key, draw) to z_TBCHW; noise depends on key and draw only."""


def direct(x_TBCHW: Tensor, _key: noise.Key | None, _draw: int) -> Tensor:
    """The image itself as a current, the same at every step."""
    return x_TBCHW


def poisson(x_TBCHW: Tensor, key: noise.Key | None, draw: int) -> Tensor:
    """Spikes of probability x at every step, independently.

    Backward it is the identity (straight-through; Bengio et al. 2013, section 4), which is also
    the attacker's way through this encoder.

    Raises:
        SnnlibError: without a key.
    """
    if key is None:
        raise SnnlibError(
            "the poisson encoder draws keyed noise; call the network inside "
            "`with classifier.keyed(Key(seed=..., stream=..., samples_B=...)):`"
        )
    steps, batch = x_TBCHW.shape[:2]
    if len(key.samples_B) != batch:
        raise SnnlibError(f"the key names {len(key.samples_B)} samples, the batch has {batch}")
    chance_TBCHW = noise.uniform((steps, *x_TBCHW.shape[2:]), key, draw).transpose(0, 1)
    spikes = (chance_TBCHW < x_TBCHW).to(x_TBCHW.dtype)
    # x - x is exactly 0, so the spikes stay exact while the gradient takes the way of x.
    return spikes + (x_TBCHW - x_TBCHW.detach())


ENCODERS: dict[EncoderName, Encode] = {"direct": direct, "poisson": poisson}
