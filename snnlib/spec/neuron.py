"""Neurons, and the surrogate gradients that carry errors through their spikes."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from snnlib.spec.values import Bool, Checkpoint, PositiveReal, Real, Spec

NeuronName = Literal["if", "lif", "plif", "ta_lif", "relu"]
SurrogateName = Literal[
    "atan", "sigmoid", "triangle", "rectangle", "exponential", "straight_through", "pdsg", "assg"
]
Rule = Literal["bptt", "tsslbp"]
AttackRule = Literal["bptt", "tsslbp", "bptr"]
"""One that an attacker may choose; `bptr` passes gradients of neurons that spiked at all, g 1[rate > 0],
and ignores their dynamics (backward pass through rate, Ding et al. 2022)."""
ThetaGradient = Literal["sample", "batch"]
Quantity = Literal["membrane", "trace"]
"""What a signature is the mean of."""


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


@dataclass(frozen=True, kw_only=True)
class ParametricLIF(Spec):
    """LIF whose leak 1/tau is learned, one per layer (Fang et al. 2021, eq. 7).

    Attributes:
        init_tau: tau at the start; 1/tau is the sigmoid of the parameter.
        v_threshold: membrane above which it spikes.
        detach_reset: whether the gradient ignores the reset.
    """

    name: Literal["plif"] = "plif"
    init_tau: Annotated[PositiveReal, Field(gt=1)] = Decimal(2)
    v_threshold: PositiveReal = Decimal(1)
    detach_reset: Bool = False


@dataclass(frozen=True, kw_only=True)
class ReLU(Spec):
    """No spikes: max(0, I). Makes a network its own ANN twin, of one time step."""

    name: Literal["relu"] = "relu"


@dataclass(frozen=True, kw_only=True)
class _TraceNeuron(Spec):
    """What the neurons of HoSNN share (Geng and Li 2023, section 3).

    u_t = (1 - 1/tau_m) v_{t-1} + I_t spikes above the threshold, v_t = u_t (1 - s_t), and the layer
    emits the trace a_t = a_{t-1} + (s_t - a_{t-1}) / tau_s.

    Attributes:
        tau_m: time constant of the membrane, in steps.
        tau_s: time constant of the trace, in steps.
        v_threshold: threshold V0.
        gradient: `bptt` through leak, reset and threshold, or `tsslbp`, through the trace alone
            with the surrogate around V0, as published.
    """

    tau_m: Annotated[PositiveReal, Field(ge=1)] = Decimal(5)
    tau_s: Annotated[PositiveReal, Field(ge=1)] = Decimal(3)
    v_threshold: PositiveReal = Decimal(1)
    gradient: Rule = "bptt"


@dataclass(frozen=True, kw_only=True)
class TraceLIF(_TraceNeuron):
    """LIF of HoSNN: emits traces of its spikes; a fixed threshold."""

    name: Literal["lif"] = "lif"


@dataclass(frozen=True, kw_only=True)
class NDS(Spec):
    """A Neural Dynamic Signature u*: what each neuron's membrane is steered towards.

    Attributes:
        parent: this cell with the given keys replaced, e.g. {model.neuron: lif, regime: clean},
            same seed; the signature is collected from its network.
        quantity: what is collected there.
        checkpoint: an own file, layer by layer.
        constant: one value for all neurons and steps.
    """

    parent: dict[str, Any] | None = None
    quantity: Quantity = "membrane"
    checkpoint: Checkpoint | None = None
    constant: Real | None = None

    @property
    def own(self) -> str | None:
        """What enters a training's identity unless it has a parent: the file's hash or the value."""
        if self.checkpoint is not None:
            return f"sha256:{self.checkpoint.sha256}"
        return None if self.constant is None else f"constant:{float(self.constant)!r}"


@dataclass(frozen=True, kw_only=True)
class TALIF(_TraceNeuron):
    """Threshold-adapting LIF: V_t = V_{t-1} + theta (u_t - u*_t) (Geng and Li 2023, eq. 8).

    The output layer stays a plain LIF.

    Attributes:
        tau_v: theta starts at 1/tau_v; learned for each neuron, never below 0.
        theta_gradient: of theta under `tsslbp`: `sample` pairs each sample's error with its own
            gradient, `batch` multiplies their batch means, as published.
        nds: the signature u*.
        nds_decay: shrink the signature of convolutions by the weight decay, as published.
    """

    name: Literal["ta_lif"] = "ta_lif"
    tau_v: PositiveReal = Decimal(5)
    theta_gradient: ThetaGradient = "sample"
    nds: NDS | None = None
    nds_decay: Bool = False


SpikeNeuron = Annotated[IF | LIF | ParametricLIF | ReLU, Field(discriminator="name")]
"""Neurons of networks whose layers exchange spikes."""
TraceNeuron = Annotated[TraceLIF | TALIF | ReLU, Field(discriminator="name")]
"""Neurons of networks whose layers exchange traces."""
Neuron = IF | LIF | ParametricLIF | ReLU | TraceLIF | TALIF


@dataclass(frozen=True, kw_only=True)
class ATan(Spec):
    """Surrogate derivative (alpha/2) / (1 + (pi/2 alpha u)^2), u = membrane - threshold."""

    name: Literal["atan"] = "atan"
    alpha: PositiveReal = Decimal(2)


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Spec):
    """Surrogate derivative alpha s(alpha u)(1 - s(alpha u)), u = membrane - threshold.

    Attributes:
        alpha: slope; 1/alpha is the width.
        clip: bound of |alpha u|, so that the derivative never vanishes; none when unset.
    """

    name: Literal["sigmoid"] = "sigmoid"
    alpha: PositiveReal = Decimal(2)
    clip: PositiveReal | None = None


@dataclass(frozen=True, kw_only=True)
class Triangle(Spec):
    """Surrogate derivative max(0, gamma - |u|) / gamma^2, u = membrane - threshold.

    Attributes:
        gamma: half the width of its base.
    """

    name: Literal["triangle"] = "triangle"
    gamma: PositiveReal = Decimal(1)


@dataclass(frozen=True, kw_only=True)
class Rectangle(Spec):
    """Surrogate derivative 1[|u| < gamma/2] / gamma, u = membrane - threshold.

    Attributes:
        gamma: its width.
    """

    name: Literal["rectangle"] = "rectangle"
    gamma: PositiveReal = Decimal(1)


@dataclass(frozen=True, kw_only=True)
class Exponential(Spec):
    """Surrogate derivative alpha/2 exp(-alpha |u|), u = membrane - threshold.

    Attributes:
        alpha: slope; 1/alpha is the width.
    """

    name: Literal["exponential"] = "exponential"
    alpha: PositiveReal = Decimal(2)


@dataclass(frozen=True, kw_only=True)
class StraightThrough(Spec):
    """Surrogate derivative 1 everywhere (Bengio et al. 2013, section 4)."""

    name: Literal["straight_through"] = "straight_through"


@dataclass(frozen=True, kw_only=True)
class PDSG(Spec):
    """Potential-dependent surrogate: the density N(u; sigma/2, sigma) (Lun et al. 2025, eq. 8).

    u = membrane - threshold; sigma is its standard deviation over the steps so far and the places of
    a channel (of a whole layer without places), of each sample alone. For attacks only.
    """

    name: Literal["pdsg"] = "pdsg"


@dataclass(frozen=True, kw_only=True)
class ASSG(Spec):
    """Adaptive-sharpness surrogate: ATan of slope omega / (M + gamma D) (Wang et al. 2025).

    At every gradient of an attack and for each value of u = membrane - threshold, M is the running
    mean of |u|, D that of ||u| - M|, and omega = (2/pi) tan(pi A/2). For attacks only.

    Attributes:
        half_area: A/2, the part of the spike function's rise between 0 and M + gamma D.
        beta: what a gradient leaves of the running means.
        gamma: mean deviations that the rise may take.
    """

    name: Literal["assg"] = "assg"
    half_area: Annotated[PositiveReal, Field(lt=0.5)] = Decimal("0.42")
    beta: Annotated[Real, Field(ge=0, lt=1)] = Decimal("0.9")
    gamma: Annotated[Real, Field(ge=0)] = Decimal("1.5")


Surrogate = Annotated[
    ATan | Sigmoid | Triangle | Rectangle | Exponential | StraightThrough,
    Field(discriminator="name"),
]
"""The derivative that stands in for that of the spike function."""
AttackSurrogate = Annotated[
    ATan | Sigmoid | Triangle | Rectangle | Exponential | StraightThrough | PDSG | ASSG,
    Field(discriminator="name"),
]
"""One that an attacker may choose: PDSG and ASSG see how the network answers the attack."""
HOSNN_SURROGATE = Sigmoid(alpha=Decimal(5), clip=Decimal(8))
"""Width 0.2, as published with HoSNN."""
