"""What each command costs at 100, 1,000 and 10,000 cells, and how steeply that grows.

The slope is that of the line through the logarithms: 1 means ten times as much for ten times as
many cells, 0 means always the same.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

from tests.bench import launcher, roots, submission
from tests.bench.launcher import SIZES
from tests.bench.measure import Measurement, Run, repeated

REPEATS = 3


def table() -> Iterator[Measurement]:
    """A line for each cost and size, and the slope after the last size."""
    made = [roots.ready(size) for size in SIZES]
    colds = [[launcher.cold(root)] for root in made]
    yield from _lines("status, no index", colds)
    for command in ("plan", "status"):
        yield from _lines(command, [repeated(_command(root, command), REPEATS) for root in made])
    with submission.site() as where:
        if where is None:
            return
        found = []
        for size in SIZES:
            found.append([_sent(where, size, turn) for turn in range(REPEATS)])
        yield from _lines("submit to SLURM", found)


def _command(root: roots.Root, command: str) -> Callable[[], Run]:
    return lambda: launcher.on(root, command)


def _sent(where: submission.Site, size: int, turn: int) -> Run:
    run, _ = submission.submit(where, size, turn)
    where.empty()
    return run


def _lines(what: str, runs: Sequence[Sequence[Run]]) -> Iterator[Measurement]:
    """Seconds and memory of one command at each size, and their slopes."""
    costs = {
        ("s", what): [tuple(run.seconds for run in one) for one in runs],
        ("MB", f"memory of {what}"): [tuple(run.memory_mb for run in one) for one in runs],
    }
    for (unit, name), values in costs.items():
        for size, one in zip(SIZES, values, strict=True):
            yield Measurement(what=f"{name}, {size:,} cells", unit=unit, values=one)
        steep = slope(SIZES, [statistics.median(one) for one in values])
        yield Measurement(what=f"{name}, slope", unit="", values=(steep,), target=1.1)


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Slope of the line of least squares through the logarithms of costs over sizes."""
    found = statistics.linear_regression([*map(math.log, sizes)], [*map(math.log, costs)])
    return found.slope
