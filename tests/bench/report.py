"""The report of large studies: the whole command, its tables collected before."""

from collections.abc import Iterator
from functools import partial

from tests.bench import launcher, roots
from tests.bench.launcher import SIZES
from tests.bench.measure import Measurement, Run, repeated

REPEATS = 3
_TARGETS = {1_000: 5.0}


def page() -> Iterator[Measurement]:
    """Seconds and megabytes of the page at each size; collecting what is new is part of it."""
    for size in SIZES:
        root = roots.ready(size)
        runs = repeated(partial(_made, root), REPEATS)
        what = f"report, {size:,} cells"
        seconds = tuple(run.seconds for run in runs)
        yield Measurement(what=what, unit="s", values=seconds, target=_TARGETS.get(size))
        megabytes = (root.path / "tables/report.html").stat().st_size / 1e6
        limit = 1.0 if size <= 100 else None
        yield Measurement(
            what=f"page of {size:,} cells", unit="MB", values=(megabytes,), target=limit
        )


def _made(root: roots.Root) -> Run:
    done = launcher.launch("report", str(root.manifest), "--root", str(root.path))
    if "report.html" not in done.output:
        raise RuntimeError(f"report: names no page: {done.output}")
    return done
