"""One task of a submission on one node: claim a cell, run torchrun, see how it ended.

It decides nothing by exit codes (torchrun's say nothing) and stores no state: what a cell became
stands in its own files, and a task that cannot or need not run says so in `skipped/`.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import attempts, files, identity, processes
from jobs.dispatch import breaker, codes, holds, ledger, retry
from jobs.expand.blocks import Resources
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning.request import SHUTDOWN_S, parents, torchrun
from jobs.running import meeting
from jobs.running.undone import leftover, unfinished
from jobs.upkeep import tombstones

POLL_S = 0.2
CANCEL_POLLS = 10
"""Polls of the agent between two looks for a cancel file, to spare a network filesystem."""
DYING_S = 30.0
"""Seconds that an attempt which was told to end may still hold its cell on this machine."""
HERE = "is running on this machine"


def resources_of(line: Mapping[str, Any]) -> Resources:
    """The shape of a task, from its line of array.jsonl or its chunk in plan.json."""
    return identity.restore_as(Resources, line["resources"])


def obstacle(
    root: RunRoot, paths: SubmissionFiles, index: int, order: Mapping[str, Any]
) -> str | None:
    """Why a work order of a task cannot or need not run now, or None."""
    if paths.cancelled(index):
        return "cancelled before it started"
    if not unfinished(root, order):
        return leftover(root, order) or "everything is recorded already"
    if hold := holds.blocking(paths, index):
        return hold.skip
    if reason := _orphaned(root, order):
        return reason
    training_id = order["training_id"]
    cell = root.cell(training_id)
    found = [attempts.read(cell, number) for number in attempts.numbers(cell)[-1:]]
    if other := attempts.running_here(found):
        return f"attempt {other.number} of {order['label']} {HERE}"
    spent = retry.spent(root, training_id, paths.number)
    return f"given up: {spent}" if spent else None


def _orphaned(root: RunRoot, order: Mapping[str, Any]) -> str | None:
    """What a cell still needs of its parents, or None."""
    for parent, stage in parents(order["spec"]):
        if not root.cell(parent).training.exists():
            return f"its parent {parent} is not trained"
        if stage is not None and not root.cell(parent).stage(stage).exists():
            return f"its parent {parent} has no signature yet"
    return None


class TaskRun:
    """One start of one task; `stop` may be called by a signal handler at any time.

    Attributes:
        stopping: the task was told to end, so nothing new is started.
        again: what failed may go well in another start, and has the budget for it.
        echo: where the log of the running attempt is shown as well, for a task in the foreground.
    """

    def __init__(
        self,
        submission: Path,
        index: int,
        env: Mapping[str, str],
        echo: Callable[[str], None] | None = None,
    ) -> None:
        self.paths = SubmissionFiles(submission)
        self.root = RunRoot(submission.parent.parent)
        self.index = index
        self.env = env
        self.node = int(env.get("SLURM_NODEID", "0"))
        self.agent: subprocess.Popen[bytes] | None = None
        self.stopping = self.again = False
        self.tried: set[str] = set()
        self.echo = echo

    def run(self) -> None:
        """Run every cell of the task that can and need run; returns when nothing is left."""
        line = ledger.task_line(self.paths, self.index)
        if self.node != 0:
            self._follow(line)
            return
        tombstones.finish(self.root, {order["training_id"] for order in line["cells"]})
        # the other nodes learn of one start only
        starts = 1 if resources_of(line).nodes > 1 else len(line["cells"])
        for _ in range(starts):
            orders = [o for o in line["cells"] if o["training_id"] not in self.tried]
            order, reason = self._next(orders)
            if self.stopping or order is None:
                self._choose(line, None)
                if not self.stopping and (not self.tried or reason.startswith(holds.MARK)):
                    ledger.skip(self.paths, self.index, reason)
                break
            self.tried |= self._start(line, order, orders[orders.index(order) :])
        self._settle(line["cells"])

    def _follow(self, line: dict[str, Any]) -> None:
        """Run the ranks of this node over what the first node of the job claimed."""
        if training_id := meeting.chosen(self._choice, lambda: self.stopping):
            self.tried = {training_id}
            self._launch(line, self._environment(line), line["cells"])

    def _choose(self, line: dict[str, Any], training_id: str | None) -> None:
        """Tell the job's other nodes, if it has any, what is run."""
        if resources_of(line).nodes > 1:
            meeting.choose(self._choice, training_id)

    @property
    def _name(self) -> str:
        """Of this task of this job."""
        return f"{job_id(self.env) or self.paths.folder.name}-{self.index}"

    @property
    def _choice(self) -> Path:
        return self.paths.choice(meeting.start_name(self.env, self._name))

    def _settle(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """Let the others go on if this was their canary; see whether to start again."""
        canary = any(hold.canary == self.index for hold in holds.in_force(self.paths))
        if canary and not unfinished(self.root, orders[0]):
            holds.release(self.paths, time.time(), canary=self.index)
        mine = [order for order in orders if order["training_id"] in self.tried]
        if self.stopping or self._cancelled():
            return
        if retry.due(self.root, self.paths, self.index, mine, job_id(self.env)):
            hold = holds.blocking(self.paths, self.index)
            self.again = hold is None
            if hold is not None:
                ledger.skip(self.paths, self.index, hold.skip)
        elif left := next(filter(None, (leftover(self.root, order) for order in mine)), ""):
            ledger.skip(self.paths, self.index, left)

    def stop(self) -> None:
        """Have the ranks save and end, and wait until they did."""
        self.stopping = True
        agent = self.agent
        if agent is None or agent.poll() is not None:
            return
        agent.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + SHUTDOWN_S + 30
        while time.monotonic() < deadline:
            # Popen.wait would deadlock here: the main flow may hold its lock.
            if not _child_runs(agent.pid):
                return
            time.sleep(POLL_S)
        agent.kill()

    def _next(self, orders: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, str]:
        """The first work order that can run, or why there is none.

        An attempt that is dying on this machine gets some time to do so.
        """
        deadline = time.monotonic() + DYING_S
        while True:
            found = [obstacle(self.root, self.paths, self.index, order) for order in orders]
            if None in found:
                return orders[found.index(None)], ""
            reasons = [reason for reason in found if reason is not None]
            held = [reason for reason in reasons if reason.startswith(holds.MARK)]
            living = [reason for reason in reasons if reason.endswith(HERE)]
            if not living or self.stopping or time.monotonic() > deadline:
                return None, "; ".join(dict.fromkeys(held or reasons))
            time.sleep(POLL_S)

    def _start(
        self, line: dict[str, Any], order: dict[str, Any], orders: list[dict[str, Any]]
    ) -> set[str]:
        """Claim a cell and run torchrun over it and what follows; which trainings it tried."""
        env = self._environment(line)
        before = {o["training_id"]: _newest(self.root, o) for o in orders}
        number = claim(self.root, self.paths, self.index, order, env)
        attempt = self.root.cell(order["training_id"]).attempt(number)
        codes.note(attempt, order, env["SPIKEGRID_CODE"])
        self._choose(line, order["training_id"])
        claimed = {"SPIKEGRID_CLAIM": str(number), "SPIKEGRID_FROM": order["training_id"]}
        cancelled = self._launch(line, {**env, **claimed}, orders)
        tried = {order["training_id"]}
        for one in orders:
            for number in self._own_attempts(one, before[one["training_id"]]):
                tried.add(one["training_id"])
                self._conclude(one, number, cancelled=cancelled)
                self._count(one, number)
        return tried

    def _launch(
        self, line: dict[str, Any], env: Mapping[str, str], orders: Sequence[Mapping[str, Any]]
    ) -> bool:
        """Run torchrun on this node to its end. Returns whether it was cancelled."""
        shape = resources_of(line)
        where = meeting.rendezvous(shape, self.env, self._name)
        command = torchrun(shape, where, python=sys.executable)
        command += [str(self.paths.folder), str(self.index)]
        foreground = self.echo is not None
        self.agent = subprocess.Popen(
            command,
            env=env,
            cwd=env["PYTHONPATH"],
            stdin=subprocess.DEVNULL,
            # in the foreground Ctrl-C is for the task, which then tells the ranks
            start_new_session=foreground,
            stdout=subprocess.DEVNULL if foreground else None,
            stderr=subprocess.DEVNULL if foreground else None,
            preexec_fn=_child_setup,
        )
        return self._watch(orders)

    def _own_attempts(self, order: Mapping[str, Any], before: int) -> list[int]:
        """Attempts at a cell that this start of this task claimed, and nobody else."""
        cell = self.root.cell(order["training_id"])
        own = (self.paths.number, self.index, job_id(self.env))
        found = [attempts.read(cell, n) for n in attempts.numbers(cell) if n > before]
        return [a.number for a in found if (a.submission, a.task, a.job_id) == own]

    def _watch(self, orders: Sequence[Mapping[str, Any]]) -> bool:
        """Wait for the agent; a cancel file stops it. Returns whether it was cancelled."""
        assert self.agent is not None
        cancelled = False
        if self.stopping:  # told so while the agent was being started
            self.agent.send_signal(signal.SIGUSR2)
        shown: dict[Path, int] = {}
        for poll in itertools.count():
            over = self.agent.poll() is not None
            if self.echo is not None:
                self._show(orders, shown)
            if over:
                break
            if not cancelled and poll % CANCEL_POLLS == 0 and self._cancelled():
                cancelled = True
                self.agent.send_signal(signal.SIGUSR2)
            time.sleep(POLL_S)
        return cancelled or self._cancelled()

    def _show(self, orders: Sequence[Mapping[str, Any]], shown: dict[Path, int]) -> None:
        """Hand on what the logs of rank 0 gained."""
        assert self.echo is not None
        for order in orders:
            cell = self.root.cell(order["training_id"])
            for number in attempts.numbers(cell)[-1:]:
                log = cell.attempt(number).log(0)
                text = log.read_bytes() if log.exists() else b""
                if new := text[shown.get(log, 0) :]:
                    self.echo(new.decode(errors="replace"))
                    shown[log] = len(text)

    def _cancelled(self) -> bool:
        return self.paths.cancelled(self.index)

    def _conclude(self, order: dict[str, Any], number: int, *, cancelled: bool) -> None:
        """Say how an attempt ended that could not say it itself."""
        attempt = self.root.cell(order["training_id"]).attempt(number)
        if attempt.end.exists():
            return
        if cancelled:
            attempts.end(attempt, "cancelled", "cancelled by the user", ended=time.time())
            return
        if self.stopping:
            # the signal came before the ranks could handle it
            attempts.end(attempt, "preempted", "stopped by a signal", ended=time.time())
            return
        assert self.agent is not None
        tail = attempts.log_tail(attempt.log(0))
        reason = f"its ranks died (torchrun ended with code {self.agent.returncode})"
        now = time.time()
        claimed = next(files.read_lines(attempt.claim), {}).get("claimed", now)
        attempts.end(
            attempt,
            "failed",
            f"{reason}: killed from outside, out of memory, or no room on the disk?",
            signature=reason,
            tail=tail,
            ended=now,
            seconds=round(now - claimed, 3),
        )

    def _count(self, order: Mapping[str, Any], number: int) -> None:
        """Show a failed attempt to the circuit breaker."""
        ended = attempts.read(self.root.cell(order["training_id"]), number)
        if ended.state in {"failed", "out_of_memory"}:
            with contextlib.suppress(OSError):  # a full disk must not keep the others from running
                breaker.note(self.root, self.paths, order, ended)

    def _header(self) -> dict[str, Any]:
        header: dict[str, Any] = files.read_json(self.paths.plan)
        return header

    def _environment(self, line: dict[str, Any]) -> dict[str, str]:
        """What the ranks inherit; the checkout is not on their path."""
        header = self._header()
        # the cells of one task run one code (`jobs.planning.request.tasks`)
        code = codes.of_order(self.root, line["cells"][0], header["code"])
        env = {
            **self.env,
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": str(self.root.path.resolve() / "code" / code),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(resources_of(line).cpus_per_gpu),
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "SPIKEGRID_CODE": code,
            "SPIKEGRID_DATA": header["data"],
            # a submission of an older version names none
            "SPIKEGRID_SINKS": ",".join(header.get("sinks", [])),
        }
        if devices := self.env.get("SPIKEGRID_DEVICES"):
            env["CUDA_VISIBLE_DEVICES"] = devices
        elif not resources_of(line).gpus_per_node:
            env["CUDA_VISIBLE_DEVICES"] = ""
        return env


def claim(
    root: RunRoot,
    paths: SubmissionFiles,
    index: int,
    order: Mapping[str, Any],
    env: Mapping[str, str],
) -> int:
    """Take the next attempt of a work order's cell in the name of a job."""
    plan = files.read_json(paths.plan)
    chunk = next(chunk for chunk in plan["chunks"] if index in chunk["tasks"])
    shape = resources_of(chunk)
    details = {
        "training_id": order["training_id"],
        "label": order["label"],
        "submission": paths.number,
        "task": index,
        "job_id": job_id(env),
        "job_name": chunk["name"],
        "claimed": time.time(),
        "code": env.get("SPIKEGRID_CODE", plan["code"]),
        "attacks": [attack["id"] for attack in order["attacks"]],
        "processes": shape.nodes * shape.processes,
        "gpus": shape.nodes * shape.gpus_per_node,
    }
    spec = identity.canonical(order["spec"]).encode()
    return attempts.claim(root.cell(order["training_id"]), details, spec)


def job_id(env: Mapping[str, str]) -> str:
    """The scheduler's id of this task, or an empty text."""
    if array := env.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID") or env.get("SUBMITIT_LOCAL_JOB_ID", "")


def _newest(root: RunRoot, order: Mapping[str, Any]) -> int:
    return (attempts.numbers(root.cell(order["training_id"])) or [0])[-1]


def _child_setup() -> None:
    processes.die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)


def _child_runs(pid: int) -> bool:
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return done == 0
