"""Faults, each done to a live process that is in a known phase."""

import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from jobs import files, processes, records
from jobs.processes import Process
from tests.faults.live import STRAY, Phase, Worker, queue
from tests.faults.toy import PATIENCE_S, RECORDS, Toy, limit_files, whole
from tests.system.conftest import until

SMALL = 16 * 1024
"""Logs and small files fit, checkpoints do not."""
TORN = b'{"event":"sav'

Harm = Callable[[Toy, Worker, random.Random], bool]
"""Does it; False if it hit nothing. The rank is frozen before, and goes on afterwards."""


def _gone(worker: Worker) -> bool:
    until(lambda: not worker.alive, "the end of a rank", PATIENCE_S)
    return True


def _killed(which: Callable[[Worker], Process]) -> Harm:
    def harm(toy: Toy, worker: Worker, rng: random.Random) -> bool:
        del toy, rng
        os.kill(which(worker).pid, signal.SIGKILL)
        return _gone(worker)

    return harm


def kill_queue(toy: Toy, worker: Worker, rng: random.Random) -> bool:
    """The jobs go on; whoever comes next starts another queue."""
    del rng
    found = queue(toy.root)
    if found is not None:
        os.kill(found.pid, signal.SIGKILL)
        # another one that was just being started may take over
        until(lambda: not processes.alive(found), "the end of the queue", PATIENCE_S)
    worker.thaw()
    toy.resume()
    return found is not None


def terminate(toy: Toy, worker: Worker, rng: random.Random) -> bool:
    """As SLURM does: every process of the job is told."""
    del toy, rng
    for process in (worker.task, worker.agent, worker.rank):
        os.kill(process.pid, signal.SIGTERM)
    worker.thaw()
    return _gone(worker)


def user_signal(toy: Toy, worker: Worker, rng: random.Random) -> bool:
    """As submitit does before a time limit: the task is told."""
    del toy, rng
    os.kill(worker.task.pid, signal.SIGUSR2)
    worker.thaw()
    return _gone(worker)


def freeze(toy: Toy, worker: Worker, rng: random.Random) -> bool:
    """A rank that does nothing for a while is still one that runs, until its last record stands."""
    del rng
    label = next(files.read_lines(worker.files.claim))["label"]
    over = len(records.names(worker.cell)) == RECORDS
    assert toy.bench.states(toy.manifest)[label] == ("completed" if over else "running")
    worker.thaw()
    return True


def fill_disk(toy: Toy, worker: Worker, rng: random.Random) -> bool:
    """What the rank writes from now on fails; first what is big, later everything."""
    del toy, rng
    limit_files(worker.rank, 0 if worker.cell.training.exists() else SMALL)
    worker.thaw()
    _gone(worker)
    until(worker.files.end.exists, "the end of its attempt", PATIENCE_S)
    return "completed" not in worker.files.end.read_text()


def _damaged(spoil: Callable[[Path, random.Random], None]) -> Harm:
    def harm(toy: Toy, worker: Worker, rng: random.Random) -> bool:
        newest = worker.checkpoint()
        # one that is just being written has nothing yet that could be damaged
        whole_yet = newest is not None and (newest / "COMPLETE").exists()
        if newest is None or not whole_yet or worker.cell.training.exists():
            worker.thaw()
            return False
        spoil(newest, rng)
        with (toy.root.path / "spoilt").open("a") as file:
            file.write(f"{newest}\n")
        os.kill(worker.rank.pid, signal.SIGKILL)
        return _gone(worker)

    return harm


def _flip(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted(path for path in folder.iterdir() if path.name != "COMPLETE"))
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _truncate(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted(folder.iterdir()))
    os.truncate(path, rng.randrange(path.stat().st_size))


def _unfinish(folder: Path, rng: random.Random) -> None:
    del rng
    (folder / "COMPLETE").unlink()


def litter(toy: Toy, worker: Worker, rng: random.Random) -> bool:
    """What killed writers of other machines leave: temporary files, and lines torn in the middle."""
    del rng
    strew(toy, worker)
    worker.thaw()
    return True


def strew(toy: Toy, worker: Worker | None = None) -> None:
    """Rubbish beside everything that is read."""
    folders = [*toy.root.submissions.glob("*"), *toy.root.cells.glob("*/*"), toy.root.cache]
    if worker is not None:
        cell = worker.cell
        folders += [cell.checkpoints, cell.evaluations, cell.attempts, worker.files.folder]
    for folder in folders:
        if folder.exists():
            (folder / STRAY).write_bytes(TORN)
    lines = [*toy.root.submissions.glob("*/local.jsonl"), toy.root.index]
    if worker is not None:
        lines += [worker.files.events, worker.files.metrics]
    for path in lines:
        if path.exists():
            with path.open("ab") as file:
                file.write(TORN)


def kill_launcher(toy: Toy, worker: Worker, rng: random.Random) -> bool:
    """A resume that is killed at any moment, while a cell is in its phase."""
    process = toy.begin("resume", str(toy.manifest), "--cluster", "local")
    try:
        process.wait(rng.uniform(0.05, 0.8))
        hit = False
    except subprocess.TimeoutExpired:
        process.kill()
        hit = True
    process.communicate(timeout=PATIENCE_S)
    worker.thaw()
    return hit


ON_JOBS: dict[str, Harm] = {
    "kill rank": _killed(lambda worker: worker.rank),
    "kill agent": _killed(lambda worker: worker.agent),
    "kill task": _killed(lambda worker: worker.task),
    "kill queue": kill_queue,
    "kill launcher": kill_launcher,
    "SIGTERM": terminate,
    "SIGUSR2": user_signal,
    "SIGSTOP": freeze,
    "disk full": fill_disk,
    "bit flipped": _damaged(_flip),
    "truncated": _damaged(_truncate),
    "no COMPLETE": _damaged(_unfinish),
    "rubbish": litter,
}
OF_CHECKPOINTS = ("bit flipped", "truncated", "no COMPLETE")


def _kill_collector(toy: Toy, collector: subprocess.Popen[str]) -> bool:
    collector.kill()
    collector.communicate()
    whole(toy.root)
    return True


def _terminate_collector(toy: Toy, collector: subprocess.Popen[str]) -> bool:
    os.kill(collector.pid, signal.SIGTERM)
    os.kill(collector.pid, signal.SIGCONT)
    collector.communicate(timeout=PATIENCE_S)
    whole(toy.root)
    return collector.returncode != 0


def _freeze_collector(toy: Toy, collector: subprocess.Popen[str]) -> bool:
    whole(toy.root)
    return _end_well(collector)


def _second_collector(toy: Toy, collector: subprocess.Popen[str]) -> bool:
    assert toy.run("collect") == 0
    whole(toy.root)
    return _end_well(collector)


def _fill_disk_of_collector(toy: Toy, collector: subprocess.Popen[str]) -> bool:
    found = processes.identify(collector.pid)
    assert found is not None
    limit_files(found, 0)
    os.kill(collector.pid, signal.SIGCONT)
    said, _ = collector.communicate(timeout=PATIENCE_S)
    whole(toy.root)
    assert collector.returncode in {0, 3}, said
    return collector.returncode == 3


def _litter_beside_collector(toy: Toy, collector: subprocess.Popen[str]) -> bool:
    strew(toy)
    (toy.root.tables / STRAY).write_bytes(TORN)
    return _end_well(collector)


def _end_well(collector: subprocess.Popen[str]) -> bool:
    os.kill(collector.pid, signal.SIGCONT)
    said, _ = collector.communicate(timeout=PATIENCE_S)
    assert collector.returncode == 0, said
    return True


ON_COLLECTORS: dict[str, Callable[[Toy, subprocess.Popen[str]], bool]] = {
    "kill collector": _kill_collector,
    "two collectors": _second_collector,
    "SIGTERM": _terminate_collector,
    "SIGSTOP": _freeze_collector,
    "disk full": _fill_disk_of_collector,
    "rubbish": _litter_beside_collector,
}

ON_JOB_PHASES: tuple[Phase, ...] = ("train", "save", "evaluate", "record")


def pairs() -> list[tuple[str, Phase]]:
    """Every pair of fault and phase that can exist."""
    found: list[tuple[str, Phase]] = []
    for name in ON_JOBS:
        phases = ON_JOB_PHASES[:2] if name in OF_CHECKPOINTS else ON_JOB_PHASES
        found += [(name, phase) for phase in phases]
    return [*found, *((name, "collect") for name in ON_COLLECTORS)]


def why_not(fault: str, phase: Phase) -> str:
    """Why a pair cannot exist."""
    if phase == "collect":
        if fault in OF_CHECKPOINTS:
            return "collecting reads no checkpoint"
        return "a collector has no rank, agent, task, queue, launcher or user signal of its own"
    if fault in OF_CHECKPOINTS:
        return "a trained network has no step to go on from; a damaged network needs people"
    return "collectors collect"
