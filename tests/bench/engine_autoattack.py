"""AutoAttack on one spiking network, a worker of `alternate`: FOLDER ours, or FOLDER CHECKOUT.

`FOLDER save` trains the network first: HoSNN's for MNIST, of LIF neurons, on the digits that come
with the program, enlarged. CHECKOUT is one of github fra31/auto-attack, used as it is. Both attack
the same classifier; each answers with the number of samples that withstand everything.
"""

import importlib
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from snnlib import datasets, models
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch, Data, Split
from snnlib.distributed import World
from snnlib.evaluate import attack_batch
from snnlib.spec.attack import AutoAttack
from snnlib.spec.data import Dataset
from snnlib.spec.model import HoSNN
from snnlib.spec.training import CleanRegime, TrainingSpec
from snnlib.train import Training
from tests.bench import alternate

SHAPE = (1, 28, 28)
SAMPLES = 32
EPSILON = Fraction(1, 10)
SPEC = TrainingSpec(
    dataset=Dataset(name="digits"),
    model=HoSNN(name="hosnn_mnist", readout="current"),
    regime=CleanRegime(epochs=4, batch_size=32, lr=Decimal("0.001")),
)


def _enlarged(split: Split) -> Split:
    images_NCHW = functional.interpolate(split.images_NCHW, size=SHAPE[1:], mode="bilinear")
    return Split(images_NCHW=images_NCHW, labels_N=split.labels_N, indices_N=split.indices_N)


def save(folder: Path) -> None:
    """Train the network, and keep it with the samples."""
    digits = datasets.load(SPEC.dataset)
    parts = [_enlarged(part) for part in (digits.train, digits.validation, digits.test)]
    train, validation, test = parts
    data = Data(train=train, validation=validation, test=test, classes=10, shape=SHAPE)
    training = Training(SPEC, data, world=World.single())
    while not training.done:
        if training.epoch_complete:
            training.finish_epoch()
        else:
            training.advance()
    chosen = {"images": test.images_NCHW[:SAMPLES], "labels": test.labels_N[:SAMPLES]}
    torch.save({"net": training.model_state(), **chosen}, folder / "network.pt")


class Attacked:
    """The network, and what withstands."""

    def __init__(self, folder: Path, checkout: str) -> None:
        kept = torch.load(folder / "network.pt", weights_only=True)
        self.images, self.labels, self.checkout = kept["images"], kept["labels"], checkout
        self.model: SpikingClassifier = models.build(SPEC.model, shape=SHAPE, classes=10, seed=0)
        self.model.load_state_dict(kept["net"])

    def ours(self) -> float:
        """By `attack_batch`, guards and judgement included."""
        batch = Batch(
            images_BCHW=self.images,
            labels_B=self.labels,
            samples_B=torch.arange(SAMPLES),
            count=SAMPLES,
        )
        found = attack_batch(self.model, AutoAttack(), (EPSILON,), batch, seed=0)
        return float(found.correct_EB.sum())

    def reference(self) -> float:
        """By the reference, version="standard"."""
        sys.path.insert(0, self.checkout)
        program: Any = importlib.import_module("autoattack")
        with frozen(self.model):
            run = program.AutoAttack(
                self.model, norm="Linf", eps=float(EPSILON), seed=0, verbose=False, device="cpu"
            )
            z = run.run_standard_evaluation(self.images, self.labels, bs=SAMPLES)
            return float((self.model(z).argmax(1) == self.labels).sum())


def main() -> None:
    """Serve, or save."""
    folder, checkout = Path(sys.argv[1]), sys.argv[2]
    if checkout == "save":
        save(folder)
        return
    attacked = Attacked(folder, checkout)
    work = attacked.ours if checkout == "ours" else attacked.reference
    alternate.serve({"autoattack": work})


if __name__ == "__main__":
    main()
