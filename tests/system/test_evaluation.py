"""Long attacks with real processes: killed, stopped, slow; they go on where they were."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, files, processes
from jobs.dispatch import local
from jobs.layout import CellFiles, RunRoot
from jobs.running import partial
from tests.system.conftest import CHECKOUT, Bench, descendants, job_process, until

pytestmark = pytest.mark.slow

MANIFEST = """\
version: 1
name: long
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  regime: {name: clean, epochs: 1, lr: 0.02}
  epsilons: ["16/255", "32/255"]
  attacks: [ATTACK]
  evaluation: {samples: 120, batch: 10}
cells: [{}]
resources: {processes_per_node: RANKS, mem_gb: 0.5}
"""
LONG = "{name: pgd, steps: 80}"
TURNS = 24
"""12 batches, each at two radii."""
ENDLESS = "fgsm, {name: pgd, steps: 10000000}"
"""A batch of it would take days; it begins when the other attack is recorded."""


@dataclass
class Quiet:
    """A study that nobody disturbed.

    Attributes:
        cells: its cells, with their network and the record of its clean samples alone.
        found: all that it found.
    """

    cells: Path
    found: dict[str, Any]


def undisturbed(folder: Path, attack: str) -> Quiet:
    """Run a study of some attacks on one rank; afterwards only its network is there."""
    root = RunRoot(folder / "runs")
    root.path.mkdir()
    alone = Bench(CHECKOUT, root, {**os.environ, "SPIKEGRID_ROOT": str(root.path)})
    submit(alone, manifest(folder, ranks=1, attack=attack), "--wait")
    until(lambda: not local.is_running(root), "the end of the queue")
    found = alone.results()
    for path in root.cells.glob("*/*/evaluations/*.json"):
        if files.read_json(path)["attack"]["name"] != "clean":
            path.unlink()
    shutil.rmtree(alone.cell().attempts)
    return Quiet(root.cells, found)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    return undisturbed(tmp_path_factory.mktemp("quiet"), LONG)


@pytest.fixture
def trained(bench: Bench, quiet: Quiet) -> Bench:
    """A run root where the network is trained and only the attack is missing."""
    shutil.copytree(quiet.cells, bench.root.cells)
    return bench


def manifest(folder: Path, *, ranks: int, attack: str = LONG) -> str:
    path = folder / "long.yaml"
    path.write_text(MANIFEST.replace("ATTACK", attack).replace("RANKS", str(ranks)))
    return str(path)


def submit(bench: Bench, study: str, *more: str) -> None:
    bench("submit", study, "--cluster", "local", *more)


def kept(cell: CellFiles) -> list[Path]:
    """Files of finished batches of the attack that runs."""
    return sorted(cell.evaluations.glob("*.partial/a*.jsonl"))


def lines(cell: CellFiles) -> int:
    """Finished batches on disk."""
    return sum(len(partial.decode(path.read_bytes())[0]) - 1 for path in kept(cell))


def events(cell: CellFiles, number: int, what: str) -> list[dict[str, Any]]:
    found = files.read_lines(cell.attempt(number).events)
    return [line for line in found if line["event"] == what]


def tree(bench: Bench) -> list[processes.Process]:
    """The job and everything below it."""
    controller = job_process(bench.root)
    pids = [controller.pid, *descendants(controller.pid)]
    return [p for pid in pids if (p := processes.identify(pid))]


def agent(bench: Bench) -> processes.Process:
    """The process that started the ranks."""
    return [p for p in tree(bench) if descendants(p.pid)][-1]


def killed(bench: Bench) -> int:
    """Kill the job and wait until all its ranks are gone; the batches that are finished then."""
    doomed = tree(bench)
    os.kill(doomed[0].pid, signal.SIGKILL)
    until(lambda: not any(map(processes.alive, doomed)), "the end of all ranks", 5)
    return lines(bench.cell())


@pytest.mark.parametrize(
    ("ranks", "again"),
    [(2, 1), *(pytest.param(n, n, marks=pytest.mark.proof) for n in (1, 2))],
)
def test_a_killed_attack_goes_on_where_it_was(
    trained: Bench, tmp_path: Path, quiet: Quiet, ranks: int, again: int
) -> None:
    submit(trained, manifest(tmp_path, ranks=ranks))
    cell = trained.cell()
    until(lambda: len(kept(cell)) == ranks and lines(cell) > 1, "some batches of each rank")
    done = killed(trained)
    assert attempts.read(cell, 1).advanced
    trained("resume", manifest(tmp_path, ranks=again), "--wait")
    assert events(cell, 2, "resumed")[0]["done"] == done
    assert events(cell, 2, "recorded")[-1]["batches"] == TURNS - done
    assert trained.results() == quiet.found
    assert list(cell.evaluations.glob("*.partial")) == []


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_ends_an_attack_in_the_middle_of_a_batch(
    trained: Bench, tmp_path: Path, ranks: int
) -> None:
    submit(trained, manifest(tmp_path, ranks=ranks, attack=ENDLESS))
    cell = trained.cell()
    until(lambda: len(list(cell.evaluations.glob("*.json"))) == 2, "the start of the attack")
    os.kill(agent(trained).pid, signal.SIGUSR2)
    until(cell.attempt(1).end.exists, "its end", 30)
    assert attempts.read(cell, 1).state == "preempted"


def test_a_rank_that_dies_leaves_what_both_have_finished(trained: Bench, tmp_path: Path) -> None:
    submit(trained, manifest(tmp_path, ranks=2))
    cell = trained.cell()
    until(lambda: len(kept(cell)) == 2, "some batches of each rank")
    before = lines(cell)
    os.kill(descendants(agent(trained).pid)[-1], signal.SIGKILL)
    until(cell.attempt(1).end.exists, "its end", 30)
    tried = attempts.read(cell, 1)
    assert (tried.state, tried.advanced, tried.deterministic) == ("failed", True, False)
    assert "has died" in tried.reason
    assert lines(cell) >= before


SLOW = """

_quick, _slept = attack_batch, []


def attack_batch(model, attack, *args, **more):
    import os, time

    if attack.name == "fgsm" and os.environ["RANK"] == "1" and not _slept:
        _slept.append(time.sleep(12))
    return _quick(model, attack, *args, **more)
"""


def test_a_rank_slower_than_a_collective_waits(
    trained: Bench, own_checkout: Path, tmp_path: Path
) -> None:
    edit(own_checkout / "snnlib/evaluate.py", lambda text: text + SLOW)
    edit(
        own_checkout / "snnlib/distributed.py",
        lambda text: text.replace("timeout_s: float = 120", "timeout_s: float = 8"),
    )
    submit(trained, manifest(tmp_path, ranks=2, attack="fgsm"), "--wait")
    assert attempts.read(trained.cell(), 1).state == "completed"


def edit(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
