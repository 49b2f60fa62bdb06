"""One process of trainings with batch norm and dropout, run by test_batch_norm through torchrun."""

import os
import sys
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnlib import datasets, distributed, repeatable
from snnlib.batch_norm import Sharing
from snnlib.datasets import Data, Split
from snnlib.distributed import World
from snnlib.doors import layer
from snnlib.models.lean import LeanBatchNorm2d
from snnlib.spec.attack import PGD
from snnlib.spec.data import Dataset
from snnlib.spec.layers import Conv, Dropout, Linear
from snnlib.spec.model import LayerTable
from snnlib.spec.neuron import TALIF
from snnlib.spec.training import (
    AdversarialRegime,
    BatchNorm,
    CleanRegime,
    Local,
    RATRegime,
    Regime,
    SRRegime,
    TradesRegime,
    TrainingSpec,
)
from snnlib.train import Training
from tests.snnlib import networks

TABLE = LayerTable(
    layers=(
        Conv(out_channels=4, kernel_size=3, weight_scale=Decimal(2), batch_norm=True),
        Dropout(p=Decimal("0.3")),
        Linear(out_features=12, batch_norm=True),
        Dropout(p=Decimal("0.2")),
    ),
    time_steps=3,
    readout="current",
)
THETA = replace(TABLE, neuron=TALIF(gradient="tsslbp"))
"""With the published gradient, but theta's by sample."""
SAMPLES = 66
"""Two batches of 32, and a last one of 2, which leaves processes 2 and 3 without a sample."""
SGD: dict[str, Any] = {"epochs": 2, "batch_size": 32, "optimiser": "sgd", "lr": Decimal("0.05")}
RADIUS: dict[str, Any] = {"epsilon": Fraction(8, 255), **SGD}
PLAIN = PGD(steps=2, restarts=2)
KINDS: dict[str, Regime] = {
    "clean": CleanRegime(**SGD),
    "adversarial": AdversarialRegime(attack=PLAIN, **RADIUS),
    "adversarial_train": AdversarialRegime(attack=PLAIN, attack_mode="train", **RADIUS),
    "trades": TradesRegime(attack=PGD(steps=2), **RADIUS),
    "rat": RATRegime(attack_mode="train", **RADIUS),
    "sr": SRRegime(coefficient=Decimal("0.1"), **SGD),
}
SHARING: dict[str, BatchNorm] = {"sync": "sync", "local": Local(local=4)}
CASES: dict[str, tuple[Regime, torch.dtype]] = {
    **{
        f"{kind}-{name}-float64": (replace(regime, batch_norm=sharing), torch.float64)
        for kind, regime in KINDS.items()
        for name, sharing in SHARING.items()
    },
    **{
        f"{kind}-{name}-float32": (replace(KINDS[kind], batch_norm=sharing), torch.float32)
        for kind in ("clean", "adversarial_train")
        for name, sharing in SHARING.items()
    },
    "ta_lif-sync-float64": (KINDS["clean"], torch.float64),
    "bf16-sync": (replace(KINDS["clean"], precision="bf16"), torch.float32),
}
RESUMED = ("clean-sync-float32", "adversarial_train-local-float32")
NORMS: dict[str, Any] = {
    "linear": nn.BatchNorm1d,
    "conv": nn.BatchNorm2d,
    "step": layer.BatchNorm2d,
    "lean": LeanBatchNorm2d,
}
PARTS = (3, 1, 2, 0)
"""Samples of each process whose gradients are compared."""


def training(name: str, world: World) -> Training:
    """A training of a case; its images are float64 if its network is."""
    repeatable.pin(threads=1, seed=0)
    regime, dtype = CASES[name]
    spec = TrainingSpec(
        dataset=Dataset(name="digits", augment="shift"),
        model=THETA if name.startswith("ta_lif") else TABLE,
        regime=regime,
        seed=1,
    )
    whole = datasets.load(spec.dataset)
    data = Data(
        train=_typed(whole.train.first(SAMPLES), dtype),
        validation=_typed(whole.validation.first(50), dtype),
        test=whole.test,
        classes=whole.classes,
        shape=whole.shape,
    )
    one = Training(spec, data, world=world, nds=0.5 if spec.model is THETA else None)
    one.module.to(dtype)
    return one


def _typed(split: Split, dtype: torch.dtype) -> Split:
    return replace(split, images_NCHW=split.images(slice(None)).to(dtype))


def run(one: Training) -> dict[str, Any]:
    """To its end: weights, losses and counts."""
    losses, counts = [], []
    while not one.done:
        if one.epoch_complete:
            counts.append(one.finish_epoch().validation_correct)
        else:
            losses.append(one.advance().loss)
    return {"model": one.module.state_dict(), "losses": losses, "counts": counts}


def resumed(name: str, world: World, file: Path) -> list[str]:
    """Hashes of a training in one go, and of one that went on from a file within an epoch."""
    straight, first = training(name, world), training(name, world)
    run(straight)
    for _ in range(2):
        first.advance()
    if world.rank == 0:
        torch.save(first.state(), file)
    distributed.barrier(world)
    second = training(name, world)
    second.load(torch.load(file, weights_only=True))
    run(second)
    return [networks.state_hash(one.module) for one in (straight, second)]


def norm(kind: str) -> tuple[Any, Tensor, Tensor]:
    """A batch norm, what it gets from all processes, [T, B, ...], and the gradient of its result."""
    made = NORMS[kind](5).double()
    draw = torch.Generator().manual_seed(0)
    shape = (3, sum(PARTS), 5) if kind == "linear" else (3, sum(PARTS), 5, 4, 4)
    x_TB, grad_TB, values = (
        torch.randn(s, generator=draw, dtype=torch.float64) for s in (shape, shape, (2, 5))
    )
    with torch.no_grad():
        made.weight.copy_(values[0])
        made.bias.copy_(values[1])
    if hasattr(made, "step_mode"):
        made.step_mode = "m"
    return made, 2 + 3 * x_TB, grad_TB


def passed(made: Any, x_TB: Tensor, grad_TB: Tensor) -> tuple[Tensor, ...]:
    """Result, and gradients of input, weight and bias."""
    x_TB.requires_grad_()
    folds = hasattr(made, "step_mode")
    y: Tensor = made(x_TB) if folds else made(x_TB.flatten(0, 1)).view_as(x_TB)
    torch.autograd.backward(y, grad_TB)
    assert x_TB.grad is not None
    return y.detach(), x_TB.grad, made.weight.grad, made.bias.grad


def shared_pass(kind: str, world: World) -> dict[str, Any]:
    """`passed` of this process's samples; a process without any has one that weighs nothing."""
    made, x_TB, grad_TB = norm(kind)
    own = nn.Sequential(made)
    sharing = Sharing(own, world, 1)
    sharing.sizes, sharing.total = (PARTS[world.rank],), sum(PARTS)
    begin = sum(PARTS[: world.rank])
    rows = slice(begin, begin + PARTS[world.rank]) if PARTS[world.rank] else slice(0, 1)
    found = passed(made, x_TB[:, rows].clone(), grad_TB[:, rows] * bool(PARTS[world.rank]))
    return {"found": found, "running": [made.running_mean, made.running_var]}


def main(folder: Path, world: World) -> None:
    """Everything that the test compares, from all ranks."""
    found: dict[str, Any] = {}
    for name in CASES:
        one = training(name, world)
        found[name] = run(one)
        hashes = distributed.gather_objects(world, networks.state_hash(one.module))
        found[name]["hashes"] = hashes
    for name in RESUMED:
        found[f"resumed-{name}"] = resumed(name, world, folder / f"{name}.pt")
    for kind in NORMS:
        found[f"norm-{kind}"] = distributed.gather_objects(world, shared_pass(kind, world))
    distributed.barrier(world)
    if world.rank == 0:
        torch.save(found, folder / "four.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), distributed.init(timeout_s=120))
    distributed.shutdown()
    os._exit(0)  # as workers end
