"""Collecting a signature against a clean evaluation of the same images, on one CPU thread."""

import functools
import time
from collections.abc import Iterator
from fractions import Fraction

import torch

from snnlib import models, nds, repeatable
from snnlib.datasets import Split
from snnlib.evaluate import attack_batch, batches
from snnlib.spec.attack import Clean
from snnlib.spec.model import HoSNN
from snnlib.spec.stage import Quantity
from tests.bench.measure import Measurement, alternated

SAMPLES, BATCH, REPEATS = 1000, 100, 15
QUANTITIES: tuple[Quantity, ...] = ("membrane", "trace")
TARGET = 1.2


def against_evaluation() -> Iterator[Measurement]:
    """HoSNN's MNIST network, T = 5, on images of MNIST's size."""
    repeatable.pin(threads=1, seed=0)
    model = models.build(HoSNN(name="hosnn_mnist"), shape=(1, 28, 28), classes=10, seed=0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (SAMPLES, 1, 28, 28), generator=generator, dtype=torch.uint8)
    places = torch.arange(SAMPLES)
    split = Split(images_NCHW=images, labels_N=places % 10, indices_N=places)
    everyone = batches(SAMPLES, BATCH)

    def evaluated() -> float:
        began = time.perf_counter()
        for rows in everyone:
            attack_batch(model, Clean(), (Fraction(0),), split.batch(rows, BATCH), seed=0)
        return time.perf_counter() - began

    def collected(quantity: Quantity) -> float:
        began = time.perf_counter()
        chosen = (split.batch(rows, BATCH) for rows in everyone)
        nds.mean(nds.collect(model, chosen, quantity=quantity))
        return time.perf_counter() - began

    for quantity in QUANTITIES:
        ratios = alternated(evaluated, functools.partial(collected, quantity), REPEATS)
        what = f"NDS of HoSNN MNIST, {quantity} : clean evaluation"
        yield Measurement(what=what, unit="", values=ratios, target=TARGET)
