"""Collecting tables of 100, 1,000 and 10,000 cells with 10 rows each, and loading them.

Timed after imports, in this process. Each row's mask holds a thousand samples, a bit for each.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import analysis
from analysis.collecting.collect import collect
from tests.bench import growth, roots
from tests.bench.launcher import SIZES
from tests.bench.measure import Measurement
from tests.bench.roots import Root

REPEATS = 3
SHARE = 100
"""One cell of so many is new."""
TARGETS = {"full collect": 3.0, "collect, 1 % new": 0.3, "load results": 0.2}
"""Seconds at the largest size."""


def table() -> Iterator[Measurement]:
    """A line for each cost and size, and its slope."""
    with tempfile.TemporaryDirectory() as folder:
        found = [_costs(roots.ready(size), Path(folder) / str(size)) for size in SIZES]
    for what in found[0]:
        for size, costs in zip(SIZES, found, strict=True):
            target = TARGETS.get(what) if size == SIZES[-1] else None
            name = f"{what}, {size:,} cells"
            yield Measurement(what=name, unit="s", values=costs[what], target=target)
        steep = growth.slope(SIZES, [statistics.median(costs[what]) for costs in found])
        yield Measurement(what=f"{what}, slope", unit="", values=(steep,), target=1.1)


def _costs(root: Root, out: Path) -> dict[str, tuple[float, ...]]:
    """Seconds of each kind of work on one root."""

    def anew() -> None:
        shutil.rmtree(out, ignore_errors=True)

    def without() -> None:
        with _hidden(root):
            collect([root.path], out)

    def full() -> object:
        return collect([root.path], out)

    return {
        "full collect": _timed(full, anew),
        "collect, 1 % new": _timed(full, without),
        "collect, nothing new": _timed(full),
        "load results": _timed(lambda: analysis.load("results", out)),
        "load samples": _timed(lambda: analysis.load("samples", out)),
    }


def _timed(act: Callable[[], object], before: Callable[[], object] = list) -> tuple[float, ...]:
    """Seconds of some repetitions, after one that does not count."""
    seconds = []
    for _ in range(REPEATS + 1):
        before()
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return tuple(seconds[1:])


@contextmanager
def _hidden(root: Root) -> Iterator[None]:
    """Some cells are not there meanwhile."""
    aside = root.path / "aside"
    aside.mkdir()
    cells = sorted((root.path / "cells").glob("*/*"))[::SHARE]
    for cell in cells:
        cell.rename(aside / cell.name)
    try:
        yield
    finally:
        for cell in cells:
            (aside / cell.name).rename(cell)
        aside.rmdir()
