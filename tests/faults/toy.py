"""A small study that trains, saves, attacks and records within seconds, and what came out of it."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis.tables import load
from jobs import processes
from jobs.dispatch import ledger, local
from jobs.layout import RunRoot
from jobs.schema import TABLES, TableName
from tests.system.conftest import CHECKOUT, Bench, descendants, until

TOY = """\
version: 1
name: toy
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  epsilons: ["16/255", "32/255"]
  attacks: [fgsm, {name: pgd, steps: 2}, {name: pgd, steps: 30}]
  evaluation: {samples: 120, batch: 10}
grid:
  seed: [0, 1]
  regime:
    - {name: clean, epochs: 12, lr: 0.02}
    - {name: adversarial, epsilon: "16/255", epochs: 6, lr: 0.02}
resources: {mem_gb: 0.5}
"""
RECORDS = 4
"""Of each cell: clean, and one for each attack."""
COMPARED: tuple[TableName, ...] = ("results", "samples", "trainings", "gradients")
"""Attempts are what differs between a quiet run and another."""
PATIENCE_S = 600.0

Tables = Mapping[str, pd.DataFrame]


def checkout(folder: Path) -> Path:
    """A copy of the packages, so that all of a schedule runs one code."""
    for name in ("jobs", "snnlib", "analysis", "manifests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    shutil.copy(CHECKOUT / "launch.py", folder)
    return folder


class Toy:
    """The study in a run root of its own."""

    def __init__(self, folder: Path, code: Path) -> None:
        self.root = RunRoot(folder / "runs")
        self.root.path.mkdir(parents=True)
        self.manifest = folder / "toy.yaml"
        self.manifest.write_text(TOY)
        env = {**os.environ, "SPIKEGRID_ROOT": str(self.root.path), "HOME": str(folder)}
        env |= {"XDG_CONFIG_HOME": str(folder / "config"), "OMP_NUM_THREADS": "1"}
        env.pop("SPIKEGRID_SITE", None)
        self.bench = Bench(code, self.root, env)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a command of the launcher."""
        return subprocess.Popen(
            [sys.executable, str(self.bench.checkout / "launch.py"), *words],
            env=self.bench.env,
            cwd=self.root.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> int:
        """Run a command of the launcher; its exit code."""
        with self.begin(*words) as process:
            process.communicate(timeout=PATIENCE_S)
        return process.returncode

    def submit(self) -> None:
        """Send all cells to this machine's queue."""
        self.bench("submit", str(self.manifest), "--cluster", "local")

    def resume(self) -> None:
        """Send again what is unfinished, given up or not."""
        self.bench("resume", str(self.manifest), "--failed", "--cluster", "local")

    def finished(self) -> bool:
        """Whether all cells are completed."""
        return {*self.bench.states(self.manifest).values()} == {"completed"}

    def finish(self) -> None:
        """Resume until all is done."""
        for _ in range(6):
            until(lambda: not local.is_running(self.root), "the end of the queue", PATIENCE_S)
            if self.finished():
                return
            self.resume()
        raise AssertionError(f"never done: {self.bench.states(self.manifest)}")

    def tables(self) -> Tables:
        """What was collected, without what may differ between equal runs."""
        found: dict[str, pd.DataFrame] = {}
        for name in COMPARED:
            columns = [c.name for c in TABLES[name].columns if c.kind != "measured"]
            found[name] = load(name, self.root.path)[columns]
        return found

    def stop(self) -> None:
        """Leave nothing behind that runs, frozen or not."""
        for number in ledger.numbers(self.root):
            ledger.cancel(self.root.submission(number), None, time.time())
            for task in ledger.read(self.root, number).local.values():
                if not task.ended and processes.alive(task.process):
                    for pid in (*descendants(task.process.pid), task.process.pid):
                        os.kill(pid, signal.SIGKILL)
        until(lambda: not local.is_running(self.root), "the end of the queue", PATIENCE_S)


def compared(found: Tables, quiet: Tables) -> dict[str, int]:
    """How many rows of a study are lost, are there twice, or differ from a quiet run's."""
    tally = {"lost": 0, "doubled": 0, "different": 0}
    for name, wanted in quiet.items():
        keys = TABLES[_named(name)].names("key")
        here = pd.MultiIndex.from_frame(found[name][keys])
        tally["lost"] += len(pd.MultiIndex.from_frame(wanted[keys]).difference(here))
        tally["doubled"] += int(here.duplicated().sum())
        tally["different"] += not _equal(found[name], wanted)
    return tally


def _named(name: str) -> TableName:
    return next(known for known in TABLES if known == name)


def _equal(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    except AssertionError:
        return False
    return True


def limit_files(process: processes.Process, size: int) -> None:
    """No file of a process may grow beyond a size from now on, as if the disk were full."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def whole(root: RunRoot) -> None:
    """Every table that is there can be read."""
    for name in TABLES:
        if (root.tables / f"{name}.parquet").exists():
            load(name, root.path)
