"""A failure for want of data may be tried again once the data were brought; otherwise not."""

import os
from pathlib import Path

import pytest

from jobs import attempts
from jobs.expand.cell import Cell
from jobs.layout import RunRoot
from jobs.planning import datasets, situation
from jobs.planning.index import Index
from snnlib.spec.data import FILES, Dataset
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF
from snnlib.spec.training import CleanRegime, TrainingSpec
from tests.examples import run_root

SPEC = TrainingSpec(
    dataset=Dataset(name="mnist"), model=Small(neuron=LIF()), regime=CleanRegime(epochs=1)
)
CELL = Cell(number=0, label="mnist/small-lif/clean/s0", training=SPEC)


def failed(root: RunRoot, error: str) -> Path:
    """One attempt that ended with an error; its end.json."""
    paths = root.cell(CELL.training_id)
    number = attempts.claim(paths, {}, b"{}")
    attempt = paths.attempt(number)
    attempts.end(attempt, "failed", error, signature=f"{error}: …", deterministic=True)
    os.utime(attempt.end, (1e9, 1e9))
    return attempt.end


def lay(folder: Path) -> None:
    for file in FILES["mnist"]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def action(root: RunRoot, folder: Path) -> str:
    seen = situation.look(root, [CELL], Index(root), max_age=None, now=2e9)
    known = datasets.mended(root, [CELL], seen.known, folder)
    (item,) = situation.planned([CELL], situation.Situation(**{**vars(seen), "known": known}))
    return item.action


def test_what_failed_for_want_of_data_goes_on_when_they_are_there(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    failed(root, "DatasetMissing")
    assert action(root, tmp_path) == "give_up"
    lay(tmp_path)
    assert action(root, tmp_path) == "retry"


def test_data_that_were_there_already_mend_nothing(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    lay(tmp_path)
    os.utime(failed(root, "DatasetMissing"), (2e9, 2e9))
    assert action(root, tmp_path) == "give_up"


@pytest.mark.parametrize("error", ["NotFinite", "ValueError"])
def test_other_errors_have_nothing_to_do_with_data(tmp_path: Path, error: str) -> None:
    root = run_root(tmp_path)
    failed(root, error)
    lay(tmp_path)
    assert action(root, tmp_path) == "give_up"
