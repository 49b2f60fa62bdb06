"""A transfer attack from an ANN twin, on this machine: the twin is trained first, by itself."""

from pathlib import Path

import pytest

from jobs import files, records
from jobs.expand import manifest
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

STUDY = """version: 1
name: transfer
defaults:
  dataset: digits
  model: {name: small, neuron: lif, time_steps: 2}
  epsilons: ["32/255"]
  evaluation: {samples: 40}
cells:
  - {regime: {name: clean, epochs: 1, lr: 0.02}, attacks: [fgsm]}
resources: {mem_gb: 0.5}
"""
TWIN = "{parent: {model.neuron: relu, model.time_steps: 1}}"


def test_an_ann_twin_is_trained_for_the_attack_and_not_evaluated(
    bench: Bench, tmp_path: Path
) -> None:
    study = tmp_path / "transfer.yaml"
    study.write_text(STUDY)
    bench("submit", str(study), "--cluster", "local", "--wait")
    transfer = f"{{name: transfer, source: {TWIN}, attack: {{name: apgd, steps: 5}}}}"
    study.write_text(STUDY.replace("[fgsm]", f"[fgsm, {transfer}]"))
    shown = bench("submit", str(study), "--cluster", "local", "--wait")
    assert "sent 2 tasks" in shown
    assert "1 of them after their parents" in shown
    (cell,) = manifest.read(study).cells
    (source,) = cell.sources
    target, twin = (bench.root.cell(one.training_id) for one in (cell, source))
    found = {record.attack["name"]: record for _, record in records.valid(target)}
    assert sorted(found) == ["clean", "fgsm", "transfer"]
    sha256 = files.read_json(twin.training)["model_sha256"]
    assert found["transfer"].evaluation["source_sha256"] == sha256
    assert not records.names(twin)
    assert "nothing to send" in bench("submit", str(study), "--cluster", "local")
    assert f"by apgd on {source.training_id}" in bench("show", cell.label)
