"""Attempts that run, frozen at the moment at which their own files show them to be in a phase."""

import os
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs import files, processes, records
from jobs.dispatch import local
from jobs.layout import AttemptFiles, CellFiles, RunRoot
from jobs.processes import Process
from tests.system.conftest import descendants, until

Phase = Literal["train", "save", "evaluate", "record", "collect"]
STRAY = f"{files.TEMPORARY}stray"
_LOOK_S = 0.002
_SEARCH_S = 0.3


@dataclass(frozen=True)
class Worker:
    """An attempt that runs, with the processes that make it."""

    cell: CellFiles
    number: int
    since: float
    task: Process
    agent: Process
    rank: Process

    @property
    def files(self) -> AttemptFiles:
        return self.cell.attempt(self.number)

    @property
    def alive(self) -> bool:
        return bool(processes.alive(self.rank))

    def phase(self) -> Phase | None:
        """What it does, by its files; None while it starts and once it has ended."""
        if not self.files.environment.exists() or self.files.end.exists():
            return None
        if self._in_the_making(self.cell.checkpoints):
            return "save"
        events = list(files.read_lines(self.files.events))
        told = sum(event["event"] == "recorded" for event in events)
        if self._in_the_making(self.cell.evaluations) or self._recorded() > told:
            return "record"
        began = any(event["event"] == "resumed" for event in events)
        began = began or self.files.metrics.exists()
        if not self.cell.training.exists():
            return "train" if began else None
        return "evaluate" if began or told or self._own_batches() else None

    def _in_the_making(self, folder: Path) -> bool:
        return any(
            name.startswith(files.TEMPORARY) and name != STRAY and _age(folder / name) > self.since
            for name in _names(folder)
        )

    def _recorded(self) -> int:
        return sum(
            _age(self.cell.evaluations / name) > self.since for name in records.names(self.cell)
        )

    def _own_batches(self) -> bool:
        own = self.cell.finished_batches("*", self.number, 0)
        return any(self.cell.evaluations.glob(f"*.partial/{own.name}"))

    def freeze(self) -> bool:
        """Stop its rank; False if that has ended."""
        if not self.alive:
            return False
        os.kill(self.rank.pid, signal.SIGSTOP)
        until(lambda: _letter(self.rank.pid) in "TtZX", "the stop of a rank", 30)
        return self.alive

    def thaw(self) -> None:
        """Let its rank go on."""
        if self.alive:
            os.kill(self.rank.pid, signal.SIGCONT)

    def checkpoint(self) -> Path | None:
        """The newest folder of a step."""
        found = self.cell.checkpoints.glob("step-*")
        return max(found, key=lambda path: path.name.split(".a")[::-1], default=None)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _age(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except FileNotFoundError:
        return 0.0


def _letter(pid: int) -> str:
    """State of a process; X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def workers(root: RunRoot, ranks: int = 1) -> Iterator[Worker]:
    """Attempts of this machine all of whose ranks run; the last one stands for all."""
    for path in root.cells.glob("*/*/attempts/*/claim.json"):
        claim = next(files.read_lines(path), None)
        if claim is None or AttemptFiles(path.parent).end.exists():
            continue
        task = Process.of(claim)
        below = descendants(task.pid) if processes.alive(task) else []
        if len(below) == 1 + ranks:
            agent, rank = map(processes.identify, (below[0], below[-1]))
            if agent and rank:
                cell = CellFiles(path.parents[2])
                number = int(path.parent.name)
                yield Worker(cell, number, claim["claimed"], task, agent, rank)


def frozen_in(
    root: RunRoot, phases: Collection[Phase], epochs: int, within_s: float
) -> tuple[Worker, Phase] | None:
    """The first attempt that comes to one of some phases, stopped there; None if none does.

    Args:
        root: the run root.
        phases: wanted.
        epochs: of a training that must be over before it counts.
        within_s: seconds to wait.
    """
    now = time.monotonic()
    deadline, searched = now + within_s, 0.0
    found: list[Worker] = []
    while (now := time.monotonic()) < deadline:
        if now - searched > _SEARCH_S:
            found, searched = list(workers(root)), now
            if not found and not local.is_running(root):
                return None
        for worker in found:
            if _wanted(worker, phases, epochs) and worker.freeze():
                phase = _wanted(worker, phases, epochs)
                if phase is not None:
                    return worker, phase
                worker.thaw()
        time.sleep(_LOOK_S)
    return None


def _wanted(worker: Worker, phases: Collection[Phase], epochs: int) -> Phase | None:
    phase = worker.phase()
    if phase == "train" and len(list(files.read_lines(worker.files.metrics))) < epochs:
        return None
    return phase if phase in phases else None


def queue(root: RunRoot) -> Process | None:
    """The process of this machine's queue."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"jobs.dispatch.local" in words and str(root.path.resolve()).encode() in words:
            return processes.identify(int(path.parent.name))
    return None
