"""The command `audit`: what it asks for, and what it says where there is nothing to audit."""

from pathlib import Path

import pytest

from jobs.cli import main
from jobs.commands.auditing import _audited
from jobs.expand import manifest
from snnlib.spec.stage import AuditStage

STUDY = """version: 1
name: study
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  regime: {name: clean, epochs: 1}
  epsilons: ["8/255"]
  attacks: [fgsm]
cells: [{stages: [gradients]}, {seed: 1, stages: [gradients, {kind: audit, steps: 5}]}]
"""


def test_cells_want_their_own_audits_or_the_usual_one() -> None:
    cells = manifest.parse(STUDY.encode(), "m.yaml").cells
    usual, own = map(_audited, cells)
    assert (usual.stages, own.stages) == ((AuditStage(),), (AuditStage(steps=5),))
    assert [cell.training_id for cell in (usual, own)] == [cell.training_id for cell in cells]
    assert all(len(cell.rows) == 1 for cell in (usual, own))  # clean accuracy alone


def test_untrained_networks_name_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    assert main(["audit", str(path), "--root", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "study: none of its networks is trained yet" in said
    assert f"launch.py submit {path}" in said
