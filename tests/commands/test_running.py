"""run: a scratch run lends what is there, and plans nothing else."""

from pathlib import Path

import pytest

from jobs import files
from jobs.cli import main
from jobs.dispatch import sending
from jobs.expand.cell import Cell
from jobs.layout import RunRoot
from jobs.planning import finding
from jobs.planning.plan import SENT, Planned
from tests.examples import finish

STEERED = """\
version: 1
name: steered
defaults: {dataset: digits, epsilons: ["8/255"], attacks: [fgsm], regime: clean}
cells:
  - model:
      name: layers
      layers: [{type: conv, out_channels: 2, kernel_size: 5}, {type: linear, out_features: 20}]
      neuron: {name: ta_lif, nds: {parent: {model.neuron: lif}}}
"""
CLIMBING = """\
version: 1
name: climbing
defaults: {dataset: digits, epsilons: ["8/255"], regime: clean, model: {name: small, neuron: lif}}
cells: [{attacks: [fgsm, {name: transfer, source: {parent: {seed: 1}}}]}]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    monkeypatch.setenv("SPIKEGRID_ROOT", str(tmp_path / "runs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return RunRoot(tmp_path / "runs")


def study(text: str) -> Cell:
    Path("study.yaml").write_text(text)
    (cell,) = finding.manifest("study.yaml").cells
    return cell


def scratch(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> list[Planned]:
    """What a scratch run of a cell would send."""
    found: list[Planned] = []
    monkeypatch.setattr(sending, "send", lambda _root, _m, items, *_: found.extend(items))
    main(["run", cell.label, "--manifest", "study.yaml", "--epochs", "1"])
    return [item for item in found if item.action in SENT]


def test_nothing_is_claimed_in_what_is_lent(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = study(STEERED)
    (parent,) = cell.parents
    finish(root, parent.cell)
    assert scratch(cell, monkeypatch) == []
    assert "has no signature yet; run first: " in capsys.readouterr().err
    assert parent.stage_id is not None
    paths = root.cell(parent.cell.training_id)
    paths.stages.mkdir()
    files.replace(paths.stage(parent.stage_id), b"{}")
    (item,) = scratch(cell, monkeypatch)
    assert item.cell.label == cell.label
    assert not paths.attempts.exists()


def test_a_source_is_not_trained_along(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = study(CLIMBING)
    (item,) = scratch(cell, monkeypatch)
    assert (item.cell.label, len(item.missing)) == (cell.label, 3)
    said = capsys.readouterr().err
    assert f"{cell.sources[0].label} is not trained yet: attacks that climb on it are left" in said


@pytest.mark.parametrize("there", [True, False])
def test_an_own_file_is_found_from_where_the_user_is(
    root: RunRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str], there: bool
) -> None:
    sha256 = "5" * 64
    file = f"{{checkpoint: {{path: w.safetensors, sha256: {sha256!r}}}}}"
    cell = study(CLIMBING.replace("{parent: {seed: 1}}", file))
    if there:
        (tmp_path / "w.safetensors").write_bytes(b"weights")
    words = ["submit", "study.yaml", "--cluster", "local", "--dry-run"]
    assert main(words) == (0 if there else 3)
    lacking = f"{cell.label}: its file w.safetensors is not there in {tmp_path}, where paths start"
    assert (lacking in capsys.readouterr().err) is not there
