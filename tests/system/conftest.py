"""A checkout of its own, a run root of its own, and the command line as a user types it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, files, processes, records
from jobs.dispatch import ledger, local
from jobs.layout import CellFiles, RunRoot

CHECKOUT = Path(__file__).resolve().parent.parent.parent
WITHIN_S = 120.0


@dataclass
class Bench:
    """One user at one run root.

    Attributes:
        checkout: where launch.py is started.
        root: the run root.
        env: of every command.
    """

    checkout: Path
    root: RunRoot
    env: dict[str, str]

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command; its output, after checking how it ended."""
        command = [sys.executable, str(self.checkout / "launch.py"), *words]
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=300, cwd=self.root.path
        )
        assert done.returncode == code, f"{words} ended with {done.returncode}\n{done.stderr}"
        return done.stdout

    def states(self, manifest: Path) -> dict[str, str]:
        """Label → state."""
        document: dict[str, Any] = json.loads(self("status", str(manifest), "--json"))
        cells = document["manifests"][0]["cells"]
        return {cell["label"]: cell["state"] for cell in cells}

    def cell(self, number: int = 0) -> CellFiles:
        """Files of the n-th training that has a folder."""
        found = sorted(self.root.cells.glob("*/*"))
        return CellFiles(found[number])

    def ends(self) -> list[str]:
        """How the attempts so far ended."""
        found = self.root.cells.glob("*/*/attempts/*/end.json")
        return [files.read_json(path)["state"] for path in found]

    def finish(self, cells: int, within_s: float) -> None:
        """Wait until so many cells are completed, or one is not."""
        until(lambda: len(self.ends()) == cells or {*self.ends()} - {"completed"}, "end", within_s)
        assert self.ends() == ["completed"] * cells

    def results(self) -> dict[str, Any]:
        """All that must be equal in two equal studies: masks, counts, weights."""
        found: dict[str, Any] = {}
        for folder in sorted(self.root.cells.glob("*/*")):
            for _, record in records.valid(CellFiles(folder)):
                key = f"{record.training_id} {record.attack_id}"
                found[key] = (record.model_sha256, record.samples_sha256, record.rows)
        return found


def until(true: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + within_s
    while True:
        looked = time.monotonic()
        if true():
            return
        now = time.monotonic()
        assert now < deadline, f"{what} did not come true in {within_s:g} s"
        # a look through the launcher takes a core from what it waits for
        time.sleep(max(0.05, 2 * (now - looked)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = RunRoot(tmp_path / "runs")
    root.path.mkdir()
    env = {
        **os.environ,
        "SPIKEGRID_ROOT": str(root.path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "HOME": str(tmp_path),
    }
    env.pop("SPIKEGRID_SITE", None)
    yield Bench(CHECKOUT, root, env)
    _stop_everything(root)


def _stop_everything(root: RunRoot) -> None:
    """Cancel what a failed test left, so that nothing outlives it."""
    for number in ledger.numbers(root):
        ledger.cancel(root.submission(number), None, time.time())
    until(lambda: not local.is_running(root), "the end of the queue", 150)


@pytest.fixture
def own_checkout(bench: Bench, tmp_path: Path) -> Path:
    """A copy of the checkout that a test may edit."""
    copy = tmp_path / "checkout"
    for name in ("jobs", "snnlib", "analysis", "manifests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, copy / name, ignore=ignored)
    shutil.copy(CHECKOUT / "launch.py", copy)
    bench.checkout = copy
    return copy


def job_process(root: RunRoot) -> processes.Process:
    """The controller of the first local task that runs."""
    submission = ledger.read(root, 1)
    return next(task.process for task in submission.local.values() if not task.ended)


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] not in "ZX":
            child = int(path.parent.name)
            found += [child, *descendants(child)]
    return found


__all__ = ["Bench", "attempts", "descendants", "files", "job_process", "until"]
