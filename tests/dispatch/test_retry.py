"""Who tries again, and when it is enough."""

from pathlib import Path
from typing import Any

import pytest

from jobs import attempts
from jobs.attempts import EndState
from jobs.dispatch import chunks, holds, ledger, liveness, retry
from jobs.dispatch.scheduler import Answer, JobAnswer, Limits
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning import survey
from jobs.planning.index import Index
from jobs.planning.plan import plan
from jobs.planning.request import work_order
from jobs.running.task import TaskRun, obstacle
from tests.examples import cell, run_root, submission

ONE = cell()
ORDER = work_order(ONE, ONE.rows)
FATAL = {"deterministic": True}
LOST: EndState | None = None


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)


@pytest.fixture
def paths(root: RunRoot) -> SubmissionFiles:
    submission(root, [cell(9)])
    return submission(root, [ONE])


def tried(
    root: RunRoot, state: EndState | None, *, deterministic: bool = False, **claim: object
) -> None:
    """One attempt of a submission that ended like this; None: without a word."""
    files = root.cell(ONE.training_id)
    about = {"submission": 2, "task": 0, "job_id": "7", **claim}
    number = attempts.claim(files, about, b"{}")
    if state:
        how = {"advanced": False, "deterministic": deterministic}
        attempts.end(files.attempt(number), state, "why", **how)


@pytest.mark.parametrize(
    ("states", "spent"),
    [
        ([], ""),
        (["failed", "failed"], ""),
        (["failed"] * 3, "3 failures, last: why"),
        ([LOST] * 3, "3 failures, last: ended without a word (killed?)"),
        (["cancelled"] * 9, ""),
        (["completed", "failed", "failed"], ""),
    ],
)
def test_a_task_counts_the_budget_itself(
    root: RunRoot, paths: SubmissionFiles, states: list[EndState | None], spent: str
) -> None:
    for state in states:
        tried(root, state)
    assert retry.spent(root, ONE.training_id, 2) == spent


def test_a_cell_that_was_given_up_has_a_new_budget_when_it_is_sent_again(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    tried(root, "failed", submission=1, deterministic=True)
    assert "would come again" in retry.spent(root, ONE.training_id, 1)
    assert obstacle(root, paths, 0, ORDER) is None
    tried(root, "failed", deterministic=True)
    assert "given up: why; the same error" in str(obstacle(root, paths, 0, ORDER))


def test_a_task_and_the_plan_count_alike(root: RunRoot, paths: SubmissionFiles) -> None:
    for _ in range(3):
        tried(root, "failed", submission=1)
    tried(root, "failed")
    known = survey.progress(root, [ONE], Index(root))
    assert retry.due(root, paths, 0, [ORDER], "7")
    (item,) = plan([ONE], known, {})
    assert (item.action, item.reason) == ("retry", "failed (1 of 3), start over")
    chunks.sent(paths, 0, "7", [0], 1.0)
    waits = JobAnswer("7", "job-2-000", "pending", True, "", "", "", 1.0)
    told = Answer(2.0, reachable=True, source=("squeue",), jobs={"7": waits}, limits=Limits())
    assert ONE.training_id in liveness.live([ledger.read(root, 2)], known, told, 3.0)


@pytest.mark.parametrize(
    ("state", "more", "due"),
    [
        ("failed", {}, True),
        ("failed", FATAL, False),
        ("failed", {"job_id": "8"}, False),
        ("failed", {"submission": 1}, False),
        ("completed", {}, False),
        ("preempted", {}, False),
        ("out_of_memory", FATAL, False),
        (LOST, {}, False),
    ],
)
def test_what_is_started_again(
    root: RunRoot, paths: SubmissionFiles, state: EndState | None, more: dict[str, Any], due: bool
) -> None:
    tried(root, state, **more)
    assert retry.due(root, paths, 0, [ORDER], "7") is due


def test_three_failures_are_enough(root: RunRoot, paths: SubmissionFiles) -> None:
    for due in (True, True, False):
        tried(root, "failed")
        assert retry.due(root, paths, 0, [ORDER], "7") is due


def test_nothing_is_requeued_outside_slurm() -> None:
    assert not retry.requeue({"SUBMITIT_LOCAL_JOB_ID": "7"})


def test_slurm_is_asked_to_start_the_job_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho $* > {tmp_path}/said\n[ $2 = 7 ]\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert retry.requeue({"SLURM_JOB_ID": "7"})
    assert (tmp_path / "said").read_text() == "requeue 7\n"
    assert not retry.requeue({"SLURM_JOB_ID": "8"})  # this site does not let jobs do so


def settled(root: RunRoot, paths: SubmissionFiles) -> TaskRun:
    """A task whose torchrun has just ended."""
    run = TaskRun(paths.folder, 0, {"SLURM_JOB_ID": "7"})
    run.tried = {ONE.training_id}
    run._settle([ORDER])
    return run


def test_a_task_that_failed_asks_to_start_again(root: RunRoot, paths: SubmissionFiles) -> None:
    tried(root, "failed")
    assert settled(root, paths).again


def test_a_held_task_does_not_start_again_but_waits_for_its_release(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    tried(root, "failed")
    holds.create(paths, "5 cells failed alike", 1.0)
    assert not settled(root, paths).again
    assert ledger.read(root, 2).skipped == {0: "held (hold 1): 5 cells failed alike"}


def test_a_cancelled_task_does_not_start_again(root: RunRoot, paths: SubmissionFiles) -> None:
    tried(root, "failed")
    ledger.cancel(paths, None, 1.0)
    assert not settled(root, paths).again
