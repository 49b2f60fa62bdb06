"""`audit`: from a trained manifest that asks for none to verdicts, on this machine."""

from pathlib import Path

import pytest

import analysis
from snnlib.spec.audit import LIMITS, VERDICTS
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

STUDY = """version: 1
name: audited
defaults:
  dataset: digits
  model: {name: small, neuron: relu, time_steps: 1}
  regime: {name: clean, epochs: 2, lr: 0.005}
  evaluation: {samples: 20}
grid: {seed: [0, 1]}
resources: {mem_gb: 0.5}
"""
LOCAL = ("--cluster", "local", "--wait")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "audited.yaml"
    path.write_text(STUDY)
    return path


def test_what_is_trained_is_audited_without_being_asked_in_the_manifest(
    bench: Bench, study: Path
) -> None:
    bench("audit", str(study), code=2)  # nothing is trained
    bench("submit", str(study), "--only", "seed=0", *LOCAL)
    assert "1 audit" in bench("audit", str(study), "--dry-run")
    found = bench("audit", str(study), *LOCAL)
    label, verdict, *_ = found.splitlines()[-2].split()
    assert (label, verdict.rstrip(";") in VERDICTS) == ("digits/small-relu/clean/s0", True)
    assert "nothing to send" in bench("audit", str(study))
    assert "stage audit: 100 images" in bench("show", "digits/small-relu/clean/s0")
    bench("collect")
    table = analysis.load("audits", bench.root.path)
    assert set(table["item"]) == LIMITS.keys() - {"eot"}
    assert table["training_id"].nunique() == 1


def test_the_manifest_itself_stays_what_it_was(bench: Bench, study: Path) -> None:
    bench("submit", str(study), "--only", "seed=0", *LOCAL)
    bench("audit", str(study), *LOCAL)
    states = bench.states(study)
    assert states == {
        "digits/small-relu/clean/s0": "completed",
        "digits/small-relu/clean/s1": "new",
    }
    assert "audit" not in bench("plan", str(study)).replace("audited", "")
