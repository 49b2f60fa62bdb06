"""Training regimes, and the whole of what determines a trained network."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from snnlib.spec.attack import FGSM, Attack
from snnlib.spec.data import Dataset
from snnlib.spec.model import Model
from snnlib.spec.values import Checkpoint, Epsilon, PositiveInt, PositiveReal, Real, Seed, Spec

Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine"]
Loss = Literal["cross_entropy", "kernel"]
Select = Literal["last", "best_val"]


@dataclass(frozen=True, kw_only=True)
class Start(Spec):
    """Where training starts: at another cell's network, or at an own file.

    Attributes:
        parent: this cell with the given keys replaced, e.g. {regime: clean}; same seed.
        checkpoint: an own file.
    """

    parent: dict[str, Any] | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, kw_only=True)
class _Regime(Spec):
    """What every regime has.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples of one optimiser step, over all processes together.
        optimiser: with `lr`, `weight_decay` and a `schedule` over all steps; sgd has momentum 0.9.
        loss: `cross_entropy` of the logits, mean over the batch; `kernel`, half the squared distance
            of the output traces from their targets, sum over the batch (HoSNN).
        clip_grad_norm: bound of the norm of all gradients together; none when unset.
        weight_clip: bound of every weight of convolutions and linear layers; none when unset.
        select: the network kept is that of the `last` epoch, or of the best on the validation
            split (`best_val`; the earliest of equals).
        start: weights to start from; random when unset.
    """

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 64
    optimiser: Optimiser = "adam"
    lr: PositiveReal = Decimal("0.001")
    weight_decay: Real = Decimal(0)
    schedule: Schedule = "cosine"
    loss: Loss = "cross_entropy"
    clip_grad_norm: PositiveReal | None = None
    weight_clip: PositiveReal | None = None
    select: Select = "best_val"
    start: Start | None = None


@dataclass(frozen=True, kw_only=True)
class CleanRegime(_Regime):
    """Training on unperturbed images."""

    name: Literal["clean"] = "clean"


@dataclass(frozen=True, kw_only=True)
class AdversarialRegime(_Regime):
    """Training on images attacked against the network as it is (Madry et al. 2018, eq. 2.1).

    Attributes:
        attack: the inner attack; `best_val` selects on validation images under it.
        epsilon: its radius.
    """

    name: Literal["adversarial"] = "adversarial"
    epsilon: Epsilon
    attack: Attack = FGSM()


Regime = Annotated[CleanRegime | AdversarialRegime, Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True)
class TrainingSpec(Spec):
    """All that determines a trained network; its hash is the training id.

    Attributes:
        dataset: what it learns.
        model: what learns it.
        regime: how; its own `start` is always unset here,
        start: resolved to the parent's training id, or "sha256:" and that of a file.
        nds: the signature of a TA-LIF network: "<training id>/<stage id>" of its parent, "sha256:"
            and that of a file, or "constant:" and its value; unset in `model`.
        seed: of initial weights, order and augmentation.
    """

    dataset: Dataset
    model: Model
    regime: Regime
    seed: Seed = 0
    start: str | None = None
    nds: str | None = None
