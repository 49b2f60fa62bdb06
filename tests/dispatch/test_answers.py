"""Answers are kept: for a run root, and for all run roots of a user."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.dispatch import answers
from jobs.dispatch.scheduler import Answer, Reply
from jobs.dispatch.slurm_text import JobAnswer, Limits
from tests.fake_slurm import FakeSlurm, Fault


def test_a_young_answer_is_used_again(slurm: FakeSlurm, tmp_path: Path) -> None:
    job_id = slurm.add("cell")
    folder = tmp_path / "cache"
    first = answers.cached(folder, job_ids=[job_id], now=100.0, max_age=30)
    again = answers.cached(folder, job_ids=[job_id], now=129.0, max_age=30)
    assert again == first == answers.saved(folder)
    assert len(slurm.calls("squeue")) == 1


@pytest.mark.parametrize(
    ("job_ids", "now", "max_age"),
    [(["1"], 131.0, 30.0), (["1"], 100.0, 0.0), (["1", "2"], 101.0, 30.0), (["1"], 50.0, 30.0)],
    ids=["old", "always", "another job", "clock went back"],
)
def test_it_is_asked_again(
    slurm: FakeSlurm, tmp_path: Path, job_ids: list[str], now: float, max_age: float
) -> None:
    slurm.add("cell")
    answers.cached(tmp_path / "cache", job_ids=["1"], now=100.0, max_age=30)
    answers.cached(tmp_path / "cache", job_ids=job_ids, now=now, max_age=max_age)
    assert len(slurm.calls("squeue")) == 2


def test_limits_are_asked_once_an_hour(slurm: FakeSlurm, tmp_path: Path) -> None:
    for now in (100.0, 200.0, 3000.0, 3701.0):
        answers.cached(tmp_path / "cache", job_ids=[], now=now, max_age=0)
    assert len(slurm.calls("scontrol")) == 2


def test_silence_does_not_replace_the_saved_answer(slurm: FakeSlurm, tmp_path: Path) -> None:
    first = answers.cached(tmp_path / "cache", job_ids=["1"], now=100.0, max_age=30)
    slurm.fault("squeue", "fail", "fail")
    second = answers.cached(tmp_path / "cache", job_ids=["1"], now=200.0, max_age=30)
    assert not second.reachable
    assert answers.saved(tmp_path / "cache") == first


def test_how_a_job_ended_is_kept_while_asked_for(
    without_accounting: FakeSlurm, tmp_path: Path
) -> None:
    without_accounting.add("cell", range(2), state="TIMEOUT")
    without_accounting.add("other", state="FAILED")
    answers.cached(tmp_path / "cache", job_ids=["1", "2"], now=100.0, max_age=0)
    without_accounting.advance(301)
    later = answers.cached(tmp_path / "cache", job_ids=["1"], now=500.0, max_age=0)
    assert {i: j.state for i, j in later.jobs.items()} == {"1_0": "timeout", "1_1": "timeout"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', '{"schema_version": 1}'])
def test_a_cache_that_does_not_read_is_no_cache(tmp_path: Path, text: str) -> None:
    (tmp_path / "scheduler.json").write_text(text)
    assert answers.saved(tmp_path) is None


@pytest.mark.parametrize(("what", "told"), [("access", False), ("getuid", -1)])
def test_a_reader_of_anothers_run_root_asks_nothing(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: int
) -> None:
    (tmp_path / "submissions").mkdir()
    monkeypatch.setattr(f"os.{what}", lambda *_: told)
    answer = answers.cached(tmp_path / "cache", job_ids=["1"], now=100.0, max_age=0)
    assert (answer.reachable, answer.is_live("1"), slurm.calls()) == (False, None, [])
    assert "another user's" in answer.message


def test_ten_thousand_jobs_are_read_back(tmp_path: Path) -> None:
    names = [f"{array}_{task}" for array in range(10) for task in range(1000)]
    jobs = {i: JobAnswer(i, "cell", "running", True, "n1", "", "0:0", 1.0) for i in names}
    whole = Answer(1.0, True, ("squeue",), jobs, Limits())

    def listed(argv: Sequence[str]) -> Reply:
        lines = [f"{i}|RUNNING|0|n1|1|None|cell" for i in names]
        header = "JOBID|STATE|EXIT_CODE|NODELIST|SUBMIT_TIME|REASON|NAME"
        return Reply(0, "\n".join([header, *lines]) if argv[0] == "squeue" else "", "")

    answers.cached(tmp_path, job_ids=[], now=1.0, max_age=0, run=listed)
    found = answers.saved(tmp_path)
    assert found is not None
    assert found.jobs == whole.jobs


def test_two_run_roots_of_a_user_share_one_question(slurm: FakeSlurm, tmp_path: Path) -> None:
    slurm.add("job-a", range(2))
    slurm.add("job-b")
    common = tmp_path / "home" / "cluster"
    for name, job_id, now in (("a", "1", 100.0), ("b", "2", 110.0), ("a", "1", 120.0)):
        answer = answers.cached(
            tmp_path / name, job_ids=[job_id], now=now, max_age=30, common=common
        )
        assert (answer.asked_at, answer.is_live(job_id)) == (100.0, True)
    assert (len(slurm.calls("squeue")), len(slurm.calls("scontrol"))) == (1, 1)


def test_a_shared_answer_is_completed_by_how_own_jobs_ended(
    slurm: FakeSlurm, tmp_path: Path
) -> None:
    slurm.add("old", state="TIMEOUT")
    slurm.advance(301)
    common = tmp_path / "home"
    answers.cached(tmp_path / "a", job_ids=["1"], now=100.0, max_age=30, common=common)
    answer = answers.cached(tmp_path / "b", job_ids=["1"], now=101.0, max_age=30, common=common)
    assert answer.jobs["1"].state == "timeout"
    assert answer.source == ("squeue", "sacct")
    assert len(slurm.calls("squeue")) == 1


def test_a_shared_answer_that_may_be_older_than_a_job_is_not_taken(
    slurm: FakeSlurm, tmp_path: Path
) -> None:
    common = tmp_path / "home"
    answers.cached(tmp_path / "a", job_ids=[], now=100.0, max_age=30, common=common)
    job_id = slurm.add("new")  # by a machine whose clock may stand at 90
    answer = answers.cached(tmp_path / "b", job_ids=[job_id], now=101.0, max_age=30, common=common)
    assert answer.jobs[job_id].state == "pending"


def test_without_a_cache_folder_each_run_root_asks(slurm: FakeSlurm, tmp_path: Path) -> None:
    for name in ("a", "b"):
        common = Path("/dev/null/cache")
        answers.cached(tmp_path / name, job_ids=[], now=100.0, max_age=30, common=common)
    assert len(slurm.calls("squeue")) == 2


def test_clusters_that_share_a_home_share_no_answer(tmp_path: Path) -> None:
    one, other = tmp_path / "one.conf", tmp_path / "other.conf"
    one.write_text("ClusterName=one\nPartitionName=x\n")
    other.write_text("ClusterName=other\n")
    env = {"HOME": str(tmp_path), "SLURM_CONF": str(one)}
    first = answers.shared(env)
    assert first is not None
    assert first.parent == tmp_path / ".cache" / "spikegrid"
    assert answers.shared({**env, "SLURM_CONF": str(other)}) != first == answers.shared(env)
    assert answers.shared({}) is None


def test_another_cluster_is_asked_for_its_own_limits(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FakeSlurm(tmp_path / "other", max_array_size=7)
    answers.cached(tmp_path / "cache", job_ids=[], now=100.0, max_age=30)
    monkeypatch.setenv("PATH", f"{other.bin}:/usr/bin:/bin")
    answer = answers.cached(tmp_path / "cache", job_ids=[], now=101.0, max_age=30)
    assert answer.limits.max_array_size == 7
    assert answers.saved(tmp_path / "cache") == answer


def test_limits_on_queued_jobs_are_asked_where_they_hold(slurm: FakeSlurm, tmp_path: Path) -> None:
    slurm.limit(20)
    limits = answers.cached(tmp_path / "cache", job_ids=[], now=1.0, max_age=0).limits
    assert (limits.most_queued(None, None), limits.most_queued("lab", "long")) == (
        (20, "QOS normal"),
        (40, "account lab"),
    )
    assert answers.saved(tmp_path / "cache") is not None


@pytest.mark.parametrize("fault", ["fail", "nothing"])
def test_silence_about_limits_means_unlimited(
    slurm: FakeSlurm, tmp_path: Path, fault: Fault
) -> None:
    slurm.limit(20)
    slurm.fault("sacctmgr", fault, fault)
    answer = answers.cached(tmp_path / "cache", job_ids=[], now=1.0, max_age=0)
    assert (answer.reachable, answer.message) == (True, "")
    assert answer.limits.most_queued(None, None) is None
