"""Submissions are whole, numbered, and never share a number."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs import files, processes
from jobs.dispatch import chunks, ledger, local
from jobs.dispatch.ledger import Submission
from jobs.errors import CorruptFile, EnvironmentFault
from jobs.planning.request import Task
from tests.examples import SMALL, cell, run_root, submission


def test_a_submission_reads_as_published(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    cells = [cell(0), cell(1)]
    paths = submission(root, cells)
    found = ledger.read(root, paths.number)
    assert found.cells == {c.training_id: i for i, c in enumerate(cells)}
    assert [chunk.name for chunk in found.chunks] == ["job-1-000"]
    assert found.launcher == processes.this()


def test_task_lines_hold_the_whole_order(tmp_path: Path) -> None:
    paths = submission(run_root(tmp_path), [cell(0), cell(1)])
    order = ledger.task_line(paths, 1)["cells"][0]
    assert order["training_id"] == cell(1).training_id
    assert [a["epsilons"] for a in order["attacks"]] == [["0/1"], ["2/255", "8/255"]]


def test_no_number_is_taken_twice(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda seed: submission(root, [cell(seed)]).number, range(24)))
    assert sorted(made) == list(range(1, 25))
    assert ledger.numbers(root) == sorted(made)


def test_the_folder_is_private_where_pickles_lie(tmp_path: Path) -> None:
    paths = submission(run_root(tmp_path), [cell()])
    assert paths.submitit.stat().st_mode & 0o777 == 0o700


def test_a_failed_publish_leaves_nothing(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    broken = Task(index=0, cells=({"training_id": "x", "bad": float("nan")},), resources=SMALL)
    with pytest.raises(ValueError, match="JSON"):
        ledger.publish(root, "", {}, [broken], lambda number: [])
    assert os.listdir(root.submissions) == []


def test_intent_then_id(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell(0), cell(1)])
    assert chunks.intend(paths, 0, 5.0)
    assert not chunks.intend(paths, 0, 6.0)
    chunks.sent(paths, 0, "123", [0, 1], 7.0)
    (chunk,) = ledger.read(root, 1).chunks
    assert (chunk.intended, chunk.job_id, chunk.position_job(1)) == (5.0, "123", "123_1")


def test_a_single_task_has_a_plain_job_id(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell(0), cell(1)])
    ledger.skip(paths, 0, "another submission took it first")
    chunks.sent(paths, 0, "123", [1], 7.0)
    (chunk,) = ledger.read(root, 1).chunks
    assert (chunk.tasks, chunk.position_job(0)) == ((1,), "123")


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ESTALE, EnvironmentFault), (errno.ENOENT, CorruptFile)]
)
def test_what_cannot_be_read_now_may_be_a_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    root = run_root(tmp_path)
    submission(root, [cell()], "local")

    def read(path: Path) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("jobs.files.read_json", read)
    with pytest.raises(error, match="000001"):
        ledger.read(root, 1)
    closed: set[int] = set()
    assert local.open_submissions(root, closed) == []
    assert (closed == set()) == (error is EnvironmentFault)


def test_nothing_is_sent_beside_what_may_hold_it(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    submission(root, [cell()]).plan.write_text("{")
    with pytest.raises(CorruptFile, match=r"000001: not a submission .* move it away"):
        submission(root, [cell()])
    assert os.listdir(root.submissions) == ["000001"]
    files.replace(root.closed, b'{"closed": [1]}\n')
    assert submission(root, [cell()]).number == 2


def test_what_happened_is_added_beside(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell(0), cell(1)])
    ledger.skip(paths, 1, "everything is recorded already")
    ledger.cancel(paths, [0], 9.0)
    found: Submission = ledger.read(root, 1)
    assert found.cancelled == {0}
    assert found.skipped == {1: "everything is recorded already"}
    assert not found.startable(0)
