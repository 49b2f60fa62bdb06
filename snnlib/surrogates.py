"""Surrogate gradients: the derivative that stands in for that of the spike function."""

from collections.abc import Callable
from typing import Any

from snnlib.doors import surrogate
from snnlib.spec.model import Surrogate, SurrogateName

SURROGATES: dict[SurrogateName, Callable[..., Any]] = {
    "atan": surrogate.ATan,
    "sigmoid": surrogate.Sigmoid,
}


def build(spec: Surrogate) -> Any:
    """SpikingJelly's function with a Heaviside forward and this derivative."""
    return SURROGATES[spec.name](alpha=float(spec.alpha))
