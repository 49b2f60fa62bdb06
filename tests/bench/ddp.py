"""Training by two processes of one CPU thread each, against one: the same steps, batch for batch."""

import sys
from collections.abc import Iterator

from tests.bench import alternate
from tests.bench.ddp_work import BATCH, STEPS
from tests.bench.measure import Measurement

AT_LEAST = 1.6
TURNS = 15
_SAME = 0.01
"""Share by which losses after the first STEPS steps may differ, for float32 sums."""


def two_ranks() -> Iterator[Measurement]:
    """Images per second of HoSNN's MNIST network at a global batch of 64: 64 against 32 + 32."""
    one, two = ([sys.executable, "-m", "tests.bench.ddp_work", count] for count in ("1", "2"))
    with alternate.pair(two, one) as workers:
        timing = alternate.compare(workers, "steps", turns=TURNS)
    shared, alone = timing.outcomes
    assert shared is not None, "workers answer with their loss"
    assert alone is not None, "workers answer with their loss"
    if abs(shared - alone) > _SAME * abs(alone):
        raise RuntimeError(f"two ranks reach the loss {shared:.6g}, one rank {alone:.6g}")
    what = f"HoSNN MNIST, global batch {BATCH}"
    for ranks, seconds in (("one rank", timing.other_s), ("two ranks", timing.ours_s)):
        rates = tuple(BATCH * STEPS / s for s in seconds)
        yield Measurement(what=f"{what}, {ranks}", unit="images/s", values=rates)
    yield Measurement(
        what=f"{what}, two ranks : one", unit="x", values=timing.ratios, at_least=AT_LEAST
    )
