"""One answer from a fake SLURM, whatever goes wrong with it."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.dispatch import scheduler
from jobs.dispatch.scheduler import Reply
from tests.fake_slurm import FakeSlurm, Fault


def quickly(argv: Sequence[str]) -> Reply:
    return scheduler.command(argv, timeout_s=0.3)


def test_live_jobs_need_no_sacct(slurm: FakeSlurm) -> None:
    job_id = slurm.add("cell", range(3))
    slurm.move(f"{job_id}_1", "RUNNING")
    answer = scheduler.ask(job_ids=[f"{job_id}_{i}" for i in range(3)], now=5.0)
    assert [answer.jobs[f"1_{i}"].state for i in range(3)] == ["pending", "running", "pending"]
    assert (answer.source, answer.asked_at, answer.limits.asked_at) == (("squeue",), 5.0, 5.0)
    assert slurm.calls("sacct") == []


def test_one_squeue_and_one_sacct_tell_of_all(slurm: FakeSlurm) -> None:
    for _ in range(3):
        slurm.add("old", range(4), state="TIMEOUT")
    slurm.advance(301)
    slurm.add("new", range(4))
    answer = scheduler.ask(job_ids=["1", "2", "3", "4"], now=5.0)
    assert answer.source == ("squeue", "sacct")
    assert [answer.jobs[i].state for i in ("1_0", "3_3", "4_3")] == [
        "timeout",
        "timeout",
        "pending",
    ]
    assert [call[0] for call in slurm.calls()] == ["squeue", "scontrol", "sacct"]
    assert slurm.calls("sacct")[0][-1] == "--jobs=1,2,3,4"


def test_without_accounting_the_controller_tells_for_a_while(
    without_accounting: FakeSlurm,
) -> None:
    job_id = without_accounting.add("cell")
    without_accounting.move(job_id, "FAILED", exit_code="3:0")
    job = scheduler.ask(job_ids=[job_id], now=5.0).lookup(job_id)
    assert job is not None
    assert (job.state, job.exit_code, job.live) == ("failed", "3:0", False)
    without_accounting.advance(301)
    answer = scheduler.ask(job_ids=[job_id], now=6.0)
    assert (answer.lookup(job_id), answer.is_live(job_id)) == (None, False)
    assert without_accounting.calls("sacct") == []


@pytest.mark.parametrize("fault", ["fail", "nothing", "refuse", "hang"])
def test_nothing_is_concluded_from_a_silent_controller(slurm: FakeSlurm, fault: Fault) -> None:
    job_id = slurm.add("cell")
    slurm.fault("squeue", fault, fault)
    answer = scheduler.ask(job_ids=[job_id], now=5.0, run=quickly)
    assert not answer.reachable
    assert answer.message.startswith("the scheduler did not answer: squeue")
    assert (answer.is_live(job_id), answer.lookup(job_id)) == (None, None)
    assert len(slurm.calls()) == 2


@pytest.mark.parametrize("fault", ["fail", "nothing", "hang"])
def test_one_fault_of_squeue_is_tried_again(slurm: FakeSlurm, fault: Fault) -> None:
    job_id = slurm.add("cell")
    slurm.fault("squeue", fault)
    answer = scheduler.ask(job_ids=[job_id], now=5.0, run=quickly)
    assert answer.is_live(job_id) is True


@pytest.mark.parametrize("fault", ["fail", "nothing", "hang"])
def test_a_silent_sacct_leaves_the_answer_of_squeue(slurm: FakeSlurm, fault: Fault) -> None:
    slurm.add("old", state="COMPLETED")
    slurm.advance(301)
    slurm.add("new")
    slurm.fault("sacct", fault, fault)
    answer = scheduler.ask(job_ids=["1", "2"], now=5.0, run=quickly)
    assert (answer.reachable, answer.source) == (True, ("squeue",))
    assert "sacct did not answer" in answer.message
    assert (answer.lookup("1"), answer.is_live("2")) == (None, True)


def test_a_hanging_command_dies_with_its_children(slurm: FakeSlurm) -> None:
    slurm.fault("squeue", "hang")
    began = time.monotonic()
    assert scheduler.command(["squeue"], timeout_s=0.2).code is None
    assert time.monotonic() - began < 5


def test_an_absent_command_is_an_answer_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = scheduler.ask(job_ids=["1"], now=5.0)
    assert not answer.reachable
    assert "squeue: No such file" in answer.message


def test_a_job_lost_by_the_controller_does_not_run_whatever_sacct_says(slurm: FakeSlurm) -> None:
    job_id = slurm.add("cell", state="RUNNING")
    slurm.crash(job_id)
    job = scheduler.ask(job_ids=[job_id], now=5.0).lookup(job_id)
    assert job is not None
    assert (job.state, job.live) == ("unknown", False)
    assert "the controller has no such job" in job.reason


def test_an_id_used_again_is_another_job(slurm: FakeSlurm) -> None:
    slurm.crash(slurm.add("first", state="RUNNING"))
    again = slurm.add("second", state="RUNNING")
    answer = scheduler.ask(job_ids=[again], now=5.0)
    assert again == "1"
    assert answer.lookup("1", "first") is None
    assert (answer.is_live("1", "first"), answer.is_live("1", "second")) == (False, True)


def test_an_array_lives_as_long_as_one_of_its_tasks(slurm: FakeSlurm) -> None:
    job_id = slurm.add("cell", range(2), state="COMPLETED")
    slurm.move(f"{job_id}_1", "COMPLETING")
    assert scheduler.ask(job_ids=[job_id], now=5.0).is_live(job_id) is True
    slurm.move(f"{job_id}_1", "CANCELLED")
    answer = scheduler.ask(job_ids=[job_id], now=5.0)
    assert answer.is_live(job_id) is False
    assert answer.jobs["1_1"].state == "cancelled"


def test_an_answer_older_than_the_job_does_not_tell(slurm: FakeSlurm) -> None:
    answer = scheduler.ask(job_ids=[], now=5.0)
    assert answer.is_live("1") is False
    assert answer.is_live("1", sent_at=6.0) is None


def test_jobs_are_found_by_name(slurm: FakeSlurm) -> None:
    slurm.add("other")
    slurm.add("cell", range(5))
    slurm.add("cell")
    answer = scheduler.ask(job_ids=[], now=5.0)
    assert (answer.named("cell"), answer.named("none")) == (["2", "3"], [])


def test_the_users_formats_do_not_reach_the_commands() -> None:
    given = {"SLURM_CONF": "/x", "SQUEUE_FORMAT": "%i", "SLURM_JOB_ID": "1", "SACCT_FORMAT": "x"}
    found = scheduler.environment({**given, "HOME": "/h"})
    assert {"SLURM_CONF", "HOME"} <= found.keys()
    assert not {"SQUEUE_FORMAT", "SLURM_JOB_ID", "SACCT_FORMAT"} & found.keys()
