"""A suite with real processes: killed in the middle, on one and two ranks, in any list of attacks."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from jobs import processes
from jobs.dispatch import local
from jobs.layout import RunRoot
from tests.system.conftest import CHECKOUT, Bench, until
from tests.system.test_evaluation import events, kept, lines, manifest, submit, tree

pytestmark = pytest.mark.proof

ATTACKS = "autoattack, fgsm, {name: pgd, steps: 10}"
PERMUTED = "{name: pgd, steps: 10}, fgsm, autoattack"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a study finds that nobody disturbs, on one rank."""
    folder = tmp_path_factory.mktemp("quiet")
    root = RunRoot(folder / "runs")
    root.path.mkdir()
    alone = Bench(CHECKOUT, root, {**os.environ, "SPIKEGRID_ROOT": str(root.path)}, patience_s=1800)
    submit(alone, manifest(folder, ranks=1, attack=ATTACKS), "--wait")
    until(lambda: not local.is_running(root), "the end of the queue")
    return alone.results()


@pytest.mark.parametrize(("ranks", "again"), [(1, 1), (2, 1), (1, 2)])
def test_a_killed_suite_ends_in_the_same_counts(
    bench: Bench, tmp_path: Path, quiet: dict[str, Any], ranks: int, again: int
) -> None:
    bench.patience_s = 1800
    submit(bench, manifest(tmp_path, ranks=ranks, attack=ATTACKS))
    until(lambda: list(bench.root.cells.glob("*/*")), "the claim")
    cell = bench.cell()
    until(lambda: len(kept(cell)) == ranks and lines(cell) > 2, "some batches of the suite", 900)
    doomed = tree(bench)
    os.kill(doomed[0].pid, signal.SIGKILL)
    until(lambda: not any(map(processes.alive, doomed)), "the end of all ranks", 10)
    done = lines(cell)
    bench("resume", manifest(tmp_path, ranks=again, attack=PERMUTED), "--wait")
    assert events(cell, 2, "resumed")[0]["done"] == done
    assert bench.results() == quiet
