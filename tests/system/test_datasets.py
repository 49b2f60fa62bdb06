"""A job whose data set is damaged says so, and what mends it."""

from pathlib import Path

import pytest

from snnlib.spec.data import FILES
from tests.system.conftest import Bench, attempts

MANIFEST = """\
version: 1
name: study
defaults:
  dataset: mnist
  model: {name: small, neuron: if}
  regime: {name: clean, epochs: 1}
cells: [{seed: 0}]
"""


pytestmark = pytest.mark.slow


def lay(folder: Path) -> None:
    for file in FILES["mnist"]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"torn")


def test_a_damaged_data_set_ends_in_3_and_waits_for_other_files(
    bench: Bench, tmp_path: Path
) -> None:
    study, data = tmp_path / "study.yaml", bench.root.path / "datasets"
    study.write_text(MANIFEST)
    lay(data)
    shown = bench("run", "mnist/small-if/clean/s0", "--manifest", str(study), code=3)
    tried = attempts.read(bench.cell(), 1)
    assert (tried.state, tried.deterministic) == ("failed", True)
    assert f"launch.py fetch mnist --data {data}" in tried.reason
    assert "DatasetMissing: mnist in " in shown
    bench("submit", str(study), "--cluster", "local")
    assert bench.states(study)["mnist/small-if/clean/s0"] == "failed"
    lay(data)
    assert "1 retry     failed (1 of 3)" in bench("plan", str(study))
