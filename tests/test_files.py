"""Whole files or none."""

import os
from pathlib import Path

import pytest

from jobs import files
from jobs.errors import CorruptFile


def test_replace_writes_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    files.replace(tmp_path / "a", b"old")
    files.replace(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_create_lets_the_first_win(tmp_path: Path) -> None:
    assert files.create(tmp_path / "a", b"first")
    assert not files.create(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_link_that_worked_but_said_no_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(src: Path, dst: Path) -> None:
        real(src, dst)
        raise OSError("stale file handle")

    monkeypatch.setattr(os, "link", link)
    assert files.create(tmp_path / "a", b"data")


def test_publish_refuses_a_taken_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert not files.publish(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "file").read_text() == "b"


def test_a_rename_that_worked_but_said_no_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    real = os.rename

    def rename(src: Path, dst: Path) -> None:
        real(src, dst)
        raise FileNotFoundError(src)

    monkeypatch.setattr(os, "rename", rename)
    assert files.publish(tmp_path / "a", tmp_path / "b")


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    files.append(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "rea')
    assert list(files.read_lines(path)) == [{"n": 1}]


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"n": 1, "rea')
    files.append(path, {"n": 2})
    files.append(path, {"n": 3})
    with path.open("ab") as file:
        file.write(b'{"n": 4')
    files.extend(path, b'{"n": 5}\n')
    assert list(files.read_lines(path)) == [{"n": 2}, {"n": 3}, {"n": 5}]


def test_an_absent_file_has_no_lines(tmp_path: Path) -> None:
    assert list(files.read_lines(tmp_path / "nothing")) == []


def test_bad_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CorruptFile, match=r"a\.json: not valid JSON"):
        files.read_json(tmp_path / "a.json")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.replace(tmp_path / "a", b"old")

    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        files.replace(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
