"""A suite with real processes: killed in the middle, on one and two ranks, in any list of attacks."""

import shutil
from pathlib import Path

import pytest

from tests.system.conftest import Bench, until
from tests.system.test_evaluation import (
    Quiet,
    events,
    kept,
    killed,
    lines,
    manifest,
    submit,
    undisturbed,
)

pytestmark = pytest.mark.proof

SUITE = "{name: autoattack, steps: 60, queries: 3000}"
ATTACKS = f"{SUITE}, fgsm, {{name: pgd, steps: 10}}"
PERMUTED = f"{{name: pgd, steps: 10}}, fgsm, {SUITE}"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    return undisturbed(tmp_path_factory.mktemp("quiet"), ATTACKS)


@pytest.mark.parametrize(("ranks", "again"), [(1, 1), (2, 1), (1, 2)])
def test_a_killed_suite_ends_in_the_same_counts(
    bench: Bench, tmp_path: Path, quiet: Quiet, ranks: int, again: int
) -> None:
    shutil.copytree(quiet.cells, bench.root.cells)
    submit(bench, manifest(tmp_path, ranks=ranks, attack=ATTACKS))
    cell = bench.cell()
    until(lambda: len(kept(cell)) == ranks and lines(cell) > 2, "some batches of the suite")
    done = killed(bench)
    bench("resume", manifest(tmp_path, ranks=again, attack=PERMUTED), "--wait")
    assert events(cell, 2, "resumed")[0]["done"] == done
    assert bench.results() == quiet.found
