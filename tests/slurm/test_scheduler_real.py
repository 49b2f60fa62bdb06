"""`jobs.dispatch.scheduler` and `jobs.dispatch.slurm_text` before a real SLURM, with and without accounting."""

import subprocess
import time

import pytest

from jobs.dispatch import scheduler
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.slurm_text import translate_refusal
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import eventually

pytestmark = pytest.mark.slurm

ENDS = {"sleep 600": "RUNNING", "exit 0": "COMPLETED", "exit 3": "FAILED", "kill -9 $$": "FAILED"}


@pytest.fixture(params=["without accounting", "with accounting"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    kind = "on_slurm" if request.param == "without accounting" else "on_slurm_accounting"
    found = request.getfixturevalue(kind)
    assert isinstance(found, Cluster)
    return found


def ask(*job_ids: str) -> Answer:
    answer = scheduler.ask(job_ids=job_ids, now=time.time())
    assert answer.reachable, answer.message
    return answer


def test_jobs_in_every_state(cluster: Cluster) -> None:
    sent = {wrap: cluster.sbatch("--job-name=a|b c", f"--wrap={wrap}") for wrap in ENDS}
    for wrap, state in ENDS.items():
        cluster.wait_state(sent[wrap], state)
    held = cluster.sbatch("--hold", "--job-name=held", "--wrap=exit 0")
    answer = ask(*sent.values(), held)
    found = [answer.jobs[job_id] for job_id in [*sent.values(), held]]
    assert [(job.state, job.live, job.exit_code) for job in found] == [
        ("running", True, "0:0"),
        ("completed", False, "0:0"),
        ("failed", False, "3:0"),
        ("failed", False, "0:9"),
        ("pending", True, "0:0"),
    ]
    assert {job.name for job in found} == {"a|b c", "held"}
    assert found[0].nodes in cluster.nodes
    assert all(abs(time.time() - (job.submitted or 0)) < 120 for job in found)
    assert answer.named("held") == [held]


def test_an_array_task_by_task(cluster: Cluster) -> None:
    wrap = "--wrap=exit $((SLURM_ARRAY_TASK_ID == 2))"
    job_id = cluster.sbatch("--array=0-3", wrap)
    cluster.wait_state(job_id, "COMPLETED", "FAILED")
    waiting = cluster.sbatch("--hold", "--array=0-900%5", "--wrap=exit 0")
    answer = ask(job_id, waiting)
    states = [answer.jobs[f"{job_id}_{task}"].state for task in range(4)]
    assert states == ["completed", "completed", "failed", "completed"]
    assert (answer.is_live(job_id), answer.is_live(waiting)) == (False, True)
    assert answer.jobs[f"{waiting}_900"].state == "pending"


def test_a_cancelled_job_is_live_until_its_processes_are_gone(cluster: Cluster) -> None:
    job_id = cluster.sbatch("--wrap=trap '' TERM; while :; do sleep 0.1; done")
    cluster.wait_state(job_id, "RUNNING")
    cluster.run("scancel", job_id)
    first = ask(job_id).jobs[job_id]
    assert (first.state, first.live) in {("running", True), ("cancelled", False)}
    cluster.wait_state(job_id, "CANCELLED")
    assert ask(job_id).jobs[job_id].state == "cancelled"


def test_a_requeued_job_is_live(cluster: Cluster) -> None:
    job_id = cluster.sbatch("--requeue", "--wrap=sleep 600")
    cluster.wait_state(job_id, "RUNNING")
    cluster.run("scontrol", "requeue", job_id)
    assert ask(job_id).is_live(job_id) is True
    cluster.wait_state(job_id, "RUNNING")
    assert ask(job_id).jobs[job_id].state == "running"


@pytest.mark.proof  # SLURM counts limits in whole minutes
def test_a_time_limit(cluster: Cluster) -> None:
    job_id = cluster.sbatch("--time=1", "--wrap=sleep 600")
    cluster.wait_state(job_id, "TIMEOUT", timeout_s=150)
    assert ask(job_id).jobs[job_id].state == "timeout"


def test_the_limits_are_the_clusters(cluster: Cluster) -> None:
    limits = ask().limits
    assert (limits.max_array_size, limits.max_job_count, limits.kill_wait_s) == (1001, 20_000, 5)
    assert (limits.preempt_mode, limits.requeue, limits.version[:1]) == ("REQUEUE", True, "2")
    assert limits.accounting is cluster.options.accounting


def test_accounting_knows_what_the_controller_forgot(on_slurm_accounting: Cluster) -> None:
    """An id that squeue has no record of; a crash makes the same as an age of MinJobAge."""
    job_id = on_slurm_accounting.sbatch("--array=0-1", "--job-name=old", "--wrap=exit 3")
    on_slurm_accounting.wait_state(job_id, "FAILED")
    rows = ("sacct", "-X", "-n", "-P", "-j", job_id, "-o", "State")
    eventually(lambda: on_slurm_accounting.run(*rows) == "FAILED\n" * 2, "sacct knows")

    def forgetful(argv: list[str]) -> scheduler.Reply:
        reply = scheduler.command(argv)
        kept = [line for line in reply.out.splitlines() if not line.startswith(f"{job_id}_")]
        return scheduler.Reply(
            reply.code, "\n".join(kept) if argv[0] == "squeue" else reply.out, ""
        )

    answer = scheduler.ask(job_ids=[job_id], now=1.0, run=lambda argv: forgetful([*argv]))
    assert answer.source == ("squeue", "sacct")
    told = answer.lookup(f"{job_id}_1", "old")
    assert told is not None
    assert (told.state, told.exit_code, told.live) == ("failed", "3:0", False)


def test_a_silent_controller(on_slurm: Cluster) -> None:
    job_id = on_slurm.sbatch("--hold", "--wrap=exit 0")
    on_slurm.wait_saved(job_id)
    on_slurm.kill_controller()
    try:
        answer = scheduler.ask(job_ids=[job_id], now=1.0)
    finally:
        on_slurm.start_controller()
    assert (answer.reachable, answer.is_live(job_id)) == (False, None)
    assert "Unable to contact slurm controller" in answer.message
    assert ask(job_id).is_live(job_id) is True


def refusal(cluster: Cluster, argument: str) -> list[str]:
    argv = ["sbatch", argument, "--output=/dev/null", "--wrap=exit 0"]
    done = subprocess.run(argv, env=cluster.env, capture_output=True, text=True, check=False)
    assert done.returncode
    return translate_refusal(done.stderr).splitlines()


@pytest.mark.parametrize(
    ("argument", "meaning"),
    [
        ("--partition=nosuch", "no such partition"),
        ("--array=0-1001", "MaxArraySize"),
        ("--mem=1000G", "no node of the partition is that large"),
        ("--gres=gpu:5", "no node of the partition is that large"),
        ("--gres=tpu:1", "no such GPU"),
        ("--constraint=fast", "no node has this feature"),
        ("--nodelist=zz", "no such node"),
    ],
)
def test_refusals_of_a_real_sbatch(on_slurm: Cluster, argument: str, meaning: str) -> None:
    lines = refusal(on_slurm, argument)
    assert lines[0].startswith("sbatch: error: ")
    assert meaning in lines[-1]


@pytest.mark.parametrize(
    ("argument", "meaning"),
    [("--account=nosuch", "set `account`"), ("--qos=nosuch", "set `qos` in site.yaml")],
)
def test_refusals_where_there_is_accounting(
    on_slurm_accounting: Cluster, argument: str, meaning: str
) -> None:
    assert meaning in refusal(on_slurm_accounting, argument)[-1]


@pytest.mark.parametrize(
    ("limit", "argument", "meaning"),
    [
        ("MaxSubmitJobsPerUser=2", "--array=0-4", "allows no more queued jobs"),
        ("MaxWall=5", "--time=60", "larger or longer"),
    ],
)
def test_limits_of_a_qos(
    on_slurm_accounting: Cluster, limit: str, argument: str, meaning: str
) -> None:
    change = ("sacctmgr", "-i", "modify", "qos", "normal", "set")
    on_slurm_accounting.run(*change, limit, "flags=DenyOnLimit")
    try:
        assert meaning in refusal(on_slurm_accounting, argument)[-1]
    finally:
        on_slurm_accounting.run(*change, f"{limit.partition('=')[0]}=-1")
