"""`submit` and `resume` with a real SLURM of this machine, whose commands are counted."""

import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import roots
from tests.bench.launcher import launch
from tests.bench.measure import Measurement, Run
from tests.slurm.cluster import Cluster, missing
from tests.slurm.settings import Options

CELLS = 5_000
FINISHED, MISSING = 10_000, 100
REPEATS = 3
COUNTED = ("sbatch", "squeue", "sacct", "scontrol")


@dataclass(frozen=True)
class Site:
    """A cluster whose only node is drained, so that nothing that is sent to it ever runs.

    Attributes:
        cluster: with accounting where this machine has what it takes.
        folder: of this bench; removed afterwards.
    """

    cluster: Cluster
    folder: Path

    def call(self, *words: str) -> tuple[Run, Counter[str]]:
        """A command of the launcher, and how often it called each command of SLURM."""
        log = self.folder / "calls"
        log.write_text("")
        path = f"{self.folder}/bin{os.pathsep}{self.cluster.env['PATH']}"
        # a home of its own: answers of the scheduler are kept there
        env = {**self.cluster.env, "PATH": path, "HOME": str(self.folder)}
        env.pop("XDG_CACHE_HOME", None)
        return launch(*words, env=env), Counter(log.read_text().split())

    def queued(self) -> int:
        """Tasks that the controller has on record."""
        return len(self.cluster.run("squeue", "--array", "--noheader", "--format=%i").split())

    def empty(self) -> None:
        """Cancel everything."""
        self.cluster.run("scancel", "--partition=main")


@contextmanager
def site() -> Iterator[Site | None]:
    """A running cluster; None where SLURM is not installed."""
    if missing():
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="spikegrid-bench-slurm-", dir="/tmp"))
    folder.chmod(0o755)  # sockets need a short path
    cluster = Cluster(folder / "c", Options(nodes=1, accounting=not missing(accounting=True)))
    for name in COUNTED:
        _count(folder, name)
    try:
        cluster.start()
        node = f"nodename={cluster.nodes[0]}"
        cluster.run("scontrol", "update", node, "state=drain", "reason=bench")
        yield Site(cluster, folder)
    finally:
        cluster.stop()
        shutil.rmtree(folder)


def _count(folder: Path, name: str) -> None:
    """Put a command on the PATH that leaves a line, then is the real one."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    real = shutil.which(name)
    path.write_text(f'#!/bin/sh\necho {name} >> {folder}/calls\nexec {real} "$@"\n')
    path.chmod(0o755)


def submit(where: Site, cells: int, turn: int) -> tuple[Run, Counter[str]]:
    """Send a grid of so many cells from an empty run root; all of it must reach the controller."""
    root = where.folder / f"runs-{cells}-{turn}"
    manifest = str(roots.manifest(where.folder, cells))
    done = where.call("submit", manifest, "--root", str(root), "--cluster", "slurm")
    if where.queued() != cells:
        raise RuntimeError(f"submit: {where.queued()} of {cells} tasks arrived: {done[0].output}")
    return done


def to_slurm() -> Iterator[Measurement]:
    """Seconds of a large submission, and calls of it and of the refresh that follows."""
    with site() as where:
        if where is None:
            return
        sent, refreshed = [], []
        for turn in range(1 + REPEATS):  # the first warms the caches
            sent.append(submit(where, CELLS, turn))
            root = str(where.folder / f"runs-{CELLS}-{turn}")
            refreshed.append(where.call("resume", "--root", root)[1])
            where.empty()
        what = f"submit to SLURM, {CELLS:,} cells"
        times = tuple(run.seconds for run, _ in sent[1:])
        yield Measurement(what=what, unit="s", values=times, target=3.0)
        arrays = math.ceil(CELLS / where.cluster.options.max_array_size)
        yield _calls("submit", "sbatch", [calls for _, calls in sent], most=arrays)
        for name in ("squeue", "sacct"):
            yield _calls("submit", name, [calls for _, calls in sent], most=1)
            yield _calls("a refresh", name, refreshed, most=1)
        yield _calls("a refresh", "sbatch", refreshed, most=0)


def _link(source: str, target: str) -> str:
    """A copy that shares the content: nothing of a run root that is over is changed in place."""
    if Path(source).parent.name == "cache":
        return shutil.copy2(source, target)
    try:
        os.link(source, target)
    except OSError:  # on another filesystem
        return shutil.copy2(source, target)
    return target


def _calls(what: str, name: str, counts: list[Counter[str]], *, most: int) -> Measurement:
    values = tuple(float(calls[name]) for calls in counts)
    return Measurement(what=f"{name} calls of {what}", unit="calls", values=values, target=most + 1)


def resumed() -> Iterator[Measurement]:
    """Tasks that the controller has after the resume of a study in which some cells are missing."""
    with site() as where:
        if where is None:
            return
        root = roots.finished(FINISHED, MISSING)
        words = ("resume", str(root.manifest), "--cluster", "slurm", "--root")
        copy = where.folder / "runs"
        shutil.copytree(root.path, copy, copy_function=_link)
        done, calls = where.call(*words, str(copy))
        what = f"{MISSING:,} of {FINISHED:,} cells missing: tasks that a resume sends"
        sent = (float(where.queued()),)
        yield Measurement(what=what, unit="", values=sent, target=MISSING + 1, at_least=MISSING)
        yield Measurement(what="resume of these", unit="s", values=(done.seconds,))
        again, calls = where.call(*words, str(copy))
        more = (float(where.queued() - sent[0]),)
        yield Measurement(what="tasks that a second one sends", unit="", values=more, target=1)
        yield Measurement(what="the second one", unit="s", values=(again.seconds,))
        yield _calls("the second one", "squeue", [calls], most=1)
