"""What SLURM 22.05 prints, read back."""

import pytest

from jobs.dispatch.slurm_text import (
    Limits,
    expand,
    judged,
    parse_associations,
    parse_limits,
    parse_qos,
    parse_sacct,
    parse_squeue,
    state_of,
)
from jobs.dispatch.slurm_text import translate_refusal as translated

SQUEUE = """JOBID|STATE|EXIT_CODE|NODELIST|SUBMIT_TIME|REASON|NAME
1_0|COMPLETED|0|p1n1|1795253492|None|a name|x
1_3|FAILED|768|p1n1|1795253492|NonZeroExitCode|a
7|FAILED|9|p1n1|1795253532|JobLaunchFailure|wrap
10|RUNNING|0|p1n[1-2]|1795253532|None|wrap
11|COMPLETING|0|p1n3||None|wrap
8_[0-6:3,9%2]|PENDING|0||1795253532|Dependency|two
lines
"""
SACCT = """JobID|State|ExitCode|NodeList|Submit|Reason|JobName
5|NODE_FAIL|1:0|n1|1795253400|None|cell
5|CANCELLED by 1000|0:15|n2|1795253492|None|cell
6_[2-3]|PENDING|0:0|None assigned|1795253492|Priority|cell
"""


@pytest.mark.parametrize(
    ("job_id", "state", "live", "exit_code", "nodes"),
    [
        ("1_0", "completed", False, "0:0", "p1n1"),
        ("1_3", "failed", False, "3:0", "p1n1"),
        ("7", "failed", False, "0:9", "p1n1"),
        ("10", "running", True, "0:0", "p1n[1-2]"),
        ("11", "running", True, "0:0", "p1n3"),
        ("8_9", "pending", True, "0:0", ""),
    ],
)
def test_squeue_lines_become_answers(
    job_id: str, state: str, live: bool, exit_code: str, nodes: str
) -> None:
    job = (parse_squeue(SQUEUE) or {})[job_id]
    assert (job.state, job.live, job.exit_code, job.nodes) == (state, live, exit_code, nodes)


def test_a_name_may_hold_the_separator_and_a_line_break() -> None:
    found = parse_squeue(SQUEUE)
    assert found is not None
    assert found["1_0"].name == "a name|x"
    assert [i for i in found if i.startswith("8")] == ["8_0", "8_3", "8_6", "8_9"]


def test_times_are_unix_times() -> None:
    found = parse_squeue(SQUEUE) or {}
    assert found["1_0"].submitted == 1795253492.0
    assert found["11"].submitted is None


def test_the_last_row_of_a_requeued_job_counts() -> None:
    job = (parse_sacct(SACCT) or {})["5"]
    assert (job.state, job.live, job.exit_code, job.nodes) == ("cancelled", False, "0:15", "n2")


def test_sacct_expands_pending_arrays() -> None:
    found = parse_sacct(SACCT) or {}
    assert [(i, j.nodes) for i, j in found.items() if i != "5"] == [("6_2", ""), ("6_3", "")]


@pytest.mark.parametrize("text", ["", "\n", "slurm_load_jobs error\n", "1|RUNNING|\n"])
def test_silence_is_not_an_empty_queue(text: str) -> None:
    assert parse_squeue(text) is None
    assert parse_sacct(text) is None


@pytest.mark.parametrize(
    ("words", "state", "live"),
    [
        ("PENDING", "pending", True),
        ("REQUEUED", "pending", True),
        ("REQUEUE_HOLD", "pending", True),
        ("CONFIGURING", "pending", True),
        ("SUSPENDED", "running", True),
        ("STAGE_OUT", "running", True),
        ("SIGNALING", "running", True),
        ("CANCELLED by 1000", "cancelled", False),
        ("CANCELLED+", "cancelled", False),
        ("OUT_OF_MEMORY", "out_of_memory", False),
        ("PREEMPTED", "preempted", False),
        ("BOOT_FAIL", "node_fail", False),
        ("DEADLINE", "timeout", False),
        ("A_NEW_WORD", "unknown", True),
        ("", "unknown", True),
    ],
)
def test_states(words: str, state: str, live: bool) -> None:
    assert state_of(words) == (state, live)


@pytest.mark.parametrize(
    ("ids", "count"),
    [("123", 1), ("123_4", 1), ("5_[7]", 1), ("5_[0-999]", 1000), ("5_[1,3-4%1]", 3), ("5+0", 1)],
)
def test_expand(ids: str, count: int) -> None:
    assert len(set(expand(ids))) == count


def test_limits_are_read_and_missing_ones_keep_the_default() -> None:
    text = (
        "AccountingStorageType   = accounting_storage/slurmdbd\nKillWait                = 5 sec\n"
        "MaxArraySize            = 5001\nPreemptMode             = GANG,SUSPEND\n"
    )
    found = parse_limits(text, 7.0)
    assert (found.max_array_size, found.kill_wait_s, found.preempt_mode) == (
        5001,
        5,
        "GANG,SUSPEND",
    )
    assert (found.accounting, found.min_job_age_s, found.asked_at) == (True, 300, 7.0)


def test_no_accounting() -> None:
    assert not parse_limits("AccountingStorageType = accounting_storage/none\n", 0.0).accounting
    assert not parse_limits("AccountingStorageType = (null)\n", 0.0).accounting


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (f"{FAILED}Invalid partition name specified", "`partition` of the profile"),
        (f"{FAILED}Invalid account or account/partition combination specified", "`account`"),
        (f"{FAILED}Invalid qos specification", "`qos` in site.yaml"),
        (f"{FAILED}Invalid job array specification", "MaxArraySize"),
        (f"{FAILED}Requested node configuration is not available", "no node of the partition"),
        ("sbatch: error: Memory specification can not be satisfied", "mem_gb"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gpus_per_node"),
        (f"{FAILED}Invalid feature specification", "`constraint`"),
        (f"{FAILED}Invalid node name specified", "`nodelist`"),
        (f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)", "timeout_min"),
        (
            f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{FAILED}Job violates accounting/QOS "
            "policy (job submit limit, user's size and/or time limits)",
            "no more queued jobs",
        ),
        (
            f"sbatch: error: QOSMaxCpuPerJobLimit\n{FAILED}Job violates accounting/QOS policy "
            "(job submit limit, user's size and/or time limits)",
            "larger or longer",
        ),
        (f"{FAILED}Slurm temporarily unable to accept job, sleeping and retrying", "as it can"),
        (f"{FAILED}Unable to contact slurm controller (connect failure)", "does not answer"),
        ("sbatch: fatal: Could not establish a configuration source", "does not answer"),
        ("sbatch: error: something new", "`doctor`"),
        ("", "`doctor`"),
    ],
)
def test_refusals_keep_their_words_and_gain_a_meaning(said: str, meaning: str) -> None:
    lines = translated(f"bypass: {said}" if not said.startswith("sbatch") else said).splitlines()
    assert lines[: len(said.splitlines())] == said.splitlines()
    assert meaning in lines[-1]


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("QOSMaxSubmitJobPerUserLimit", "limit"),
        ("AssocMaxSubmitJobLimit", "limit"),
        ("AssocGrpSubmitJobsLimit", "limit"),
        ("Slurm temporarily unable to accept job, sleeping and retrying", "limit"),
        ("Slurm job queue full, sleeping and retrying", "limit"),
        (f"{FAILED}Invalid job array specification", "long"),
        (f"{FAILED}Socket timed out on send/recv operation", "doubt"),
        (f"{FAILED}Unable to contact slurm controller (connect failure)", "doubt"),
        (f"{FAILED}Zero Bytes were transmitted or received", "doubt"),
        ("QOSMaxCpuPerJobLimit", "final"),
        (f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)", "final"),
        ("sbatch: error: invalid partition specified: nowhere", "final"),
        ("", "final"),
    ],
)
def test_complaints_are_judged(said: str, meaning: str) -> None:
    assert judged(said) == meaning


def test_limits_on_queued_jobs() -> None:
    jobs, usual = parse_associations("lab||15|\nbig|long|200|50\nfree||||\n")
    assert jobs == {"lab": 15, "big": 50}
    assert usual == {"lab": "normal", "big": "long", "free": "normal"}
    qos = parse_qos("normal|20||\nlong|||\nshort|30|10|\n")
    assert qos == {"normal": 20, "short": 10}
    limits = Limits(account_jobs=jobs, account_qos=usual, qos_jobs=qos)
    assert limits.most_queued(None, None) == (15, "account lab")
    assert limits.most_queued("free", None) == (20, "QOS normal")
    assert limits.most_queued("big", None) == (50, "account big")
    assert limits.most_queued("free", "short") == (10, "QOS short")
    assert Limits().most_queued(None, None) is None
