"""HoSNN's networks in this system, a worker of `alternate`: `-m tests.bench.hosnn_ours FOLDER`.

FOLDER holds what the original's worker saved: the same weights, images and labels, for the same
work by the same rules (`tsslbp`, kernel loss, gradient norm 1, AdamW, clips).
"""

import json
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from snnlib import imported
from snnlib.datasets import Data, Split
from snnlib.distributed import World
from snnlib.evaluate import attack_batch
from snnlib.spec.attack import PGD
from snnlib.spec.data import Dataset
from snnlib.spec.encoder import Direct
from snnlib.spec.model import HoSNN
from snnlib.spec.neuron import TALIF
from snnlib.spec.training import CleanRegime, TrainingSpec
from snnlib.train import Training
from tests.bench import alternate

ATTACK = PGD(
    space="repeated",
    clip=False,
    loss="trace_cross_entropy",
    steps=7,
    step_size="eps/3",
    random_start=False,
)


class _SameStep(Training):
    """A training whose first step is always the next: on one batch, and never validated."""

    @property
    def step(self) -> int:
        return 0


class Ours:
    """A training that starts where the original does."""

    def __init__(self, folder: Path, work: dict[str, Any]) -> None:
        start = torch.load(folder / "start.pt", weights_only=True)
        count, shape = len(start["labels"]), tuple(work["shape"])
        split = Split(
            images_NCHW=start["images"], labels_N=start["labels"], indices_N=torch.arange(count)
        )
        spec = specification(work)
        self.training = _SameStep(
            spec,
            Data(train=split, validation=split, test=split, classes=10, shape=shape),
            world=World.single(),
        )
        assert isinstance(spec.model, HoSNN)
        weights = imported.from_state_dict(start["net"], spec.model, shape=shape, classes=10)
        self.training.module.layers.load_state_dict(weights)
        self.batch = split.batch(range(count), count)
        self.epsilon = Fraction(str(work["epsilon"]))

    def train(self) -> float:
        """One step: the loss per sample."""
        return self.training.advance().loss

    def pgd(self) -> float:
        """PGD7 on the batch, and its judgement: the share still classified correctly."""
        outcome = attack_batch(self.training.module, ATTACK, (self.epsilon,), self.batch, seed=0)
        return float(outcome.correct_EB.double().mean())


def specification(work: dict[str, Any]) -> TrainingSpec:
    """The original's configuration in our words."""
    network = work["config"]["Network"]

    def real(name: str) -> Decimal:
        return Decimal(str(network[name]))

    neuron = TALIF(tau_v=real("tau_v"), gradient="tsslbp", theta_gradient="batch")
    encoder = Direct(mean=(real("mean"),), std=(real("std"),))
    regime = CleanRegime(
        batch_size=work["batch"],
        optimiser="adamw",
        lr=real("lr"),
        weight_decay=Decimal("0.01"),
        loss="kernel",
        clip_grad_norm=Decimal(1),
        weight_clip=Decimal(4),
    )
    model = HoSNN(name=work["model"], neuron=neuron, encoder=encoder)
    return TrainingSpec(dataset=Dataset(name="digits"), model=model, regime=regime)


def main() -> None:
    """Serve."""
    folder = Path(sys.argv[1])
    ours = Ours(folder, json.loads((folder / "work.json").read_text(encoding="utf-8")))
    alternate.serve({"train": ours.train, "pgd": ours.pgd})


if __name__ == "__main__":
    main()
