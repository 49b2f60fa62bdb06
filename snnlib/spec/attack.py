"""Attacks and the threat models that bound them."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from snnlib.spec.neuron import Rule, Surrogate
from snnlib.spec.values import Bool, PositiveInt, Spec, StepSize, step_length

Space = Literal["pixel", "repeated", "encoded"]
AttackLoss = Literal["cross_entropy", "margin", "trace_cross_entropy", "current_cross_entropy"]
Own = Literal["own"]


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

    norm: Literal["linf"] = "linf"
    space: Space = "pixel"
    clip: bool = True


@dataclass(frozen=True, kw_only=True)
class Clean(Spec):
    """No attack. Evaluated once per training and shared by all grids; epsilon 0 means it."""

    revision: ClassVar[int] = 1
    name: Literal["clean"] = "clean"


@dataclass(frozen=True, kw_only=True)
class _GradientAttack(Spec):
    """What every attack along a gradient has.

    Attributes:
        norm: with `space` and `clip` the threat model.
        loss: what the attack raises: cross entropy or margin of the logits, cross entropy of the
            output's mean current, or of its traces against the target's at every step.
        surrogate: the attacker's surrogate gradient; `own` is the network's.
        gradient: the attacker's gradient rule; `own` is the network's.
    """

    norm: Literal["linf"] = "linf"
    space: Space = "pixel"
    clip: Bool = True
    loss: AttackLoss = "cross_entropy"
    surrogate: Own | Surrogate = "own"
    gradient: Own | Rule = "own"

    @property
    def threat(self) -> ThreatModel:
        """The ball this attack stays in."""
        return ThreatModel(norm=self.norm, space=self.space, clip=self.clip)


@dataclass(frozen=True, kw_only=True)
class FGSM(_GradientAttack):
    """One step of size epsilon along the sign of the gradient (Goodfellow et al. 2015, eq. 4)."""

    revision: ClassVar[int] = 1
    name: Literal["fgsm"] = "fgsm"


@dataclass(frozen=True, kw_only=True)
class PGD(_GradientAttack):
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
class RFGSM(_GradientAttack):
    """A random step of `alpha` along random signs, then FGSM with the rest (Tramer et al. 2018).

    Attributes:
        alpha: length of the random step, a share of epsilon.
    """

    revision: ClassVar[int] = 1
    name: Literal["rfgsm"] = "rfgsm"
    alpha: Annotated[StepSize, AfterValidator(_share)] = "eps/2"


@dataclass(frozen=True, kw_only=True)
class BIM(_GradientAttack):
    """Steps of epsilon/steps from the input (Kurakin et al. 2017, eq. 2), judged at the last.

    Attributes:
        steps: gradient steps.
    """

    revision: ClassVar[int] = 1
    name: Literal["bim"] = "bim"
    steps: PositiveInt = 7


AttackName = Literal["fgsm", "rfgsm", "bim", "pgd"]
Attack = Annotated[FGSM | RFGSM | BIM | PGD, Field(discriminator="name")]
AnyAttack = Annotated[FGSM | RFGSM | BIM | PGD | Clean, Field(discriminator="name")]
