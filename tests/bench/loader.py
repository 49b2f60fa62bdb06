"""Training input beside the network that takes it, both on one CPU thread, in images per second."""

import sys
from collections.abc import Iterator

from tests.bench import alternate
from tests.bench.measure import REPEATS, Measurement

AT_LEAST = 20
_NETWORKS = (("hosnn_mnist", 64), ("hosnn_cifar10", 4))
"""Model and batch size of the published recipes."""


def inputs() -> Iterator[Measurement]:
    """How many times as many images the input gives as the network's training step takes."""
    for model, batch in _NETWORKS:
        argv = [sys.executable, "-m", "tests.bench.loader_work", model, str(batch)]
        with alternate.start(argv) as worker:
            for name in ("input", "step"):
                worker.run(name)
            pairs = [(_rate(worker, "input"), _rate(worker, "step")) for _ in range(REPEATS)]
        given, taken = zip(*pairs, strict=True)
        title = f"{model}, batch {batch}"
        yield Measurement(what=f"{title}: training input", unit="images/s", values=given)
        yield Measurement(what=f"{title}: training step", unit="images/s", values=taken)
        yield Measurement(
            what=f"{title}: input : step",
            unit="x",
            values=tuple(a / b for a, b in pairs),
            at_least=AT_LEAST,
        )


def _rate(worker: alternate.Worker, name: str) -> float:
    seconds, images = worker.run(name)
    assert images is not None, "both works answer with their number of images"
    return images / seconds
