"""How far running cells are, by what their attempts wrote; old, torn and foreign lines too."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import files
from jobs.attempts import Attempt
from jobs.layout import AttemptFiles, RunRoot
from jobs.planning.headway import Headway, Watcher, trace
from jobs.planning.plan import Planned
from tests.examples import cell, run_root

ONE = cell()
EPOCH = {"epoch": 3, "loss": 0.5, "train_accuracy": 0.4, "validation_correct": 30,
         "validation_total": 40, "lr": 0.1, "seconds": 2.0, "images_per_s": 800.0}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)


def attempt(root: RunRoot, number: int = 1, epochs: int = 10) -> AttemptFiles:
    paths = root.cell(ONE.training_id)
    paths.attempt(number).folder.mkdir(parents=True)
    paths.spec.write_text(json.dumps({"regime": {"epochs": epochs, "select": "best_test"}}))
    return paths.attempt(number)


def looked(root: RunRoot) -> Headway:
    stamp = root.cell(ONE.training_id).attempt(1).metrics
    now = stamp.stat().st_mtime if stamp.exists() else 0.0
    return Watcher(root).of(ONE.training_id, now + 1.0)


def test_a_training_by_its_epochs(root: RunRoot) -> None:
    paths = attempt(root)
    for epoch in (1, 2, 3):
        files.append(paths.metrics, {**EPOCH, "epoch": epoch})
    found = looked(root)
    assert (found.doing, found.done, found.of, found.judge) == ("training", 3, 10, "test")
    assert (found.loss, found.accuracy, found.images_per_s) == (0.5, 0.75, 800.0)
    assert found.left_s == pytest.approx(7 * 2.0 - 1.0)


@pytest.mark.parametrize(
    "line",
    [
        {"epoch": 3, "loss": 0.5},
        {"epoch": 3, "seconds": "soon", "loss": None, "validation_total": "many"},
        {"epoch": 3, "validation_correct": 0, "validation_total": 0, "images_per_s": []},
    ],
)
def test_lines_of_other_versions(root: RunRoot, line: dict[str, Any]) -> None:
    files.append(attempt(root).metrics, line)
    found = looked(root)
    assert (found.done, found.accuracy, found.images_per_s, found.left_s) == (3, None, None, None)


def test_torn_and_foreign_lines_are_passed_over(root: RunRoot) -> None:
    paths = attempt(root)
    files.append(paths.metrics, EPOCH)
    with paths.metrics.open("a") as file:
        file.write('[1]\n{"epoch": "4"}\n{"epoch": 5, "lo')
    assert looked(root).done == 3


def test_an_attempt_that_goes_on_begins_where_the_last_one_ended(root: RunRoot) -> None:
    files.append(attempt(root).metrics, EPOCH)
    attempt(root, 2)
    assert looked(root).done == 3
    assert Watcher(root).of("0" * 16, 0.0) == Headway()


def test_an_attack_by_its_events(root: RunRoot) -> None:
    paths = attempt(root)
    root.cell(ONE.training_id).training.write_text("{}")
    assert looked(root) == Headway(doing="attacks")
    for at, event in [(0, "recorded"), (10, "partial"), (20, "partial")]:
        line = {"at": at, "event": event, "name": "pgd", "done": at, "of": 50}
        files.append(paths.events, line)
    files.append(paths.events, {"at": "x", "event": "partial", "name": "pgd", "done": 1, "of": 2})
    found = Watcher(root).of(ONE.training_id, 25.0)
    assert found == Headway(doing="pgd", done=20, of=50, left_s=25.0)
    files.append(paths.events, {"at": 30, "event": "recorded"})
    assert looked(root).doing == "attacks"


def test_a_file_is_read_again_only_when_it_grew(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, watcher = attempt(root), Watcher(root)
    files.append(paths.metrics, EPOCH)
    before = watcher.of(ONE.training_id, 0.0)
    monkeypatch.setattr(files, "read_lines", lambda path: pytest.fail(f"read {path}"))
    assert watcher.of(ONE.training_id, 0.0) == before
    monkeypatch.undo()
    files.append(paths.metrics, {**EPOCH, "epoch": 4})
    assert watcher.of(ONE.training_id, 0.0).done == 4


def test_what_a_failure_leaves_behind(root: RunRoot) -> None:
    paths = attempt(root)
    files.append(paths.metrics, EPOCH)
    paths.end.write_text('{"state": "failed", "tail": ["a", "nan"]}')
    item = Planned(cell=ONE, action="give_up", state="failed", reason="")
    found = trace(root, item, Attempt(number=1, state="failed"))
    assert (found.epoch, found.line) == (3, "nan")
    assert Watcher(root).ended(ONE.training_id)
