"""What is computed once of a trained network, besides evaluations."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from snnlib.spec.attack import AttackLoss
from snnlib.spec.data import Split
from snnlib.spec.neuron import Quantity as Quantity
from snnlib.spec.values import PositiveInt, PositiveReal, Spec


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


StageKind = Literal["nds", "gradients"]
Stage = Annotated[NDSStage | GradientsStage, Field(discriminator="kind")]
