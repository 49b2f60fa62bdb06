"""The commands where a cluster admits fewer jobs than a study has."""

import time
from pathlib import Path

import pytest

from jobs import files
from jobs.cli import main
from jobs.dispatch import chunks, describing, earlier, ledger, queueing, submit
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.site import Profile
from jobs.dispatch.slurm_text import JobAnswer, Limits
from jobs.layout import RunRoot, SubmissionFiles
from tests.dispatch.test_chunks import DEAD
from tests.examples import cell, run_root, submission
from tests.fake_cluster import arranged
from tests.fake_slurm import FakeSlurm

MANIFEST = """\
version: 1
name: many
defaults:
  dataset: digits
  model: {name: small, neuron: if}
  regime: {name: clean, epochs: 1}
  epsilons: ["8/255"]
  attacks: [fgsm]
grid: {seed: "range(0, 10)"}
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = arranged(tmp_path, monkeypatch)
    (tmp_path / "many.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    return fake


def test_plan_says_what_the_cluster_allows(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.limit(6)
    assert main(["submit", "many.yaml", "--limit", "1"]) == 0
    assert main(["plan", "many.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "MaxArraySize 1,001, MaxSubmitJobs 6 (QOS normal), MaxJobCount 10,000" in shown
    assert "would send: 3 arrays (3 + 3 + 3 tasks)" in shown


def test_what_does_not_fit_is_held_and_resume_sends_it(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.limit(6)
    assert main(["submit", "many.yaml"]) == 0
    shown = capsys.readouterr()
    assert "many: sent 6 tasks to SLURM as job 1, 2 · submission 1" in shown.out
    assert "sbatch: error: QOSMaxSubmitJobPerUserLimit" in shown.err
    assert "your QOS normal allows 6 queued jobs; 4 tasks held: ending jobs send" in shown.err
    assert main(["status", "many.yaml"]) == 0
    shown = capsys.readouterr()
    assert "10 cells: 6 pending · 4 held" in shown.out
    assert "held: 4 cells · your account or QOS allows no more queued jobs" in shown.out
    assert "resume many.yaml" in shown.out.splitlines()[-1]
    slurm.limit(None)
    assert main(["resume", "many.yaml"]) == 0
    shown = capsys.readouterr()
    assert "submission 1: sent what waited, as job 3, 4" in shown.err
    assert "many: nothing to send · 10 on the way" in shown.out
    assert len(slurm.states()) == 10


def test_a_submission_asks_the_scheduler_once(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["submit", "many.yaml"]) == 0
    assert [call[0] for call in slurm.calls()] == ["squeue", "scontrol", "sbatch"]


def test_a_final_refusal_is_shown_and_holds_nothing(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.refuse("sbatch: error: invalid partition specified: nowhere")
    assert main(["submit", "many.yaml"]) == 3
    assert "the cluster has no such partition" in capsys.readouterr().err
    slurm.refuse("")
    assert main(["submit", "many.yaml"]) == 0
    assert "sent 10 tasks" in capsys.readouterr().out


def test_a_final_refusal_of_what_waited_frees_it_for_the_new_plan(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.limit(6)
    main(["submit", "many.yaml"])
    slurm.limit(None)
    slurm.refuse("sbatch: error: invalid account specified")
    assert main(["submit", "many.yaml"]) == 3
    slurm.refuse("")
    capsys.readouterr()
    assert main(["submit", "many.yaml"]) == 0
    assert "sent 4 tasks" in capsys.readouterr().out
    assert len(slurm.states()) == 10


def test_cancel_reaches_what_waits(slurm: FakeSlurm) -> None:
    slurm.limit(6)
    main(["submit", "many.yaml"])
    assert main(["cancel", "many.yaml", "--yes"]) == 0
    slurm.limit(None)
    assert main(["resume", "many.yaml", "--only", "seed=9"]) == 0
    names = [call for call in slurm.calls("sbatch") if "000002" in call[-1]]
    assert len(names) == 1


def test_ctrl_c_gives_up_what_was_not_begun(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.limit(6)
    main(["submit", "many.yaml", "--limit", "1"])

    def stopped(paths: SubmissionFiles, array: queueing.Array) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(submit, "send_slurm", stopped)
    assert main(["submit", "many.yaml"]) == 130
    found = ledger.read(RunRoot(tmp_path / "runs"), 2)
    now = time.time()
    assert [found.standing(chunk, now) for chunk in found.chunks][1:] == ["given_up"] * 2


def queued(*jobs: JobAnswer, limits: Limits | None = None) -> Answer:
    told = {job.job_id: job for job in jobs}
    return Answer(9e9, reachable=True, source=("squeue",), jobs=told, limits=limits or Limits())


@pytest.mark.parametrize(
    ("limits", "profile", "longest"),
    [
        (Limits(), Profile(), 1001),
        (Limits(max_array_size=10), Profile(), 10),
        (Limits(max_job_count=30), Profile(), 15),
        (Limits(), Profile(max_array_size=7), 7),
        (Limits(account_qos={"lab": "normal"}, qos_jobs={"normal": 9}), Profile(), 4),
        (Limits(qos_jobs={"long": 50}), Profile(qos="long"), 25),
        (Limits(account_jobs={"lab": 1}), Profile(account="lab"), 1),
    ],
)
def test_the_longest_array(limits: Limits, profile: Profile, longest: int) -> None:
    assert describing._longest([profile], queued(limits=limits)) == longest
    assert describing._longest([Profile()], None) == 1000


def test_what_a_dead_launcher_never_began_is_sent_without_what_others_took(
    tmp_path: Path,
) -> None:
    root = run_root(tmp_path)
    cells = [cell(seed) for seed in range(3)]
    paths = submission(root, cells)
    plan = files.read_json(paths.plan)
    files.replace(paths.plan, files.dumps({**plan, "launcher": DEAD}))
    later = submission(root, cells[1:2])
    chunks.intend(later, 0, 5.0)
    chunks.sent(later, 0, "7", [0], 6.0)
    told = queued(JobAnswer("7", "job-2-000", "running", True, "n1", "", "0:0", 6.0))
    seen = [ledger.read(root, number) for number in (1, 2)]
    assert list(earlier.waiting(root, "example", seen, told)) == [1]
    assert ledger.read(root, 1).skipped.keys() == {1}
