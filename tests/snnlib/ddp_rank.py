"""One process of a training that several share; run by test_train through torchrun."""

import os
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from snnlib import datasets, distributed, repeatable
from snnlib.datasets import Data
from snnlib.distributed import World
from snnlib.spec.attack import PGD
from snnlib.spec.data import Dataset
from snnlib.spec.layers import Conv, Dropout
from snnlib.spec.model import LayerTable, Small
from snnlib.spec.neuron import LIF
from snnlib.spec.training import (
    AdversarialRegime,
    CleanRegime,
    RATRegime,
    Regime,
    SRRegime,
    TradesRegime,
    TrainingSpec,
)
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


SGD: dict[str, Any] = {"epochs": 2, "batch_size": 64, "optimiser": "sgd", "lr": Decimal("0.1")}
"""Adam divides by gradients near 0 and would magnify the last bit of a sum."""
EPSILON = Fraction(8, 255)
REGIMES: dict[str, Regime] = {
    "adversarial": AdversarialRegime(epsilon=EPSILON, **SGD),
    "trades": TradesRegime(epsilon=EPSILON, attack=PGD(steps=2), **SGD),
    "rat": RATRegime(epsilon=EPSILON, **SGD),
    "sr": SRRegime(coefficient=Decimal("0.1"), **SGD),
    "dropout": CleanRegime(**SGD),
}
SMALL = Small(neuron=LIF(v_threshold=Decimal("0.25")), time_steps=3)
DROPPING = LayerTable(
    layers=(
        Conv(out_channels=4, kernel_size=3, weight_scale=Decimal(4)),
        Dropout(p=Decimal("0.3")),
    ),
    time_steps=3,
    readout="current",
)


def main(name: str, target: Path, world: World) -> None:
    """Train and save weights and metrics."""
    repeatable.pin(threads=1, seed=0)
    spec = TrainingSpec(
        dataset=Dataset(name="digits", augment="shift"),
        model=DROPPING if name == "dropout" else SMALL,
        regime=REGIMES[name],
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
    ranks = distributed.init(timeout_s=30)
    for regime in REGIMES:
        main(regime, Path(sys.argv[1]) / f"{regime}.pt", ranks)
    distributed.shutdown()
    os._exit(0)  # as workers end
