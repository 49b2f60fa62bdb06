"""A SLURM of one file: sbatch, squeue, sacct, sacctmgr, scontrol and more, with a movable clock.

`FakeSlurm(folder)` writes the commands to `folder/bin`; what they know lies in `folder/state.json`.
Nothing runs: tests move jobs from state to state. What the fake prints was copied from the shape of
SLURM 22.05's answers; the real cluster of tests/slurm is the judge.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

COMMANDS = ("sbatch", "squeue", "sacct", "sacctmgr", "scontrol", "scancel", "sinfo", "srun")
ENDED = frozenset({
    "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED",
})  # fmt: skip
Fault = Literal["fail", "hang", "nothing", "refuse", "taken", "busy"]
"""Socket timed out; no answer; empty answer; permission denied; sbatch took the job and then timed
out; the controller holds as many jobs as it can."""
_CONFIG = """Configuration data as of 2024-01-01T00:00:00
AccountingStorageEnforce = {enforce}
AccountingStorageType   = {storage}
ClusterName             = fake
JobRequeue              = 1
KillWait                = 30 sec
MaxArraySize            = {max_array_size}
MaxJobCount             = 10000
MinJobAge               = {min_job_age} sec
PreemptMode             = REQUEUE
SLURM_VERSION           = 22.05.8
"""


class FakeSlurm:
    """The tests' side: put `bin` on PATH, then move the clock and the jobs.

    Attributes:
        bin: folder with the commands.
    """

    def __init__(self, folder: Path, *, accounting: bool = True, max_array_size: int = 1001):
        self.bin = folder / "bin"
        self._state = folder / "state.json"
        self._log = folder / "calls.jsonl"
        self.bin.mkdir(parents=True)
        body = Path(__file__).read_text()
        for name in COMMANDS:
            path = self.bin / name
            path.write_text(f"#!{sys.executable} -IS\n{body}")
            path.chmod(0o755)
        self._change(
            now=1_700_000_000.0,
            accounting=accounting,
            max_array_size=max_array_size,
            min_job_age=300,
            next_id=1,
            jobs={},
            faults={},
            refusal="",
            most=None,
        )

    def _change(self, **values: Any) -> None:
        state = json.loads(self._state.read_text()) if self._state.exists() else {}
        self._state.write_text(json.dumps({**state, **values}))

    def _read(self, key: str) -> Any:
        return json.loads(self._state.read_text())[key]

    @property
    def now(self) -> float:
        """The cluster's clock, unix time."""
        return float(self._read("now"))

    def advance(self, seconds: float) -> None:
        """Let time pass; the controller forgets ended jobs after MinJobAge."""
        self._change(now=self.now + seconds)

    def fault(self, command: str, *faults: Fault) -> None:
        """Let the next calls of a command go wrong, one fault each."""
        self._change(faults={**self._read("faults"), command: faults})

    def refuse(self, words: str) -> None:
        """Let sbatch refuse everything with these words; "" ends it."""
        self._change(refusal=words)

    def limit(self, most: int | None) -> None:
        """Let a QOS allow so many queued jobs, or any number; it is on record where limits are."""
        self._change(most=most)

    def add(self, name: str, tasks: Iterable[int] = (), state: str = "PENDING") -> str:
        """A job as sbatch would have made it; its id."""
        text = self._state.read_text()
        state_of = json.loads(text)
        job_id = _add(state_of, name, list(tasks))
        self._state.write_text(json.dumps(state_of))
        self.move(job_id, state)
        return job_id

    def move(self, job_id: str, state: str, *, exit_code: str = "0:0", nodes: str = "n1") -> None:
        """Put a job, a task or all tasks of an array into a state."""
        jobs = self._read("jobs")
        for key, job in jobs.items():
            if key == job_id or key.startswith(f"{job_id}_"):
                job |= {"state": state, "exit_code": exit_code, "changed": self.now}
                job["nodes"] = "" if state == "PENDING" else nodes
        self._change(jobs=jobs)

    def crash(self, *lost: str) -> None:
        """The controller died before it saved these jobs; accounting still calls them live."""
        jobs = self._read("jobs")
        for key, job in jobs.items():
            job["lost"] = job["lost"] or key.partition("_")[0] in lost
        self._change(jobs=jobs, next_id=min(int(key) for key in lost))

    def states(self) -> dict[str, str]:
        """State of every job and task."""
        return {key: job["state"] for key, job in self._read("jobs").items()}

    def calls(self, command: str | None = None) -> list[list[str]]:
        """What was called, with its arguments."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        found = [json.loads(line) for line in lines]
        return [call for call in found if command in {None, call[0]}]


def _add(state: dict[str, Any], name: str, tasks: list[int]) -> str:
    job_id = str(state["next_id"])
    state["next_id"] += 1
    job = {"name": name, "state": "PENDING", "exit_code": "0:0", "nodes": "", "lost": False}
    times = {"submitted": state["now"], "changed": state["now"]}
    for key in [f"{job_id}_{task}" for task in tasks] or [job_id]:
        state["jobs"][key] = {**job, **times}
    return job_id


def _known(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Jobs that the controller knows: live, or ended less than MinJobAge ago."""
    oldest = state["now"] - state["min_job_age"]
    return {
        key: job
        for key, job in state["jobs"].items()
        if not job["lost"] and (job["state"] not in ENDED or job["changed"] > oldest)
    }


def _squeue(state: dict[str, Any], arguments: list[str]) -> str:
    every = "--states=all" in arguments
    lines = ["JOBID|STATE|EXIT_CODE|NODELIST|SUBMIT_TIME|REASON|NAME"]
    for key, job in _known(state).items():
        if every or job["state"] not in ENDED:
            code, _, number = job["exit_code"].partition(":")
            status = int(code) * 256 + int(number)
            when = int(job["submitted"])
            head = f"{key}|{job['state']}|{status}|{job['nodes']}|{when}"
            lines.append(f"{head}|None|{job['name']}")
    return "\n".join(lines) + "\n"


def _sacct(state: dict[str, Any], arguments: list[str]) -> str:
    if not state["accounting"]:
        sys.exit("Slurm accounting storage is disabled")
    given = dict(a.partition("=")[::2] for a in arguments)
    ids, names = ({*given.get(key, "").split(",")} for key in ("--jobs", "--name"))
    lines = ["JobID|State|ExitCode|NodeList|Submit|Reason|JobName"]
    for key, job in state["jobs"].items():
        if key.partition("_")[0] in ids or job["name"] in names:
            word = "CANCELLED by 1000" if job["state"] == "CANCELLED" else job["state"]
            head = f"{key}|{word}|{job['exit_code']}|{job['nodes'] or 'None assigned'}"
            lines.append(f"{head}|{int(job['submitted'])}|None|{job['name']}")
    return "\n".join(lines) + "\n"


def _sbatch(state: dict[str, Any], arguments: list[str]) -> str:
    if state["refusal"]:
        sys.exit(state["refusal"])
    scripts = [a for a in arguments if not a.startswith("-") and Path(a).is_file()]
    lines = Path(scripts[-1]).read_text().splitlines() if scripts else []
    given = [line.removeprefix("#SBATCH ").strip() for line in lines if "#SBATCH" in line]
    options = dict(o.lstrip("-").partition("=")[::2] for o in [*given, *arguments])
    span = re.fullmatch(r"(\d+)-(\d+)(?:%\d+)?", options.get("array", ""))
    tasks = list(range(int(span[1]), int(span[2]) + 1)) if span else []
    if tasks and tasks[-1] >= state["max_array_size"]:
        sys.exit("sbatch: error: Batch job submission failed: Invalid job array specification")
    live = sum(job["state"] not in ENDED for job in state["jobs"].values())
    if state["most"] is not None and live + max(1, len(tasks)) > state["most"]:
        sys.exit(
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission "
            "failed: Job violates accounting/QOS policy (job submit limit, user's size and/or "
            "time limits)"
        )
    job_id = _add(state, options.get("job-name", "wrap"), tasks)
    return f"{job_id}\n" if "parsable" in options else f"Submitted batch job {job_id}\n"


def _scontrol(state: dict[str, Any], arguments: list[str]) -> str:
    storage = "slurmdbd" if state["accounting"] else "none"
    if arguments[:2] == ["show", "config"]:
        enforce = "none" if state["most"] is None else "associations,limits,qos"
        more = {"storage": f"accounting_storage/{storage}", "enforce": enforce}
        return _CONFIG.format(**{**state, **more})
    return "Slurmctld(primary) at fake is UP\n"


def _sacctmgr(state: dict[str, Any], arguments: list[str]) -> str:
    return "lab||40|\n" if "associations" in arguments else f"normal|{state['most'] or ''}||\n"


def _scancel(state: dict[str, Any], arguments: list[str]) -> str:
    wanted = {a for a in arguments if not a.startswith("-")}
    for key, job in _known(state).items():
        if {key, key.partition("_")[0]} & wanted and job["state"] not in ENDED:
            job |= {"state": "CANCELLED", "changed": state["now"], "exit_code": "0:15"}
    return ""


def _main(command: str, arguments: list[str]) -> None:
    """The commands' side."""
    folder = Path(__file__).parents[1]
    with (folder / "calls.jsonl").open("a") as log:
        log.write(json.dumps([command, *arguments]) + "\n")
    path = folder / "state.json"
    state = json.loads(path.read_text())
    fault = state["faults"].get(command, [])[:1]
    if fault:
        state["faults"][command].pop(0)
        if fault[0] == "taken":
            _sbatch(state, arguments)
        path.write_text(json.dumps(state))
        _fail(command, fault[0])
    answers = {"sbatch": _sbatch, "squeue": _squeue, "sacct": _sacct, "scontrol": _scontrol}
    answer = {**answers, "scancel": _scancel, "sacctmgr": _sacctmgr}.get(command)
    text = "main up 3 idle n[1-3]\n" if answer is None else answer(state, arguments)
    path.write_text(json.dumps(state))
    print(text, end="")


def _fail(command: str, fault: Fault) -> None:
    if fault == "hang" and os.fork():  # a wrapper's child holds the pipes too
        time.sleep(600)
    if fault == "hang":
        time.sleep(600)
    if fault == "busy":
        print("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
              file=sys.stderr, flush=True)  # fmt: skip
        time.sleep(600)
    if fault == "nothing":
        sys.exit(0)
    if fault == "refuse":
        sys.exit(f"{command}: error: Access/permission denied")
    sys.exit(f"{command}: error: Socket timed out on send/recv operation")


if __name__ == "__main__" and Path(sys.argv[0]).name in COMMANDS:
    _main(Path(sys.argv[0]).name, sys.argv[1:])
