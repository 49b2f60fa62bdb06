"""How an image becomes the inputs of T time steps."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from snnlib.spec.values import Bool, PositiveReal, Real, Spec

EncoderName = Literal["direct", "poisson", "latency", "phase"]


@dataclass(frozen=True, kw_only=True)
class Direct(Spec):
    """The image as a constant current, normalised if mean and std are given.

    Attributes:
        mean: subtracted; one value, or one for each channel.
        std: divided by; as many values as `mean`.
    """

    name: Literal["direct"] = "direct"
    mean: tuple[Real, ...] = ()
    std: tuple[PositiveReal, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Poisson(Spec):
    """A spike of probability x at every step, independently (rate code)."""

    name: Literal["poisson"] = "poisson"


@dataclass(frozen=True, kw_only=True)
class Latency(Spec):
    """One spike at step round((T - 1)(1 - x)): the brighter, the earlier."""

    name: Literal["latency"] = "latency"


@dataclass(frozen=True, kw_only=True)
class Phase(Spec):
    """The 8 bit planes of the image, most significant first, repeated (Kim et al. 2018).

    Attributes:
        weighted: scale plane k = 1..8 by 2^-k.
    """

    name: Literal["phase"] = "phase"
    weighted: Bool = False


Encoder = Annotated[Direct | Poisson | Latency | Phase, Field(discriminator="name")]
