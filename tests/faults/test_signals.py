"""Signals, deaths and errors of trainings with real processes; what remains is what should."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, files, processes
from jobs.dispatch import ledger, local
from jobs.layout import CellFiles
from tests.faults.live import Worker, queue, workers
from tests.system.conftest import Bench, until

pytestmark = pytest.mark.slow

MANIFEST = """\
version: 1
name: two
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  regime: {name: clean, epochs: EPOCHS, lr: 0.02}
  epsilons: ["16/255"]
  attacks: [fgsm]
  evaluation: {samples: 40}
cells: CELLS
resources: {processes_per_node: RANKS, mem_gb: 0.5}
"""
FREE = "preempted (1 of 20), go on from step"
WITHIN_S = 300.0


def manifest(folder: Path, *, ranks: int = 1, epochs: int = 20, cells: str = "[{}]") -> Path:
    path = folder / "two.yaml"
    text = MANIFEST.replace("EPOCHS", f"{epochs}").replace("RANKS", f"{ranks}")
    path.write_text(text.replace("CELLS", cells))
    return path


def submit(bench: Bench, study: Path, *more: str) -> None:
    bench("submit", str(study), "--cluster", "local", *more)


def at_work(bench: Bench, ranks: int = 1) -> Worker:
    """The attempt that trains, once an epoch is over."""
    found: list[Worker] = []

    def training() -> bool:
        found[:] = [w for w in workers(bench.root, ranks) if w.files.metrics.exists()]
        return bool(found)

    until(training, "an epoch", WITHIN_S)
    return found[0]


def saved(bench: Bench, number: int = 1) -> list[int]:
    lines = files.read_lines(bench.cell().attempt(number).events)
    return [line["step"] for line in lines if line["event"] == "saved"]


def to_all(worker: Worker) -> None:
    for process in (worker.task, worker.agent, worker.rank):
        os.kill(process.pid, signal.SIGTERM)


def to_the_agent(worker: Worker) -> None:
    os.kill(worker.agent.pid, signal.SIGUSR2)


@pytest.mark.parametrize("send", [to_all, to_the_agent])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_saves_within_one_step(
    bench: Bench, tmp_path: Path, ranks: int, send: Callable[[Worker], None]
) -> None:
    study = manifest(tmp_path, ranks=ranks, epochs=200)
    submit(bench, study)
    worker = at_work(bench, ranks)
    send(worker)
    until(worker.files.end.exists, "its end", WITHIN_S)
    end: dict[str, Any] = files.read_json(worker.files.end)
    assert (end["state"], end["advanced"]) == ("preempted", True)
    assert end["step"] == saved(bench)[-1]
    until(lambda: not local.is_running(bench.root), "the end of the queue", WITHIN_S)
    assert FREE in bench("plan", str(study))


def test_one_rank_of_two_dies(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, ranks=2, epochs=25)
    submit(bench, study)
    until(lambda: list(bench.root.cells.glob("*/*/checkpoints/step-*")), "a checkpoint", WITHIN_S)
    worker = at_work(bench, 2)
    os.kill(worker.rank.pid, signal.SIGKILL)
    until(worker.files.end.exists, "its end", WITHIN_S)
    first = attempts.read(bench.cell(), 1)
    assert (first.state, first.deterministic, first.advanced) == ("failed", False, True)
    submit(bench, study, "--wait")
    assert next(files.read_lines(bench.cell().attempt(2).events))["event"] == "resumed"
    found = bench.results()
    quiet = tmp_path / "quiet"
    submit(bench, study, "--wait", "--root", str(quiet))
    bench.root = type(bench.root)(quiet)
    assert found == bench.results()


def test_an_attempt_that_was_overtaken_stops(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=400)
    submit(bench, study)
    worker = at_work(bench)
    assert attempts.take(bench.cell()) == 2
    until(worker.files.end.exists, "its end", WITHIN_S)
    assert attempts.read(bench.cell(), 1).state == "fenced"
    before = saved(bench)
    until(lambda: not processes.alive(worker.rank), "the end of its rank", WITHIN_S)
    assert saved(bench) == before
    until(lambda: not local.is_running(bench.root), "the end of the queue", WITHIN_S)
    assert "retry" in bench("plan", str(study))


def test_an_attempt_that_slept_through_its_successor(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=40)
    submit(bench, study)
    zombie = at_work(bench)
    assert zombie.freeze()
    try:
        _bury(bench, zombie)
        bench("resume", str(study), "--cluster", "local", "--wait")
        found, names = bench.results(), sorted(bench.cell().evaluations.iterdir())
    finally:
        zombie.thaw()
    until(zombie.files.end.exists, "its end", WITHIN_S)
    assert [attempts.read(bench.cell(), n).state for n in (1, 2)] == ["fenced", "completed"]
    assert bench.results() == found
    assert sorted(bench.cell().evaluations.iterdir()) == names


def _bury(bench: Bench, zombie: Worker) -> None:
    """Have everybody believe that an attempt on another node is over."""
    known = queue(bench.root)
    assert known is not None
    os.kill(known.pid, signal.SIGKILL)
    until(lambda: not local.is_running(bench.root), "the end of the queue", WITHIN_S)
    ledger.ended(bench.root.submission(1), 0, time.time())
    elsewhere = {**files.read_json(zombie.files.claim), "host": "elsewhere"}
    files.replace(zombie.files.claim, files.dumps(elsewhere))


CRASH = """

_sound = attack_batch


def attack_batch(model, attack, radii, batch, *, seed, **more):
    if attack.name == "fgsm" and seed == 7:
        raise MemoryError("too large")
    if attack.name == "fgsm" and seed == 8:
        raise ConnectionError("the attack broke")
    return _sound(model, attack, radii, batch, seed=seed, **more)
"""
CELLS = "[{}, {seed: 1, evaluation.seed: 7}, {seed: 2, evaluation.seed: 8}]"


def test_errors_of_some_cells_leave_the_others(
    bench: Bench, own_checkout: Path, tmp_path: Path
) -> None:
    path = own_checkout / "snnlib/evaluate.py"
    path.write_text(path.read_text() + CRASH)
    study = manifest(tmp_path, epochs=1, cells=CELLS)
    bench("submit", str(study), "--cluster", "local", "--wait", code=1)
    assert sorted(bench.states(study).values()) == ["completed", "failed", "given_up"]
    tried = {}
    for folder in bench.root.cells.glob("*/*"):
        cell = CellFiles(folder)
        spec = files.read_json(cell.spec)
        tried[spec["seed"]] = [attempts.read(cell, n).state for n in attempts.numbers(cell)]
    assert tried == {0: ["completed"], 1: ["out_of_memory"], 2: ["failed"] * 3}
    status = bench("status", str(study), "--by", "error")
    assert "MemoryError" in status
    assert "ConnectionError" in status
