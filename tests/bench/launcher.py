"""The launcher as a person meets it: whole processes on grids of up to ten thousand cells."""

import json
import os
import sys
from collections.abc import Iterator
from functools import partial

from tests.bench import roots
from tests.bench.measure import Measurement, Run, process, repeated
from tests.bench.roots import REPOSITORY, Root

SIZES = (100, 1_000, 10_000)


def launch(*words: str, env: dict[str, str] | None = None) -> Run:
    """One command of the launcher, without what the caller's environment says about run roots.

    Nor does it keep Python from storing what it compiled, as few people do: each start would
    compile all modules again.
    """
    left_out = ("SPIKEGRID_", "PYTHONDONTWRITEBYTECODE")
    clean = {k: v for k, v in (env or os.environ).items() if not k.startswith(left_out)}
    return process([sys.executable, str(REPOSITORY / "launch.py"), *words], clean)


def on(root: Root, command: str, *words: str) -> Run:
    """One command on a root; what it says must be about all of the root's cells."""
    done = launch(command, str(root.manifest), "--root", str(root.path), *words)
    if f"{root.cells:,} cells" not in done.output:
        raise RuntimeError(f"{command}: does not speak of {root.cells:,} cells: {done.output}")
    return done


def cold(root: Root) -> Run:
    """The first status, which reads every record; those that follow settle the index."""
    for path in (root.path / "cache").iterdir():
        path.unlink()
    first = on(root, "status")
    closed = root.path / "cache/closed.json"
    told = json.loads(closed.read_bytes())
    closed.write_text(json.dumps({**told, "at": {}}))  # as if it had been over for long
    on(root, "status")
    return first


def help_text() -> Iterator[Measurement]:
    """`launch.py --help`."""
    runs = repeated(lambda: launch("--help"))
    yield Measurement(what="--help", unit="s", values=_seconds(runs), target=0.15)


def grid() -> Iterator[Measurement]:
    """`plan` and `status` of the largest grid: time and memory."""
    root = roots.ready(SIZES[-1])
    cells = f"{root.cells:,} cells"
    seconds = tuple(cold(root).seconds for _ in range(2))
    yield Measurement(what=f"status, no index, {cells}", unit="s", values=seconds, target=5.0)
    for command, target in (("plan", 0.8), ("status", 0.3)):
        runs = repeated(partial(on, root, command))
        what = f"{command}, {cells}"
        yield Measurement(what=what, unit="s", values=_seconds(runs), target=target)
        peak = tuple(run.memory_mb for run in runs)
        yield Measurement(what=f"memory of {what}", unit="MB", values=peak, target=150.0)


def _seconds(runs: list[Run]) -> tuple[float, ...]:
    return tuple(run.seconds for run in runs)
