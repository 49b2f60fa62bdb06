"""What SLURM's commands print, as data; and the commands that make them print it. Pure."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

JobState = Literal[
    "pending", "running", "completed", "failed", "timeout", "out_of_memory", "preempted",
    "node_fail", "cancelled", "unknown",
]  # fmt: skip

_LIVE: dict[str, JobState] = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"), "pending"),
    **dict.fromkeys(("RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING", "EXPEDITING"), "pending"),
    **dict.fromkeys(("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"), "running"),
    **dict.fromkeys(("RESIZING", "SIGNALING", "STAGE_OUT", "POWER_UP_NODE"), "running"),
}
_ENDED: dict[str, JobState] = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "OUT_OF_MEMORY": "out_of_memory",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node_fail",
    "BOOT_FAIL": "node_fail",
    "LAUNCH_FAILED": "node_fail",
    "RECONFIG_FAIL": "node_fail",
    "CANCELLED": "cancelled",
}

# Both print a header, so that no output at all is known from "no jobs"; the name comes last,
# since it may hold any character. --states=all adds what ended less than MinJobAge ago: one
# question for this user's jobs, where `scontrol show job` would send everybody's.
SQUEUE = (
    "squeue", "--me", "--all", "--array", "--states=all",
    "--Format=JobArrayID:|,State:|,exit_code:|,NodeList:|,SubmitTime:|,Reason:|,Name:",
)  # fmt: skip
# Without --duplicates: of a job that was requeued the last row alone is sent.
SACCT = (
    "sacct", "--allocations", "--parsable2",
    "--format=JobID,State,ExitCode,NodeList,Submit,Reason,JobName",
)  # fmt: skip
CONFIG = ("scontrol", "show", "config")
ASSOCIATIONS = (
    "sacctmgr", "--noheader", "--parsable2", "show", "associations",
    "format=Account,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs",
)  # fmt: skip
QOS = (
    "sacctmgr", "--noheader", "--parsable2", "show", "qos",
    "format=Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmitJobs",
)  # fmt: skip
VARIABLES = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}
"""Environment that the parsers rely on: unix times, unshortened array ranges, English."""

_FIELDS = 7
_HEADER = r"[a-z_]+(\|[a-z_]+){5}\|[a-z_]*name"


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """What SLURM says of one job or array task.

    Attributes:
        job_id: e.g. "123" or "123_4".
        name: part of its identity, since ids are used again after a crash of the controller.
        state: in our words.
        live: the controller may still run it, now or later.
        nodes: SLURM's expression, e.g. "n[1-2]"; empty while pending.
        reason: SLURM's own word for why it waits or ended.
        exit_code: "code:signal"; empty if SLURM did not tell.
        submitted: unix time.
    """

    job_id: str
    name: str
    state: JobState
    live: bool
    nodes: str
    reason: str
    exit_code: str
    submitted: float | None


@dataclass(frozen=True)
class Limits:
    """Settings of a cluster that matter here; SLURM's own defaults until it was asked.

    Attributes:
        asked_at: unix time of the answer; 0 if it was not asked.
        version: of SLURM.
        max_array_size: so many tasks fit into one array, with indices from 0.
        max_job_count: jobs of all users together that the controller holds.
        kill_wait_s: seconds between TERM and KILL.
        min_job_age_s: seconds for which the controller remembers an ended job.
        preempt_mode: OFF, or what happens to preempted jobs, e.g. REQUEUE.
        requeue: jobs are requeued after the failure of a node.
        accounting: a database answers sacct.
        cluster: its name, which accounting knows it by.
        enforced: limits of accounts and QOS hold.
        account_jobs: account → queued jobs that it allows this user; absent if unlimited or not
            known.
        account_qos: account → the QOS of jobs that name none.
        qos_jobs: QOS → queued jobs that it allows this user, likewise.
    """

    asked_at: float = 0.0
    version: str = ""
    max_array_size: int = 1001
    max_job_count: int = 10_000
    kill_wait_s: int = 30
    min_job_age_s: int = 300
    preempt_mode: str = "OFF"
    requeue: bool = True
    accounting: bool = True
    cluster: str = ""
    enforced: bool = False
    account_jobs: Mapping[str, int] = field(default_factory=dict)
    account_qos: Mapping[str, str] = field(default_factory=dict)
    qos_jobs: Mapping[str, int] = field(default_factory=dict)

    def most_queued(self, account: str | None, qos: str | None) -> tuple[int, str] | None:
        """How many jobs of this user may be queued at once, and by whose limit.

        Args:
            account: that jobs name; without one, the strictest that the user has counts.
            qos: that jobs name.

        Returns:
            None if nothing limits it, as far as is known.
        """
        accounts = [account] if account else [*self.account_qos]
        names = [qos] if qos else [self.account_qos.get(name, "normal") for name in accounts]
        found = [(self.account_jobs[a], f"account {a}") for a in accounts if a in self.account_jobs]
        found += [(self.qos_jobs[name], f"QOS {name}") for name in names if name in self.qos_jobs]
        return min(found, default=None)


def state_of(words: str) -> tuple[JobState, bool]:
    """SLURM's state in our words, and whether the job is live.

    A word that is not known may stand for a job that runs, so it counts as live.
    """
    word = (words.split() or [""])[0].rstrip("+")
    if word in _ENDED:
        return _ENDED[word], False
    return _LIVE.get(word, "unknown"), True


def parse_squeue(text: str) -> dict[str, JobAnswer] | None:
    """Jobs by id, from the output of `SQUEUE`; None if the header is missing."""
    return _table(text)


def parse_sacct(text: str) -> dict[str, JobAnswer] | None:
    """Jobs by id, from the output of `SACCT`; None if the header is missing.

    A job may have several rows (requeued, or its id used again); the last one counts.
    """
    return _table(text)


def _table(text: str) -> dict[str, JobAnswer] | None:
    lines = text.splitlines()
    if not lines or re.fullmatch(_HEADER, lines[0], re.IGNORECASE) is None:
        return None
    return {job.job_id: job for line in lines[1:] for job in _jobs(line)}


def _jobs(line: str) -> Iterator[JobAnswer]:
    fields = line.split("|", _FIELDS - 1)
    if len(fields) != _FIELDS:  # the rest of a name with a line break
        return
    ids, words, code, nodes, submitted, reason, name = fields
    state, live = state_of(words)
    for job_id in expand(ids):
        yield JobAnswer(
            job_id=job_id,
            name=name,
            state=state,
            live=live,
            nodes="" if nodes in {"None assigned", "(null)"} else nodes,
            reason="" if reason in {"None", "(null)"} else reason,
            exit_code=_exit_code(code),
            submitted=float(submitted) if submitted.isdecimal() else None,
        )


def _exit_code(code: str) -> str:
    """squeue prints the status of wait(2), sacct prints code:signal."""
    return f"{int(code) >> 8}:{int(code) & 0x7F}" if code.isdecimal() else code


def expand(ids: str) -> list[str]:
    """Ids of all tasks of an expression: "7_[0-6:3,9%2]" is 7_0, 7_3, 7_6 and 7_9."""
    match = re.fullmatch(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]", ids)
    if match is None:
        return [ids]
    found: list[str] = []
    for part in match[2].split(","):
        bounds, _, step = part.partition(":")
        first, _, last = bounds.partition("-")
        tasks = range(int(first), int(last or first) + 1, int(step or 1))
        found += (f"{match[1]}_{task}" for task in tasks)
    return found


def base_id(job_id: str) -> str:
    """Id of the array that a task belongs to."""
    return job_id.partition("_")[0]


def parse_limits(text: str, asked_at: float) -> Limits:
    """The limits that `CONFIG` printed; what is missing keeps SLURM's default."""
    pairs = (line.partition("=") for line in text.splitlines())
    found = {key.strip(): value.strip() for key, _, value in pairs}
    usual = Limits()
    enforced = found.get("AccountingStorageEnforce", "").lower()

    def number(key: str, default: int) -> int:
        match = re.match(r"\d+", found.get(key, ""))
        return int(match[0]) if match else default

    return Limits(
        asked_at=asked_at,
        version=found.get("SLURM_VERSION", ""),
        max_array_size=number("MaxArraySize", usual.max_array_size),
        max_job_count=number("MaxJobCount", usual.max_job_count),
        kill_wait_s=number("KillWait", usual.kill_wait_s),
        min_job_age_s=number("MinJobAge", usual.min_job_age_s),
        preempt_mode=found.get("PreemptMode", usual.preempt_mode),
        requeue=number("JobRequeue", 1) == 1,
        accounting=found.get("AccountingStorageType", "").endswith("/slurmdbd"),
        cluster=found.get("ClusterName", ""),
        enforced=bool({"limits", "qos", "safe", "all"} & {*enforced.split(",")}),
    )


def parse_associations(text: str) -> tuple[dict[str, int], dict[str, str]]:
    """Queued jobs that each account allows, and its default QOS, from `ASSOCIATIONS`."""
    jobs, qos = {}, {}
    for line in text.splitlines():
        account, usual, *numbers = line.split("|")
        qos[account] = usual or "normal"
        if limits := [int(number) for number in numbers if number.isdecimal()]:
            jobs[account] = min(limits)
    return jobs, qos


def parse_qos(text: str) -> dict[str, int]:
    """Queued jobs that each QOS allows, from `QOS`."""
    found = {}
    for line in text.splitlines():
        name, *numbers = line.split("|")
        if limits := [int(number) for number in numbers if number.isdecimal()]:
            found[name] = min(limits)
    return found


Judgement = Literal["limit", "long", "doubt", "final"]

_JUDGEMENTS: tuple[tuple[str, Judgement], ...] = (
    (r"(Max|Grp)Submit|MaxJobCount|unable to accept job|queue full|too many jobs", "limit"),
    (r"invalid job array", "long"),
    (r"timed out|timeout|zero bytes|communication|unable to contact|connect failure", "doubt"),
)

BUSY = "sleeping and retrying"
"""Words of an sbatch that was refused for now and tries again by itself, for two minutes."""


def judged(text: str) -> Judgement:
    """What sbatch's complaint means for the job.

    Args:
        text: its standard error.

    Returns:
        limit: it may be sent once fewer jobs are queued; long: as a shorter array; doubt: the
        controller may have taken it all the same; final: it must be changed.
    """
    for pattern, judgement in _JUDGEMENTS:
        if re.search(pattern, text, re.IGNORECASE):
            return judgement
    return "final"


_REFUSALS = (
    (r"invalid partition", "the cluster has no such partition, or you may not use it; `sinfo -s` "
     "lists them: set `partition` of the profile in site.yaml"),
    (r"invalid account", "the cluster does not let you charge this account or partition; "
     "`sacctmgr show associations user=$USER` lists yours: set `account` in site.yaml"),
    (r"invalid qos", "this QOS does not exist or is not yours; `sacctmgr show qos` lists them: "
     "set `qos` in site.yaml"),
    (r"invalid job array", "the array is longer than the cluster's MaxArraySize "
     "(`scontrol show config`): set `max_array_size` of the profile in site.yaml"),
    (r"(Max|Grp)Submit", "your account or QOS allows no more queued jobs now"),
    (r"(QOS|Assoc)(Max|Grp|Min)", "the job is larger or longer than your account or QOS allows: "
     "lower nodes, gpus_per_node, mem_gb or timeout_min under `resources`, or set `qos` in "
     "site.yaml"),
    (r"violates accounting", "the job is beyond a limit of your account or QOS "
     "(`sacctmgr show qos`): lower `resources`, or run `resume` once some jobs have ended"),
    (r"too many jobs|queue full|MaxJobCount|unable to accept job",
     "the cluster holds as many jobs as it can (MaxJobCount)"),
    (r"node configuration is not available|memory specification can not|more processors requested",
     "no node of the partition is that large: lower cpus_per_gpu, gpus_per_node or mem_gb under "
     "`resources`, or choose another profile; `sinfo -N -l` shows the nodes"),
    (r"generic resource|\bgres\b", "the cluster has no such GPU: see `sinfo -o '%P %G'`, then "
     "correct gpus_per_node under `resources` or `gres` in site.yaml"),
    (r"feature specification", "no node has this feature; `sinfo -o '%P %f'` lists them: correct "
     "`constraint` in site.yaml"),
    (r"node name specified", "the cluster has no such node: correct `nodelist` or `exclude` in "
     "site.yaml"),
    (r"time limit", "timeout_min is beyond the partition's limit (`sinfo -o '%P %l'`): lower it "
     "under `resources`, or choose another profile"),
    (r"unable to contact|connect failure|socket timed out|configuration source|zero bytes",
     "SLURM does not answer; nothing is known to be sent. On a cluster, run the same command again "
     "later; to run on this machine, add --cluster local"),
)  # fmt: skip
"""What sbatch says, and what it means; the first that fits counts."""


def translate_refusal(text: str) -> str:
    """sbatch's own words, then what they mean here.

    Args:
        text: its standard error, or an exception's text that holds it.
    """
    said = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line for line in said if line.startswith("sbatch:")] or said or ["sbatch said nothing"]
    words = list(itertools.islice(dict.fromkeys(own), 8))
    for pattern, meaning in _REFUSALS:
        if re.search(pattern, "\n".join(words), re.IGNORECASE):
            return "\n".join([*words, meaning])
    return "\n".join([*words, "sbatch refused the job; `doctor` shows what the cluster offers"])
