"""`submit` of a thousand cells to a real SLURM of this machine, its calls of sbatch counted."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import roots
from tests.bench.launcher import launch
from tests.bench.measure import REPEATS, Measurement
from tests.slurm.cluster import Cluster, missing
from tests.slurm.settings import Options

CELLS = 1_000


def to_slurm() -> Iterator[Measurement]:
    """Each time into an empty run root; the only node is drained, so nothing of it runs."""
    if missing():
        return
    folder = Path(tempfile.mkdtemp(prefix="spikegrid-bench-slurm-", dir="/tmp"))
    folder.chmod(0o755)
    cluster = Cluster(folder / "c", Options(nodes=1))
    try:
        cluster.start()
        node = f"nodename={cluster.nodes[0]}"
        cluster.run("scontrol", "update", node, "state=drain", "reason=bench")
        times, calls = [], []
        for turn in range(1 + REPEATS):  # the first warms the caches
            seconds, count = _submit(cluster, folder / f"runs-{turn}", folder)
            times.append(seconds)
            calls.append(float(count))
        what = f"submit to SLURM, {CELLS:,} cells"
        yield Measurement(what=what, unit="s", values=tuple(times[1:]), target=2.0)
        what = f"sbatch calls, {CELLS:,} cells"
        yield Measurement(what=what, unit="calls", values=tuple(calls[1:]), target=2.0)
    finally:
        cluster.stop()
        shutil.rmtree(folder)


def _submit(cluster: Cluster, root: Path, folder: Path) -> tuple[float, int]:
    """Seconds of one submission, and how often it called sbatch."""
    log = folder / "calls"
    log.write_text("")
    env = {**cluster.env, "PATH": f"{_counting(folder)}{os.pathsep}{cluster.env['PATH']}"}
    manifest = roots.manifest(folder, CELLS)
    done = launch("submit", str(manifest), "--root", str(root), "--cluster", "slurm", env=env)
    if f"sent {CELLS:,} tasks" not in done.output:
        raise RuntimeError(f"submit: did not send {CELLS:,} tasks: {done.output}")
    cluster.run("scancel", "--partition=main")
    return done.seconds, log.read_text().count("\n")


def _counting(folder: Path) -> Path:
    """A folder with an sbatch that leaves a line, then is the real one."""
    path = folder / "bin" / "sbatch"
    if not path.exists():
        path.parent.mkdir()
        real = shutil.which("sbatch")
        path.write_text(f'#!/bin/sh\necho >> {folder}/calls\nexec {real} "$@"\n')
        path.chmod(0o755)
    return path.parent
