"""A trained cell as a classifier for notebooks."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from jobs import files, identity, records
from jobs.checkpoint import load_model
from jobs.errors import CorruptFile, UsageError
from jobs.layout import CellFiles, RunRoot
from jobs.running.evaluate_cell import evaluate_cell, trained_network
from snnlib.spec.attack import FGSM
from tests.examples import run_root
from tests.running.test_evaluate_cell import DATA, SPEC, attempt, trained

ID = identity.training_id(SPEC)


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CellFiles:
    """The files of a trained cell in <tmp_path>/runs."""
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    found = trained(run_root(tmp_path)).cell(ID)
    files.replace(found.spec, identity.canonical(SPEC).encode())
    return found


def test_its_logits_are_those_that_were_attacked(cell: CellFiles, tmp_path: Path) -> None:
    network, _ = trained_network(attempt(RunRoot(tmp_path / "runs"), 1), DATA)
    images = DATA.test.images(slice(None))
    with torch.no_grad():
        logits, expected = load_model(cell)(images), network.eval()(images)
    assert torch.equal(logits, expected)


def test_what_it_gets_right_is_what_the_record_says(cell: CellFiles, tmp_path: Path) -> None:
    run = attempt(RunRoot(tmp_path / "runs"), 1, FGSM())
    run.order["attacks"][0]["epsilons"] = ["1/1000000"]  # too little to change anything
    evaluate_cell(run, DATA)
    ((_, record),) = records.valid(cell)
    split = DATA.test.first(20)
    with torch.no_grad():
        right = load_model(cell)(split.images(slice(None))).argmax(1) == split.labels_N
    assert record.rows[0].epsilon == Fraction(1, 10**6)
    assert right.tolist() == list(record.rows[0].mask)


def test_a_cell_is_found_as_people_name_it(
    cell: CellFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    monkeypatch.setenv("SPIKEGRID_ROOT", str(root))
    named = [load_model(ID), load_model(ID[:6], root), load_model(cell.folder)]
    named += [load_model(str(cell.folder)), load_model(cell, root=root)]
    weights = [next(iter(network.parameters())) for network in named]
    assert all(torch.equal(one, weights[0]) for one in weights)
    assert not any(network.training for network in named)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0000000", r"'0000000': no such training id in .*runs; the column training_id of every"),
        (ID[:3], "write 4 characters of the id or more"),
        (Path("absent"), r"absent: no such folder; expected <run root>/cells/ab/<training id>"),
    ],
)
def test_what_is_not_there_is_named(
    cell: CellFiles, tmp_path: Path, name: str | Path, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(name, tmp_path / "runs")


def test_several_that_fit_are_listed(cell: CellFiles, tmp_path: Path) -> None:
    (cell.folder.parent / f"{ID[:8]}00000000").mkdir()
    with pytest.raises(UsageError, match=f"fits 2 cells .*{ID}.*; write more of it"):
        load_model(ID[:6], tmp_path / "runs")


def test_an_unfinished_training_has_no_network(cell: CellFiles) -> None:
    cell.training.unlink()
    with pytest.raises(UsageError, match="has not finished, so there is no network to load"):
        load_model(cell)


def test_altered_weights_are_refused(cell: CellFiles) -> None:
    (path,) = cell.checkpoints.glob("*/model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFile, match="altered since it was trained"):
        load_model(cell)
