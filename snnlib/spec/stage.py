"""What is computed once of a trained network, besides evaluations."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from snnlib.spec.attack import AttackLoss, Own, Space
from snnlib.spec.data import Split
from snnlib.spec.neuron import AttackRule, AttackSurrogate
from snnlib.spec.neuron import Quantity as Quantity
from snnlib.spec.values import Epsilon, PositiveInt, PositiveReal, Spec


@dataclass(frozen=True, kw_only=True)
class NDSStage(Spec):
    """The Neural Dynamic Signature of a network: the mean over its training images, step by step.

    Attributes:
        quantity: of each neuron, its `membrane` before reset, as the published file holds it, or
            the `trace` it emits, as the published code saves it.
    """

    revision: ClassVar[int] = 1
    noun: ClassVar[str] = "signature"
    kind: Literal["nds"] = "nds"
    quantity: Quantity = "membrane"


@dataclass(frozen=True, kw_only=True)
class GradientsStage(Spec):
    """Where the loss's gradient vanishes: at each layer and step, with firing rates and SynOps.

    Surrogate and gradient rule are the network's own.

    Attributes:
        split: whose images are shown.
        samples: how many, from the start of the split; all when unset.
        loss: of each image, as attacks raise it.
        threshold: share of a layer's largest gradient in a sample up to which a value counts as
            near zero.
    """

    revision: ClassVar[int] = 1
    noun: ClassVar[str] = "gradient record"
    kind: Literal["gradients"] = "gradients"
    split: Split = "test"
    samples: PositiveInt | None = None
    loss: AttackLoss = "cross_entropy"
    threshold: Annotated[PositiveReal, Field(lt=1)] = Decimal("0.001")


@dataclass(frozen=True, kw_only=True)
class AuditStage(Spec):
    """Whether robustness under an attacker is real, or the attacker's gradient is masked.

    Loss, surrogate, gradient rule and space are those of the evaluation that is judged; as they are
    by default, that of the network's own gradient in pixel space.

    Attributes:
        split: whose images are attacked.
        samples: how many, from the start of the split; all when unset.
        epsilons: radii; those of `spec.audit.EPSILONS` when unset.
        steps: gradient steps of each attack.
        queries: points that the attack without gradients asks about.
        loss: what the judged attacker raises.
        surrogate: its surrogate gradient; `own` is the network's.
        gradient: its gradient rule; `own` is the network's.
        space: what it perturbs.
    """

    revision: ClassVar[int] = 2
    noun: ClassVar[str] = "audit"
    kind: Literal["audit"] = "audit"
    split: Split = "test"
    samples: PositiveInt | None = 100
    epsilons: tuple[Annotated[Epsilon, Field(gt=0)], ...] | None = None
    steps: PositiveInt = 20
    queries: PositiveInt = 200
    loss: AttackLoss = "cross_entropy"
    surrogate: Own | AttackSurrogate = "own"
    gradient: Own | AttackRule = "own"
    space: Space = "pixel"


StageKind = Literal["nds", "gradients", "audit"]
Stage = Annotated[NDSStage | GradientsStage | AuditStage, Field(discriminator="kind")]
