"""One process of a training that several share; run by test_train through torchrun."""

import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from snnlib import datasets, distributed, repeatable
from snnlib.datasets import Data
from snnlib.distributed import World
from snnlib.spec.data import Dataset
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF
from snnlib.spec.training import AdversarialRegime, TrainingSpec
from snnlib.train import Training


def few_digits(count: int) -> Data:
    """The digits with a part of their training split."""
    data = datasets.load(Dataset(name="digits"))
    return Data(
        train=data.train.first(count),
        validation=data.validation,
        test=data.test,
        classes=data.classes,
        shape=data.shape,
    )


def main(target: Path, world: World) -> None:
    """Train adversarially and save weights and metrics.

    Plain SGD: Adam divides by gradients near 0 and would magnify the last bit of a sum.
    """
    repeatable.pin(threads=1, seed=0)
    regime = AdversarialRegime(
        epochs=2, batch_size=64, optimiser="sgd", lr=Decimal("0.1"), epsilon=Fraction(8, 255)
    )
    spec = TrainingSpec(
        dataset=Dataset(name="digits", augment="shift"),
        model=Small(neuron=LIF(v_threshold=Decimal("0.25")), time_steps=3),
        regime=regime,
    )
    training = Training(spec, few_digits(65), world=world)
    losses: list[float] = []
    counts: list[Any] = []
    while not training.done:
        if training.epoch_complete:
            metrics = training.finish_epoch()
            counts.append([metrics.validation_correct, metrics.validation_total])
        else:
            losses.append(training.advance().loss)
    assert distributed.any_of(world, world.rank == 1, False) == (world.size == 2, False)
    assert distributed.gather_objects(world, world.rank) == list(range(world.size))
    assert distributed.broadcast_object(world, world.rank) == 0
    distributed.barrier(world)
    if world.rank == 0:
        torch.save({"model": training.model_state(), "losses": losses, "counts": counts}, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), distributed.init(timeout_s=30))
    distributed.shutdown()
