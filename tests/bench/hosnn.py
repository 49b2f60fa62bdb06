"""HoSNN's networks, here and as published, side by side on one CPU thread.

SPIKEGRID_BENCH_HOSNN is a checkout of HoSNN at 110eeca, SPIKEGRID_BENCH_HOSNN_PYTHON an interpreter
that has torch and tqdm. Both systems start from the same weights on the same random images, and
their first answers must agree, or the times would be of different work.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench import alternate
from tests.bench.measure import Measurement

CHECKOUT, PYTHON = "SPIKEGRID_BENCH_HOSNN", "SPIKEGRID_BENCH_HOSNN_PYTHON"
AGREEMENT = {"train": 1e-3, "pgd": 1 / 64}
"""How far the first answers may lie apart: the loss relative to itself, the share in one sample."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One network on one batch.

    Attributes:
        title: of its lines.
        config: the original's file.
        model: our name.
        shape: of an image.
        batch: samples.
        targets: by what is timed, in this order; how many times as fast ours shall be.
        agree: whether the same work gives the same numbers: not with dropout.
    """

    title: str
    config: str
    model: str
    shape: tuple[int, int, int]
    batch: int
    targets: dict[str, float]
    agree: bool


WORKS = (
    Work(
        title="HoSNN MNIST, batch 64",
        config="MNIST.yaml",
        model="hosnn_mnist",
        shape=(1, 28, 28),
        batch=64,
        targets={"pgd": 3, "train": 3},
        agree=True,
    ),
    Work(
        title="HoSNN CIFAR-10, batch 4",
        config="CIFAR10.yaml",
        model="hosnn_cifar10",
        shape=(3, 32, 32),
        batch=4,
        targets={"train": 1.4},
        agree=False,
    ),
)
_TITLES = {"train": "training step", "pgd": "PGD7 evaluation"}


def steps() -> Iterator[Measurement]:
    """Training steps and PGD7 evaluations of TA-LIF networks, T = 5."""
    checkout, python = os.environ.get(CHECKOUT), os.environ.get(PYTHON)
    if not checkout or not python:
        sys.stderr.write(f"set {CHECKOUT} to a checkout of HoSNN and {PYTHON} to its python\n")
        return
    for work in WORKS:
        with tempfile.TemporaryDirectory() as name:
            yield from _compared(work, Path(name), Path(checkout), python)


def _compared(work: Work, folder: Path, checkout: Path, python: str) -> Iterator[Measurement]:
    text = json.dumps(order(work, checkout))
    (folder / "work.json").write_text(text, encoding="utf-8")
    original = [python, "-m", "tests.bench.hosnn_original", str(folder)]
    subprocess.run(
        [*original, "save"],
        cwd=alternate.REPOSITORY,
        check=True,
        capture_output=True,
        timeout=alternate.TIMEOUT_S,
    )
    ours = [sys.executable, "-m", "tests.bench.hosnn_ours", str(folder)]
    with alternate.pair(ours, original) as workers:
        for name, target in work.targets.items():
            timing = alternate.compare(workers, name)
            if work.agree:
                _agreed(work.title, name, timing)
            yield from _lines(f"{work.title}: {_TITLES[name]}", timing, target)


def order(work: Work, checkout: Path) -> dict[str, Any]:
    """What the workers are to do, as work.json."""
    config = yaml.safe_load((checkout / "Networks" / work.config).read_text(encoding="utf-8"))
    signature = config["Network"]["ckpt_v"]
    if not (checkout / signature).stat().st_size:
        config["Network"]["ckpt_v"] = None  # CIFAR-10's is published empty; its default is random
    return {
        "checkout": str(checkout.resolve()),
        "config": config,
        "model": work.model,
        "shape": work.shape,
        "batch": work.batch,
        "epsilon": 0.1,
    }


def _agreed(title: str, name: str, timing: alternate.Timing) -> None:
    ours, other = timing.outcomes
    assert ours is not None, "both workers answer with a number"
    assert other is not None, "both workers answer with a number"
    scale = abs(other) if name == "train" else 1
    if abs(ours - other) > AGREEMENT[name] * scale:
        raise RuntimeError(f"{title}, {name}: ours gives {ours:.6g}, the original {other:.6g}")


def _lines(what: str, timing: alternate.Timing, target: float) -> Iterator[Measurement]:
    yield Measurement(what=f"{what}, ours", unit="s", values=timing.ours_s)
    yield Measurement(what=f"{what}, original", unit="s", values=timing.other_s)
    shares = tuple(1 / ratio for ratio in timing.ratios)
    yield Measurement(what=f"{what}, ours : original", unit="", values=shares, target=1 / target)
