"""Networks: neuron, surrogate gradient, encoder, layers and readout."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from snnlib.spec.values import Bool, PositiveInt, PositiveReal, Spec

ModelName = Literal["small"]
NeuronName = Literal["if", "lif"]
EncoderName = Literal["direct", "poisson"]
SurrogateName = Literal["atan", "sigmoid"]
Readout = Literal["current", "spikes"]


@dataclass(frozen=True, kw_only=True)
class IF(Spec):
    """Integrate-and-fire neuron with hard reset to 0: u_t = u_{t-1}(1 - s_{t-1}) + I_t."""

    name: Literal["if"] = "if"
    v_threshold: PositiveReal = Decimal(1)
    detach_reset: Bool = False


@dataclass(frozen=True, kw_only=True)
class LIF(Spec):
    """Leaky integrate-and-fire neuron, hard reset to 0: u_t = v_{t-1} + (I_t - v_{t-1}) / tau.

    v_{t-1} is the membrane after the reset of the step before (SpikingJelly's `decay_input`).
    """

    name: Literal["lif"] = "lif"
    tau: Annotated[PositiveReal, Field(gt=1)] = Decimal(2)
    v_threshold: PositiveReal = Decimal(1)
    detach_reset: Bool = False


Neuron = Annotated[IF | LIF, Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True)
class Surrogate(Spec):
    """The derivative that stands in for that of the spike function.

    atan: (alpha/2) / (1 + (pi/2 alpha u)^2); sigmoid: alpha s(alpha u)(1 - s(alpha u)), with u the
    distance of the membrane from its threshold.
    """

    name: SurrogateName = "atan"
    alpha: PositiveReal = Decimal(2)


@dataclass(frozen=True, kw_only=True)
class Encoder(Spec):
    """How an image becomes T inputs: `direct` (constant current) or `poisson` (rate code)."""

    name: EncoderName = "direct"


@dataclass(frozen=True, kw_only=True)
class Model(Spec):
    """A spiking network.

    Attributes:
        name: the architecture.
        neuron: of every spiking layer.
        time_steps: T.
        encoder: from image to T inputs.
        surrogate: used in training, and by attacks that bring none of their own.
        readout: logits are the time mean of the output layer's `current` or of its `spikes`.
    """

    name: ModelName
    neuron: Neuron
    time_steps: PositiveInt = 4
    encoder: Encoder = Encoder()
    surrogate: Surrogate = Surrogate()
    readout: Readout = "current"
