"""What was interrupted, and children that found no parent, go again when another task ends."""

import os
import time
from pathlib import Path

import pytest

from jobs import attempts, files
from jobs.attempts import EndState
from jobs.cli import main
from jobs.dispatch import holds, ledger, onward, submit
from jobs.errors import CorruptFile
from jobs.layout import RunRoot, SubmissionFiles
from tests.fake_slurm import FakeSlurm

MANIFEST = """\
version: 1
name: study
defaults: {dataset: digits, model: {name: small, neuron: if}, epsilons: ["8/255"], attacks: [fgsm]}
grid:
  seed: [0, 1]
  regime:
    - {name: clean, epochs: 1}
    - {name: adversarial, epsilon: "8/255", epochs: 1, start: {parent: {regime: clean}}}
"""


@pytest.fixture
def study(
    slurm: FakeSlurm, root: RunRoot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> SubmissionFiles:
    """Two clean trainings (tasks 0, 1) that have begun, and two children (2, 3) after them."""
    monkeypatch.setenv("SPIKEGRID_ROOT", str(root.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(MANIFEST)
    assert main(["submit", "study.yaml"]) == 0
    slurm.move("1", "RUNNING")
    return root.submission(1)


def keys(paths: SubmissionFiles) -> list[str]:
    """Trainings by task."""
    cells = ledger.read(RunRoot(paths.folder.parent.parent), 1).cells
    return [key for _, key in sorted((task, key) for key, task in cells.items())]


def interrupted(
    slurm: FakeSlurm, paths: SubmissionFiles, state: EndState = "preempted", told: str = "PREEMPTED"
) -> None:
    """The first training was taken off its node for good, and its child found no parent."""
    cell = RunRoot(paths.folder.parent.parent).cell(keys(paths)[0])
    cell.folder.mkdir(parents=True)
    claim = {"job_id": "1_0", "submission": 1, "task": 0}
    attempts.end(cell.attempt(attempts.claim(cell, claim, b"{}")), state, "")
    slurm.move("1_0", told)
    slurm.move("2_0", "COMPLETED")
    ledger.skip(paths, 2, "its parent is not trained")


def again(paths: SubmissionFiles) -> set[int]:
    """Tasks of the first submission whose cells a later one has."""
    root = RunRoot(paths.folder.parent.parent)
    later = {key for n in ledger.numbers(root)[1:] for key in ledger.read(root, n).cells}
    return {task for task, key in enumerate(keys(paths)) if key in later}


def test_an_ending_task_sends_the_interrupted_and_their_children(
    slurm: FakeSlurm, study: SubmissionFiles
) -> None:
    interrupted(slurm, study)
    sent = onward.send_due(study, time.time())
    assert sent is not None
    assert (again(study), sent.tasks, len(sent.job_ids)) == ({0, 2}, 2, 2)
    header = ledger.read(RunRoot(study.folder.parent.parent), 2).parameters
    assert header["source"] == str(Path("study.yaml").resolve())
    os.utime(study.onward, (0, 0))
    assert onward.send_due(study, time.time()) is None


@pytest.mark.parametrize(
    ("state", "told"),
    [("cancelled", "CANCELLED"), ("failed", "FAILED"), ("preempted", "CANCELLED")],
)
def test_what_ended_otherwise_waits_for_people(
    slurm: FakeSlurm, study: SubmissionFiles, state: EndState, told: str
) -> None:
    interrupted(slurm, study, state, told)
    assert onward.send_due(study, time.time()) is None


def test_what_the_user_cancelled_is_not_sent(slurm: FakeSlurm, study: SubmissionFiles) -> None:
    interrupted(slurm, study)
    ledger.cancel(study, [0], time.time())
    assert onward.send_due(study, time.time()) is None


def test_what_is_held_is_not_sent(slurm: FakeSlurm, study: SubmissionFiles) -> None:
    interrupted(slurm, study)
    holds.create(study, "three failures alike", 5.0)
    assert onward.send_due(study, time.time()) is None


def test_a_silent_scheduler_sends_nothing(slurm: FakeSlurm, study: SubmissionFiles) -> None:
    interrupted(slurm, study)
    slurm.fault("squeue", "fail", "fail")
    assert onward.send_due(study, time.time()) is None


@pytest.mark.parametrize("closed", [True, False])
def test_a_corrupt_submission_stops_this_only_while_it_may_hold_something(
    slurm: FakeSlurm, study: SubmissionFiles, closed: bool
) -> None:
    root = RunRoot(study.folder.parent.parent)
    root.submission(2).folder.mkdir()
    interrupted(slurm, study)
    if closed:
        files.replace(root.closed, b'{"closed": [2]}\n')
        assert onward.send_due(study, time.time()) is not None
        return
    with pytest.raises(CorruptFile, match="000002: not a submission"):
        onward.send_due(study, time.time())


def test_several_tasks_that_end_together_look_once(
    slurm: FakeSlurm, study: SubmissionFiles
) -> None:
    assert onward.send_due(study, time.time()) is None
    interrupted(slurm, study)
    asked = len(slurm.calls())
    assert onward.send_due(study, time.time()) is None
    assert len(slurm.calls()) == asked


def test_a_task_that_ends_does_all_of_it(slurm: FakeSlurm, study: SubmissionFiles) -> None:
    interrupted(slurm, study)
    submit._send_the_rest(study, 1, "1_1")
    assert again(study) == {0, 2}
