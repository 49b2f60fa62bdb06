"""Attacks and the threat models that bound them."""

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from snnlib.spec.neuron import AttackRule, AttackSurrogate
from snnlib.spec.values import (
    CANONICAL,
    Bool,
    Checkpoint,
    PositiveInt,
    PositiveReal,
    Real,
    Spec,
    StepSize,
    step_length,
)

Space = Literal["pixel", "repeated", "encoded"]
AttackLoss = Literal[
    "cross_entropy", "margin", "dlr", "trace_cross_entropy", "current_cross_entropy"
]
Own = Literal["own"]
Norm = Literal["linf", "l2"]


def _share(step: str) -> str:
    if not step.startswith("eps") or step_length(step, Fraction(1)) > 1:
        raise ValueError("expected a share of epsilon such as eps/2")
    return step


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What an attacker may change.

    Attributes:
        norm: norm of the perturbation.
        space: `pixel` (the image, shared by all steps), `repeated` (the image of each step apart)
            or `encoded` (the encoder's real-valued output).
        clip: whether the perturbed input is kept where inputs lie: [0, 1], or its image under the
            encoder's normalisation.
    """

    norm: Norm = "linf"
    space: Space = "pixel"
    clip: bool = True


@dataclass(frozen=True, kw_only=True)
class Clean(Spec):
    """No attack. Evaluated once per training and shared by all grids; epsilon 0 means it."""

    revision: ClassVar[int] = 1
    name: Literal["clean"] = "clean"


@dataclass(frozen=True, kw_only=True)
class BlindAttack(Spec):
    """What every attack has; alone, what those have that look at no gradient.

    Attributes:
        norm: with `space` and `clip` the threat model.
    """

    norm: Norm = "linf"
    space: Space = "pixel"
    clip: Bool = True

    @property
    def threat(self) -> ThreatModel:
        """The ball this attack stays in."""
        return ThreatModel(norm=self.norm, space=self.space, clip=self.clip)


@dataclass(frozen=True, kw_only=True)
class GradientAttack(BlindAttack):
    """What every attack along a gradient has.

    Attributes:
        loss: what the attack raises: cross entropy or margin of the logits, cross entropy of the
            output's mean current, or of its traces against the target's at every step.
        surrogate: the attacker's surrogate gradient; `own` is the network's.
        gradient: the attacker's gradient rule; `own` is the network's.
        draws: of the network's noise that each gradient is the mean over (expectation over
            transformation).
    """

    loss: AttackLoss = "cross_entropy"
    surrogate: Own | AttackSurrogate = "own"
    gradient: Own | AttackRule = "own"
    draws: PositiveInt = 1


@dataclass(frozen=True, kw_only=True)
class FGSM(GradientAttack):
    """One step of size epsilon along the sign of the gradient (Goodfellow et al. 2015, eq. 4)."""

    revision: ClassVar[int] = 1
    name: Literal["fgsm"] = "fgsm"


@dataclass(frozen=True, kw_only=True)
class PGD(GradientAttack):
    """Projected gradient ascent (Madry et al. 2018, eq. 2.1), judged at its last iterate.

    Attributes:
        steps: gradient steps of each restart.
        step_size: length of a step, relative to epsilon ("eps/4") or absolute ("1/255").
        restarts: independent starts; a sample counts as fooled if any of them fools the network.
        random_start: start uniformly in the ball; else at the input.
    """

    revision: ClassVar[int] = 1
    name: Literal["pgd"] = "pgd"
    steps: PositiveInt = 10
    step_size: StepSize = "eps/4"
    restarts: PositiveInt = 1
    random_start: Bool = True


@dataclass(frozen=True, kw_only=True)
class RFGSM(GradientAttack):
    """A random step of `alpha` along random signs, then FGSM with the rest (Tramer et al. 2018).

    Attributes:
        alpha: length of the random step, a share of epsilon.
    """

    revision: ClassVar[int] = 1
    name: Literal["rfgsm"] = "rfgsm"
    norm: Literal["linf"] = "linf"
    alpha: Annotated[StepSize, AfterValidator(_share)] = "eps/2"


@dataclass(frozen=True, kw_only=True)
class BIM(GradientAttack):
    """Steps of epsilon/steps from the input (Kurakin et al. 2017, eq. 2), judged at the last.

    Attributes:
        steps: gradient steps.
    """

    revision: ClassVar[int] = 1
    name: Literal["bim"] = "bim"
    steps: PositiveInt = 7


@dataclass(frozen=True, kw_only=True)
class MIFGSM(GradientAttack):
    """Signed steps along a running mean of gradients, from the input (Dong et al. 2018).

    Attributes:
        steps: gradient steps.
        step_size: length of a step.
        decay: what a step leaves of the mean.
    """

    revision: ClassVar[int] = 1
    name: Literal["mifgsm"] = "mifgsm"
    steps: PositiveInt = 10
    step_size: StepSize = "eps/10"
    decay: Annotated[Real, Field(ge=0)] = Decimal(1)


@dataclass(frozen=True, kw_only=True)
class APGD(GradientAttack):
    """Ascent whose steps halve by themselves, judged at any iterate (Croce and Hein 2020).

    Attributes:
        steps: gradient steps of each restart.
        restarts: independent starts, each at the surface of the ball.
        targets: climb towards so many of the closest classes, one after the other, by the targeted
            ratio of logits instead of `loss`; untargeted when unset.
    """

    revision: ClassVar[int] = 3
    name: Literal["apgd"] = "apgd"
    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    targets: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class FAB(BlindAttack):
    """The smallest perturbation towards each of the closest classes (Croce and Hein 2020b).

    Attributes:
        steps: gradient steps towards each class.
        targets: classes.
        surrogate: the attacker's surrogate gradient; `own` is the network's.
        gradient: the attacker's gradient rule; `own` is the network's.
    """

    revision: ClassVar[int] = 3
    name: Literal["fab"] = "fab"
    norm: Literal["linf"] = "linf"
    steps: PositiveInt = 100
    targets: PositiveInt = 9
    surrogate: Own | AttackSurrogate = "own"
    gradient: Own | AttackRule = "own"


@dataclass(frozen=True, kw_only=True)
class Square(BlindAttack):
    """Random search over square patches, without gradients (Andriushchenko et al. 2020).

    Attributes:
        queries: points that the network is asked about; under noise each costs as many passes as
            the evaluation has draws.
        share: part of the image that the first squares cover.
        restarts: independent searches.
    """

    revision: ClassVar[int] = 3
    name: Literal["square"] = "square"
    norm: Literal["linf"] = "linf"
    queries: PositiveInt = 5000
    share: Annotated[PositiveReal, Field(le=1)] = Decimal("0.8")
    restarts: PositiveInt = 1


@dataclass(frozen=True, kw_only=True)
class SAPGD(GradientAttack):
    """Ascent with momentum and lengths of its own for each value (Wang et al. 2025), last iterate.

    Attributes:
        steps: gradient steps of each restart.
        restarts: independent starts.
        random_start: start uniformly in the ball; else at the input.
    """

    revision: ClassVar[int] = 2
    name: Literal["sapgd"] = "sapgd"
    norm: Literal["linf"] = "linf"
    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    random_start: Bool = True


@dataclass(frozen=True, kw_only=True)
class RandomNoise(BlindAttack):
    """Points drawn uniformly from the ball; a sample is fooled if any of them fools.

    Attributes:
        draws: points.
    """

    revision: ClassVar[int] = 1
    name: Literal["noise"] = "noise"
    draws: PositiveInt = 100


Climb = Annotated[FGSM | RFGSM | BIM | PGD | MIFGSM | APGD | SAPGD, Field(discriminator="name")]
"""Those that climb one gradient."""


@dataclass(frozen=True, kw_only=True)
class TransferSource(Spec):
    """A network that an attack climbs on in place of the one that is judged.

    Attributes:
        parent: this cell with the given keys replaced, e.g. {seed: 1} or {model.neuron: relu,
            model.time_steps: 1}; the same seed unless one is given.
        checkpoint: an own file of weights for this cell's own network.
    """

    parent: dict[str, Any] | None = field(default=None, hash=False)
    checkpoint: Checkpoint | None = None


def _source(value: object, info: ValidationInfo) -> object:
    if info.context != CANONICAL and not isinstance(value, dict | TransferSource):
        raise ValueError(
            "expected the keys to replace in this cell, e.g. {parent: {seed: 1}}, or "
            "{checkpoint: {path: …, sha256: …}}"
        )
    return value


def _source_if_any(value: object, info: ValidationInfo) -> object:
    return None if value is None else _source(value, info)


_SourceId = Annotated[str, Field(pattern=r"^([0-9a-f]{16}|sha256:[0-9a-f]{64})$")]


@dataclass(frozen=True, kw_only=True)
class Transfer(Spec):
    """Points found on another network, judged on this one (Papernot et al. 2016).

    The threat model is the inner attack's, in pixel space: what two networks share is the image.

    Attributes:
        source: the other network; in an identity its training id, or "sha256:" and that of a file.
        attack: what climbs on it.
    """

    revision: ClassVar[int] = 2
    surrogate: ClassVar[Own] = "own"
    gradient: ClassVar[Own] = "own"
    name: Literal["transfer"] = "transfer"
    source: Annotated[TransferSource | _SourceId, BeforeValidator(_source)]
    attack: Climb = APGD()

    @property
    def threat(self) -> ThreatModel:
        """The ball this attack stays in."""
        return self.attack.threat

    @property
    def norm(self) -> Norm:
        """Of the perturbation."""
        return self.attack.norm

    @property
    def space(self) -> Space:
        """What is perturbed."""
        return self.attack.space

    @property
    def clip(self) -> bool:
        """Whether the perturbed input is kept where inputs lie."""
        return self.attack.clip


@dataclass(frozen=True, kw_only=True)
class AutoAttack(BlindAttack):
    """APGD, APGD towards classes, FAB and Square, one after the other (Croce and Hein 2020, sec. 6).

    Each meets only the samples that the ones before left standing (`spec.suite.members`).

    Attributes:
        steps: gradient steps of each attack, towards each of 9 classes.
        queries: points that Square asks about.
        surrogate: the attacker's surrogate gradient; `own` is the network's.
        gradient: the attacker's gradient rule; `own` is the network's.
        draws: of the network's noise that APGD's gradients are the mean over.
    """

    revision: ClassVar[int] = 3
    name: Literal["autoattack"] = "autoattack"
    norm: Literal["linf"] = "linf"
    steps: PositiveInt = 100
    queries: PositiveInt = 5000
    draws: PositiveInt = 1
    surrogate: Own | AttackSurrogate = "own"
    gradient: Own | AttackRule = "own"


@dataclass(frozen=True, kw_only=True)
class SpikingSuite(BlindAttack):
    """What breaks spiking networks: every surrogate gradient, then the strongest attacks.

    Cheap attacks under many shapes and widths come first, then APGD and SA-PGD under the surrogates
    that adapt, then Square; each meets only the samples that the ones before left standing
    (`spec.suite.members`).

    Attributes:
        sweep_steps: gradient steps under each surrogate of the sweep.
        steps: gradient steps of each strong attack.
        queries: points that Square asks about.
        draws: of the network's noise that each gradient is the mean over.
        source: another network, as of `Transfer`; what is found on it is judged before Square.
    """

    revision: ClassVar[int] = 3
    name: Literal["snn"] = "snn"
    norm: Literal["linf"] = "linf"
    sweep_steps: PositiveInt = 10
    steps: PositiveInt = 100
    queries: PositiveInt = 5000
    draws: PositiveInt = 1
    source: Annotated[TransferSource | _SourceId | None, BeforeValidator(_source_if_any)] = None


AttackName = Literal[
    "fgsm", "rfgsm", "bim", "pgd", "mifgsm", "apgd", "fab", "square", "sapgd", "noise", "transfer"
]
SuiteName = Literal["autoattack", "snn"]
Member = FGSM | RFGSM | BIM | PGD | MIFGSM | APGD | FAB | Square | SAPGD | RandomNoise | Transfer
"""An attack that is not made of others."""
Climbing = Transfer | SpikingSuite
"""Those that may climb on another network: the one that `source` names, if it names one."""
Suite = AutoAttack | SpikingSuite
"""Attacks one after the other, each on what the ones before left standing."""
_Attack = Member | Suite
Attack = Annotated[_Attack, Field(discriminator="name")]
AnyAttack = Annotated[_Attack | Clean, Field(discriminator="name")]
InnerAttack = Annotated[FGSM | RFGSM | BIM | PGD, Field(discriminator="name")]
"""Those that a network is trained against."""
Blind = Square | RandomNoise
"""Those that look at no gradient."""
