"""AutoAttack on one spiking network, a worker of `alternate`: FOLDER NETWORK ours, or CHECKOUT.

`FOLDER NETWORK save` trains the network first: HoSNN's for MNIST, of LIF neurons, on the digits
that come with the program, enlarged. NETWORK is `own`, read by currents with its gradient through
time, or `published`, read by traces with the gradient of HoSNN: what its code computes. CHECKOUT
is one of github fra31/auto-attack, used as it is, on the same classifier. Each answers with the
number of samples that withstand everything.
"""

import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

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
from snnlib.spec.neuron import TraceLIF
from snnlib.spec.training import CleanRegime, Loss, TrainingSpec
from snnlib.train import Training
from tests.bench import alternate
from tests.bench.engine_reference import EPSILON, SHAPE, standard

SAMPLES = 32
LOSSES: tuple[Loss, Loss] = ("cross_entropy", "kernel")
MODELS = {
    "own": HoSNN(name="hosnn_mnist", readout="current"),
    "published": HoSNN(name="hosnn_mnist", neuron=TraceLIF(gradient="tsslbp"), ties="first"),
}
SPECS = {
    name: TrainingSpec(
        dataset=Dataset(name="digits"),
        model=model,
        regime=CleanRegime(epochs=4, batch_size=32, lr=Decimal("0.001"), loss=loss),
    )
    for (name, model), loss in zip(MODELS.items(), LOSSES, strict=True)
}


def _enlarged(split: Split) -> Split:
    images_NCHW = functional.interpolate(split.images_NCHW, size=SHAPE[1:], mode="bilinear")
    return Split(images_NCHW=images_NCHW, labels_N=split.labels_N, indices_N=split.indices_N)


def save(folder: Path, name: str) -> None:
    """Train the network, and keep it with the samples."""
    digits = datasets.load(SPECS[name].dataset)
    parts = [_enlarged(part) for part in (digits.train, digits.validation, digits.test)]
    train, validation, test = parts
    data = Data(train=train, validation=validation, test=test, classes=10, shape=SHAPE)
    training = Training(SPECS[name], data, world=World.single())
    while not training.done:
        if training.epoch_complete:
            training.finish_epoch()
        else:
            training.advance()
    chosen = {"images": test.images_NCHW[:SAMPLES], "labels": test.labels_N[:SAMPLES]}
    torch.save({"net": training.model_state(), **chosen}, folder / f"{name}.pt")


class Attacked:
    """The network, and what withstands."""

    def __init__(self, folder: Path, name: str, checkout: str) -> None:
        kept = torch.load(folder / f"{name}.pt", weights_only=True)
        self.images, self.labels, self.checkout = kept["images"], kept["labels"], checkout
        self.model: SpikingClassifier = models.build(MODELS[name], shape=SHAPE, classes=10, seed=0)
        self.model.load_state_dict(kept["net"])

    def ours(self) -> float:
        """By `attack_batch`, guards and judgement included."""
        batch = Batch(
            images_BCHW=self.images,
            labels_B=self.labels,
            samples_B=torch.arange(SAMPLES),
            count=SAMPLES,
        )
        found = attack_batch(self.model, AutoAttack(), (Fraction(EPSILON),), batch, seed=0)
        return float(found.correct_EB.sum())

    def reference(self) -> float:
        """By the reference."""
        with frozen(self.model):
            return standard(self.model, self.images, self.labels, self.checkout)


def main() -> None:
    """Serve, or save."""
    folder, name, checkout = Path(sys.argv[1]), *sys.argv[2:]
    if checkout == "save":
        save(folder, name)
        return
    attacked = Attacked(folder, name, checkout)
    work = attacked.ours if checkout == "ours" else attacked.reference
    alternate.serve({"autoattack": work})


if __name__ == "__main__":
    main()
