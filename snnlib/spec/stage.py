"""What is computed once of a trained network, besides evaluations."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from snnlib.spec.values import Spec

Quantity = Literal["membrane", "trace"]


@dataclass(frozen=True, kw_only=True)
class NDSStage(Spec):
    """The Neural Dynamic Signature of a network: the mean over its training images, step by step.

    Attributes:
        quantity: of each neuron, its `membrane` before reset, as the published file holds it, or
            the `trace` it emits, as the published code saves it.
    """

    revision: ClassVar[int] = 1
    kind: Literal["nds"] = "nds"
    quantity: Quantity = "membrane"


Stage = NDSStage
