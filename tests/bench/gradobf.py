"""SEW-ResNet-18 beside the system that published it, on one CPU thread.

SPIKEGRID_BENCH_GRADOBF names a checkout of github luutn2002/grad-obf-snn (11989ad), used as it is,
and SPIKEGRID_BENCH_GRADOBF_PYTHON an interpreter with PyTorch, torchvision and SpikingJelly
0.0.0.0.14 (this one when unset).

The original attacks in training mode and also computes parameter gradients; ours attacks in
evaluation mode through the whole of `evaluate.attack_batch`, guards included.
"""

import os
import sys
from collections.abc import Iterator

from tests.bench import alternate
from tests.bench.measure import Measurement

BATCH = 8
STEPS = alternate.WARM_UP + alternate.TURNS
CHECKOUT, PYTHON = "SPIKEGRID_BENCH_GRADOBF", "SPIKEGRID_BENCH_GRADOBF_PYTHON"
_WORKS = {
    "train": ("SEW-ResNet-18, training step", 1.3),
    "attack": ("SEW-ResNet-18, FGSM and PGD7 with evaluation", 2.0),
}


def side_by_side() -> Iterator[Measurement]:
    """A training step, and both attacks with their evaluations: 3x32x32, batch 8, T = 10, phase."""
    if (checkout := os.environ.get(CHECKOUT)) is None:
        print(f"set {CHECKOUT} to a checkout of grad-obf-snn (see {__name__})", file=sys.stderr)
        return
    sizes = (str(BATCH), str(STEPS))
    ours = [sys.executable, "-m", "tests.bench.gradobf_ours", *sizes]
    python = os.environ.get(PYTHON, sys.executable)
    original = [python, "-m", "tests.bench.gradobf_original", checkout, *sizes]
    with alternate.pair(ours, original) as workers:
        for name, (what, at_least) in _WORKS.items():
            timing = alternate.compare(workers, name)
            _agree(*timing.outcomes)
            yield from alternate.measurements(timing, what, at_least)


def _agree(ours: float | None, original: float | None) -> None:
    """The first training step starts from equal weights and images: so must its loss be."""
    if ours is not None and original is not None and abs(ours - original) > 1e-5:
        raise RuntimeError(f"the first loss is {ours} here and {original} in the original")
