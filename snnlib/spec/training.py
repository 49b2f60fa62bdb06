"""Training regimes, and the whole of what determines a trained network."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema

from snnlib.spec.attack import FGSM, PGD, InnerAttack
from snnlib.spec.data import Dataset
from snnlib.spec.model import Model
from snnlib.spec.neuron import TALIF
from snnlib.spec.values import (
    Bool,
    Checkpoint,
    Epsilon,
    PositiveInt,
    PositiveReal,
    Real,
    Seed,
    Spec,
)

RegimeName = Literal["clean", "adversarial", "trades", "rat", "sr"]
Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "cosine_epochs"]
Loss = Literal["cross_entropy", "kernel"]
Precision = Literal["fp32", "tf32", "bf16"]
Select = Literal["last", "best_val", "best_test"]
AttackMode = Literal["eval", "train"]


@dataclass(frozen=True, kw_only=True)
class Local(Spec):
    """Batch normalisation by parts of the global batch.

    Attributes:
        local: number of shards, each normalised by statistics of its own.
    """

    local: int


def _batch_norm(value: object) -> object:
    """One shard is the whole batch, so `{local: 1}` and `sync` are one identity."""
    if value == "sync" or isinstance(value, Local):
        return value
    shards = value["local"] if isinstance(value, dict) and value.keys() == {"local"} else None
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
        raise ValueError(
            "expected sync, or a number of shards that have statistics of their own, "
            "such as {local: 4}"
        )
    return "sync" if shards == 1 else Local(local=shards)


BatchNorm = Annotated[
    Literal["sync"] | Local,
    BeforeValidator(_batch_norm),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["sync"]},
                {
                    "type": "object",
                    "properties": {"local": {"type": "integer", "minimum": 1}},
                    "required": ["local"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class Adversary(NamedTuple):
    """Against what a regime trains.

    Attributes:
        attack: the inner attack.
        epsilon: its radius.
        mode: in which mode it meets the network.
    """

    attack: InnerAttack
    epsilon: Fraction
    mode: AttackMode = "eval"


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
        optimiser: with `lr` and `weight_decay`; sgd has momentum 0.9.
        schedule: of the learning rate: `constant`; `cosine`, half a cosine down to 0, anew at every
            step of the whole training; `cosine_epochs`, a cosine that changes once per epoch, as
            PyTorch's CosineAnnealingLR: lr/2 (1 + cos(pi e / t_max)) in epoch e from 0. Its epoch
            t_max has rate 0, and later ones rise again.
        t_max: of `cosine_epochs`, in epochs; as many as the training has when unset.
        loss: `cross_entropy` of the logits, mean over the batch; `kernel`, half the squared distance
            of the output traces from their targets, sum over the batch (HoSNN).
        precision: of convolutions and linear layers in training: `fp32`, `tf32` (10 bits of
            mantissa in their products, on GPUs that have it), or `bf16` (autocast; neurons stay
            fp32). Attacks, inner ones too, validation and evaluation are always fp32.
        batch_norm: whose statistics normalise in training: `sync`, those of the whole batch,
            however many processes share it; `{local: N}`, those of each of N equal shards, as N
            processes do that do not share them (any number of processes that divides N may).
        clip_grad_norm: bound of the norm of all gradients together; none when unset.
        weight_clip: bound of every weight of convolutions and linear layers; none when unset.
        select: the network kept is that of the `last` epoch, or of the best on the validation
            split (`best_val`; the earliest of equals). `best_test` repeats a fault of published
            systems, in faithful cells only: the best on clean test images, which stand in the
            place of the validation split, so that what is reported was chosen on what it is
            reported for.
        start: weights to start from; random when unset.
    """

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 64
    optimiser: Optimiser = "adam"
    lr: PositiveReal = Decimal("0.001")
    weight_decay: Real = Decimal(0)
    schedule: Schedule = "cosine"
    t_max: PositiveInt | None = None
    loss: Loss = "cross_entropy"
    precision: Precision = "fp32"
    batch_norm: BatchNorm = "sync"
    clip_grad_norm: PositiveReal | None = None
    weight_clip: PositiveReal | None = None
    select: Select = "best_val"
    start: Start | None = None

    @property
    def shards(self) -> int:
        """Parts of the global batch that are normalised by statistics of their own."""
        return self.batch_norm.local if isinstance(self.batch_norm, Local) else 1

    @property
    def adversary(self) -> Adversary | None:
        """Against what it trains, if anything; `best_val` then selects under that attack."""
        return None


@dataclass(frozen=True, kw_only=True)
class CleanRegime(_Regime):
    """Training on unperturbed images."""

    name: Literal["clean"] = "clean"


@dataclass(frozen=True, kw_only=True)
class _AttackedRegime(_Regime):
    """What regimes that train on attacked images share.

    Attributes:
        epsilon: radius of the attack.
        attack: the inner attack.
        attack_mode: `eval`, or `train` as HoSNN's code does: the attack sees the statistics of its
            batch, which move the running ones, and no dropout.
    """

    epsilon: Epsilon
    attack: InnerAttack = FGSM()
    attack_mode: AttackMode = "eval"

    @property
    def adversary(self) -> Adversary:
        """The inner attack."""
        return Adversary(self.attack, self.epsilon, self.attack_mode)


@dataclass(frozen=True, kw_only=True)
class AdversarialRegime(_AttackedRegime):
    """Training on images attacked against the network as it is (Madry et al. 2018, eq. 2.1)."""

    name: Literal["adversarial"] = "adversarial"


@dataclass(frozen=True, kw_only=True)
class TradesRegime(_Regime):
    """TRADES: accuracy on clean images, traded against steadiness around them.

    Minimises CE(f(x), y) + beta KL(f(x) || f(x')), with x' where the attack found that divergence
    largest (Zhang et al. 2019, arXiv 1901.08573, eq. 5, whose 1/lambda is beta).

    Attributes:
        beta: weight of the divergence; 6 in the paper's best network for CIFAR-10.
        epsilon: radius of the ball.
        attack: steps, step size and space of the inner ascent; unset, 10 steps of epsilon/4
            (published for CIFAR-10: 10 of 0.007 within 0.031).
        start_noise: unless the attack starts anywhere in the ball, it starts uniformly this far
            around x, where the divergence has no gradient (published: Gaussian noise of that size).
        attack_mode: as in adversarial training.
    """

    name: Literal["trades"] = "trades"
    beta: PositiveReal = Decimal(6)
    epsilon: Epsilon
    attack: PGD = PGD(random_start=False)
    start_noise: PositiveReal = Decimal("0.001")
    attack_mode: AttackMode = "eval"

    @property
    def adversary(self) -> Adversary:
        """The inner ascent."""
        return Adversary(self.attack, self.epsilon, self.attack_mode)


@dataclass(frozen=True, kw_only=True)
class RATRegime(_AttackedRegime):
    """Regularised adversarial training (SNN-RAT, Ding et al. 2022).

    Adversarial training whose weights are drawn towards orthogonal rows after each step, which
    bounds how much a layer amplifies a difference of spikes.

    Attributes:
        beta: strength of that pull; 0.004 in the published run, whose epsilon is 2/255.
    """

    name: Literal["rat"] = "rat"
    beta: PositiveReal = Decimal("0.004")


@dataclass(frozen=True, kw_only=True)
class SRRegime(_Regime):
    """Sparsity regularisation of the input gradient (Liu et al. 2024, arXiv 2405.20355).

    Adds coefficient ||d f_y / dx||_1 to the loss, f_y the chance of the true class against the
    strongest other one, by a finite difference along the gradient's sign.

    Attributes:
        coefficient: weight of the norm, the paper's lambda.
        step: length h of the finite difference; 0.01 in the published code.
        squared: square the difference quotient, as the published code does.
        epsilon: radius of an attack to train on as well (the paper's SR*); none when unset.
        attack: that attack.
    """

    name: Literal["sr"] = "sr"
    coefficient: PositiveReal
    step: PositiveReal = Decimal("0.01")
    squared: Bool = False
    epsilon: Epsilon | None = None
    attack: InnerAttack | None = None

    @property
    def adversary(self) -> Adversary | None:
        """The attack of SR*, if there is one."""
        if self.attack is None or self.epsilon is None:
            return None
        return Adversary(self.attack, self.epsilon)


Regime = Annotated[
    CleanRegime | AdversarialRegime | TradesRegime | RATRegime | SRRegime,
    Field(discriminator="name"),
]


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

    def obstacle(self, processes: int) -> str:
        """Why so many processes would train another network, or nothing."""
        shards, neuron = self.regime.shards, self.model.neuron
        if shards > 1 and shards % processes:
            known = ", ".join(str(n) for n in range(1, shards + 1) if shards % n == 0)
            message = f"{processes} processes do not divide the {shards} shards"
            return f"{message} of regime.batch_norm; take one of {known} processes"
        if isinstance(neuron, TALIF) and neuron.theta_gradient == "batch" and processes != shards:
            own = f"{{local: {processes}}}" if processes > 1 else "sync"
            return (
                "theta_gradient 'batch' rests on means over each process's part of the batch, so "
                f"regime.batch_norm asks for as many processes as shards, {shards}, not "
                f"{processes}; write theta_gradient: sample, or batch_norm: {own}"
            )
        return ""
