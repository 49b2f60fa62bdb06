"""What waits of a submission is sent on by the tasks that end."""

import os
import time
from pathlib import Path

import pytest

from jobs.dispatch import holds, onward, queueing, submit
from jobs.layout import RunRoot, SubmissionFiles
from tests.dispatch.queueing.verbs import CELLS, calls, finish, push, sent, waiting
from tests.examples import submission
from tests.fake_slurm import FakeSlurm, Fault


def limited(slurm: FakeSlurm, root: RunRoot, *, age: float) -> SubmissionFiles:
    """Two of four chunks are queued, and the third was refused some seconds ago."""
    paths = submission(root, CELLS, max_array=2)
    slurm.limit(4)
    push(root)
    for path in paths.folder.glob("chunk-*.refused.json"):
        os.utime(path, (time.time() - age,) * 2)
    return paths


def end(paths: SubmissionFiles, task: int, job_id: str) -> None:
    queueing.go_on(paths, task, job_id, submit.send_slurm)


def test_an_ending_task_sends_what_waits(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = limited(slurm, root, age=61)
    slurm.move("1", "RUNNING")
    finish(slurm, "1_0", "1_1")
    end(paths, 2, "2_0")
    assert sent(root) == [(0, 1), (2, 3), (4, 5)]
    assert waiting(root) == 2


def test_soon_after_a_refusal_an_ending_task_leaves_it_to_the_others(
    slurm: FakeSlurm, root: RunRoot
) -> None:
    paths = limited(slurm, root, age=5)
    finish(slurm, "1_0", "1_1")
    before = calls(slurm)
    end(paths, 2, "2_0")
    assert (calls(slurm), paths.leaving(2).exists()) == (before, False)
    slurm.move("2", "RUNNING")
    end(paths, 2, "2_0")
    assert (calls(slurm), paths.leaving(2).exists()) == (before, True)


def test_the_last_task_sends_what_waits_at_once(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = limited(slurm, root, age=5)
    slurm.move("2", "RUNNING")
    finish(slurm, "1_0", "1_1")
    end(paths, 2, "2_0")
    end(paths, 3, "2_1")
    assert sent(root) == [(0, 1), (2, 3), (4, 5)]


def test_of_several_last_tasks_the_highest_stays(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = limited(slurm, root, age=5)
    slurm.move("2", "RUNNING")
    finish(slurm, "1_0", "1_1")
    before = calls(slurm)
    paths.leaving(3).parent.mkdir()
    paths.leaving(3).touch()
    paths.staying(3).touch()
    end(paths, 2, "2_0")
    assert calls(slurm) == before
    paths.staying(3).unlink()
    end(paths, 2, "2_0")
    assert calls(slurm) > before


@pytest.mark.parametrize("fault", ["fail", "nothing", "refuse"])
def test_an_ending_task_concludes_nothing_from_silence(
    slurm: FakeSlurm, root: RunRoot, fault: Fault
) -> None:
    paths = limited(slurm, root, age=5)
    finish(slurm)
    before = calls(slurm)
    slurm.fault("squeue", fault, fault)
    end(paths, 2, "2_0")
    assert calls(slurm) == before


def test_what_people_hold_is_not_sent(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = limited(slurm, root, age=61)
    finish(slurm)
    holds.create(paths, "three failures alike", 5.0)
    end(paths, 2, "2_0")
    assert waiting(root) == 4


def test_the_last_task_cuts_an_array_that_is_too_long(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = limited(slurm, root, age=5)
    slurm.move("2_1", "RUNNING")
    finish(slurm, "1_0", "1_1", "2_0")
    slurm.limit(2)
    end(paths, 3, "2_1")
    assert sent(root) == [(0, 1), (2, 3), (4,)]


def test_a_task_that_cannot_send_ends_well(
    slurm: FakeSlurm, root: RunRoot, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = limited(slurm, root, age=61)
    slurm.refuse("sbatch: error: Invalid account")
    submit._send_the_rest(paths, 2, "2_0")
    assert "was not sent: sbatch: error: Invalid account" in capfd.readouterr().err


def test_without_sbatch_nothing_happens(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    paths = submission(root, CELLS)
    submit._send_the_rest(paths, 2, "2_0")
    assert waiting(root) == len(CELLS)


@pytest.mark.parametrize("there", [True, False])
def test_what_is_sent_again_finds_the_users_files_where_they_were(
    slurm: FakeSlurm,
    root: RunRoot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
) -> None:
    before, seen = Path.cwd(), []
    home = tmp_path / "home"
    paths = submission(root, CELLS, folder=str(home))
    if there:
        home.mkdir()
    monkeypatch.setattr(onward, "send_due", lambda *_: seen.append(Path.cwd()))
    submit._send_the_rest(paths, 2, "2_0")
    assert (seen, Path.cwd()) == ([home if there else before], before)
