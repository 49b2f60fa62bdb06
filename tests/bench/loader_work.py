"""The training input of one network, and its training steps, in a process with one thread.

`python -m tests.bench.loader_work MODEL BATCH`, a worker of `alternate`: random images in the size
and number of the real data set, and the recipe of the published system.
"""

import itertools
import sys
from typing import Any

import torch
from pydantic import TypeAdapter

from snnlib import noise, repeatable
from snnlib.augment import AUGMENTATIONS
from snnlib.datasets import Data, Split
from snnlib.distributed import World
from snnlib.spec.data import CLASSES, SHAPES, SIZES, Dataset
from snnlib.spec.model import HoSNN
from snnlib.spec.neuron import TALIF
from snnlib.spec.training import CleanRegime, TrainingSpec
from snnlib.train import Training
from tests.bench import alternate

BATCHES = 500
"""Batches of one run of the input; each run begins an epoch, and so draws a new order."""
_DATA = {
    "hosnn_mnist": Dataset(name="mnist"),
    "hosnn_cifar10": Dataset(name="cifar10", augment="crop_flip"),
}


def specification(name: str, batch: int) -> TrainingSpec:
    """A network of TA-LIF neurons on its data set."""
    model = TypeAdapter(HoSNN).validate_python({"name": name, "neuron": TALIF()})
    regime = CleanRegime(batch_size=batch, loss="kernel", optimiser="adamw")
    return TrainingSpec(dataset=_DATA[name], model=model, regime=regime)


def data(dataset: Dataset) -> Data:
    """Random bytes of the data set's size."""
    count, shape = SIZES[dataset.name]["train"], SHAPES[dataset.name]
    generator = torch.Generator().manual_seed(0)
    split = Split(
        images_NCHW=torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator),
        labels_N=torch.arange(count) % CLASSES[dataset.name],
        indices_N=torch.arange(count),
    )
    few = split.first(1)
    return Data(train=split, validation=few, test=few, classes=CLASSES[dataset.name], shape=shape)


def main() -> None:
    """Serve `input` and `step`; each answers with its number of images."""
    name, batch = sys.argv[1], int(sys.argv[2])
    repeatable.pin(threads=1, seed=0)
    spec = specification(name, batch)
    whole = data(spec.dataset)
    training = Training(spec, whole, world=World.single(), nds=0.5)
    augment = AUGMENTATIONS[spec.dataset.augment]
    epochs = itertools.count()

    def inputs() -> float:
        """What `Training` does for a batch before the network: order, gather, floats, augment."""
        epoch = next(epochs)
        for turn in range(BATCHES):
            order = noise.permutation(spec.seed, epoch, len(whole.train))
            rows = order[turn * batch : (turn + 1) * batch]
            key = noise.Key(seed=spec.seed, stream="augment", samples_B=whole.train.indices_N[rows])
            made: Any = augment(whole.train.images(rows), key, epoch)
            assert len(made) == len(whole.train.labels_N[rows]) == batch
        return BATCHES * batch

    def step() -> float:
        return training.advance().samples

    alternate.serve({"input": inputs, "step": step})


if __name__ == "__main__":
    main()
