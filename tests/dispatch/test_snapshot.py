"""What a job runs is a copy named by its content."""

import os
from pathlib import Path

import pytest

from jobs.dispatch import snapshot
from jobs.layout import RunRoot


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    for name in ("jobs/a.py", "snnlib/deep/b.py", "snnlib/data/c.npz", "analysis/d.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "jobs" / "__pycache__").mkdir()
    (folder / "jobs" / "__pycache__" / "a.pyc").write_text("compiled")
    (folder / "jobs" / "notes.txt").write_text("no code")
    return folder


def test_it_holds_code_and_data_alone(checkout: Path, tmp_path: Path) -> None:
    root = RunRoot(tmp_path / "runs")
    root.code.mkdir(parents=True)
    name = snapshot.take(root, checkout)
    copied = {str(p.relative_to(root.code / name)) for p in (root.code / name).rglob("*.*")}
    assert copied == {"jobs/a.py", "snnlib/deep/b.py", "snnlib/data/c.npz", "analysis/d.py"}


def test_equal_code_is_copied_once(checkout: Path, tmp_path: Path) -> None:
    root = RunRoot(tmp_path / "runs")
    root.code.mkdir(parents=True)
    first = snapshot.take(root, checkout)
    assert snapshot.take(root, checkout) == first
    assert os.listdir(root.code) == [first]


def test_an_edit_is_another_snapshot(checkout: Path, tmp_path: Path) -> None:
    root = RunRoot(tmp_path / "runs")
    root.code.mkdir(parents=True)
    before = snapshot.take(root, checkout)
    (checkout / "jobs" / "new.py").write_text("untracked")
    after = snapshot.take(root, checkout)
    assert after != before
    assert (root.code / after / "jobs" / "new.py").exists()
    assert not (root.code / before / "jobs" / "new.py").exists()


def test_a_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    assert snapshot.commit(tmp_path) == ""


def test_the_hash_alone_copies_nothing(checkout: Path, tmp_path: Path) -> None:
    root = RunRoot(tmp_path / "runs")
    root.code.mkdir(parents=True)
    now = snapshot.current(checkout)
    assert os.listdir(root.code) == []
    assert snapshot.take(root, checkout) == now


def test_taking_it_again_makes_it_young(checkout: Path, tmp_path: Path) -> None:
    root = RunRoot(tmp_path / "runs")
    root.code.mkdir(parents=True)
    name = snapshot.take(root, checkout)
    os.utime(root.code / name, (1.0, 1.0))
    snapshot.take(root, checkout)
    assert (root.code / name).stat().st_mtime > 1.0
