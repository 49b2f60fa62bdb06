"""The slot queue of one machine: tasks wait for a free GPU or core, and go on without a terminal.

One detached process per run root and host holds a lock and ends when nothing is left to run. All
it knows stands in the submissions' local.jsonl, so another one can take over its jobs: they are
known by pid, start time and boot.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs import files, ledger, processes
from jobs.cell import Resources
from jobs.identity import restore_as
from jobs.layout import RunRoot
from jobs.ledger import Submission

POLL_S = 0.2
CANCEL_GRACE_S = 120.0
"""Seconds a cancelled job may take to save before it is killed."""


@dataclass(frozen=True)
class Slots:
    """What one machine has to share out.

    Attributes:
        devices: GPUs by the names that CUDA_VISIBLE_DEVICES takes.
        cpus: cores for jobs without GPUs.
    """

    devices: tuple[str, ...]
    cpus: int


@dataclass(frozen=True)
class Held:
    """A task that runs, and what it holds."""

    submission: int
    task: int
    process: processes.Process
    devices: tuple[str, ...]
    cpus: int


def slots(env: Mapping[str, str], listing: str | None = None) -> Slots:
    """The slots of this machine.

    Args:
        env: CUDA_VISIBLE_DEVICES there is taken word for word (numbers, UUIDs or MIG names).
        listing: output of `nvidia-smi -L`, used when the variable is unset.
    """
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        devices = tuple(name.strip() for name in visible.split(",") if name.strip())
    else:
        count = sum(line.startswith("GPU ") for line in (listing or "").splitlines())
        devices = tuple(str(i) for i in range(count))
    return Slots(devices=devices, cpus=len(os.sched_getaffinity(0)))


def gpu_listing() -> str:
    """What the driver says of this machine's GPUs; empty without one."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def need(shape: Resources, have: Slots) -> tuple[int, int]:
    """GPUs and cores that a task of a shape takes; a task too big for the cores takes all."""
    if shape.gpus_per_node:
        return shape.gpus_per_node, 0
    return 0, min(have.cpus, shape.processes * shape.cpus_per_gpu)


def choose(
    waiting: Sequence[tuple[Submission, int]], held: Sequence[Held], have: Slots
) -> tuple[Submission, int, tuple[str, ...]] | None:
    """The first waiting task that fits into what is free, with its GPUs. Pure.

    Order is kept: a task that does not fit holds back the ones behind it, so that small jobs
    cannot starve a big one.
    """
    taken = {name for job in held for name in job.devices}
    free = [name for name in have.devices if name not in taken]
    cores = have.cpus - sum(job.cpus for job in held)
    for submission, task in waiting:
        running = sum(job.submission == submission.number for job in held)
        limit = submission.parameters.get("max_parallel")
        if limit is not None and running >= limit:
            continue
        gpus, cpus = need(shape_of(submission, task), have)
        if gpus > len(free) or cpus > cores:
            return None
        return submission, task, tuple(free[:gpus])
    return None


def shape_of(submission: Submission, task: int) -> Resources:
    """The resources of one task of a submission."""
    number = submission.chunk_of(task).number
    data = submission.parameters["chunks"][number]["resources"]
    shape: Resources = restore_as(Resources, data)
    return shape


class Queue:
    """The state of a running queue, rebuilt from files when it starts."""

    def __init__(self, root: RunRoot, have: Slots) -> None:
        self.root, self.have = root, have
        self.held: dict[tuple[int, int], Held] = {}
        self.closed: set[int] = set()
        self.cancelled: dict[tuple[int, int], float] = {}

    def step(self) -> bool:
        """Look once at everything; False when nothing runs and nothing waits."""
        _reap()
        waiting: list[tuple[Submission, int]] = []
        for submission in open_submissions(self.root, self.closed):
            waiting += self._look(submission)
        while chosen := choose(waiting, list(self.held.values()), self.have):
            submission, task, devices = chosen
            self._start(submission, task, devices)
            waiting.remove((submission, task))
        return bool(waiting or self.held)

    def _look(self, submission: Submission) -> list[tuple[Submission, int]]:
        """Notice what ended, adopt what runs, return what waits."""
        waiting = []
        for task in submission.tasks:
            known = submission.local.get(task)
            key = (submission.number, task)
            if known is None:
                if submission.startable(task):
                    waiting.append((submission, task))
            elif not known.ended and processes.alive(known.process):
                gpus, cpus = need(shape_of(submission, task), self.have)
                devices = tuple(filter(None, known.devices.split(",")))[:gpus]
                self.held[key] = Held(submission.number, task, known.process, devices, cpus)
                if task in submission.cancelled:
                    self._kill_when_late(key)
            elif not known.ended:
                self._note(submission.number, {"event": "end", "task": task, "at": time.time()})
                self.held.pop(key, None)
        if not waiting and not any(key[0] == submission.number for key in self.held):
            self.closed.add(submission.number)
        return waiting

    def _kill_when_late(self, key: tuple[int, int]) -> None:
        """A cancelled task stops by itself; one that hangs is killed with all it started."""
        since = self.cancelled.setdefault(key, time.monotonic())
        if time.monotonic() - since > CANCEL_GRACE_S:
            os.kill(self.held[key].process.pid, signal.SIGKILL)

    def _start(self, submission: Submission, task: int, devices: tuple[str, ...]) -> None:
        from jobs.submit import start_local  # submitit, only where it is used

        shape = shape_of(submission, task)
        paths = self.root.submission(submission.number)
        joined = ",".join(devices)
        process = start_local(paths, task, timeout_min=shape.timeout_min, devices=joined)
        self._note(
            submission.number,
            {
                "event": "start",
                "task": task,
                "at": time.time(),
                "devices": joined,
                "process": process.data(),
            },
        )
        _, cpus = need(shape, self.have)
        self.held[submission.number, task] = Held(submission.number, task, process, devices, cpus)

    def _note(self, submission: int, line: dict[str, object]) -> None:
        files.append(self.root.submission(submission).local, line)


def _reap() -> None:
    """Collect ended children, so that they do not look alive."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def open_submissions(root: RunRoot, closed: set[int]) -> list[Submission]:
    """Local submissions of this host that may have something to run, oldest first."""
    found = []
    for number in ledger.numbers(root):
        if number not in closed:
            submission = ledger.read(root, number)
            if submission.cluster == "local" and submission.launcher.host == processes.host():
                found.append(submission)
            else:
                closed.add(number)
    return found


def has_work(submission: Submission) -> bool:
    """Whether a task of a submission still waits or runs."""
    return any(
        submission.startable(task) if known is None else not known.ended
        for task in submission.tasks
        for known in [submission.local.get(task)]
    )


@contextmanager
def lock(root: RunRoot) -> Iterator[bool]:
    """Hold the queue's lock; yields False at once if another process holds it."""
    root.cache.mkdir(parents=True, exist_ok=True)
    with (root.cache / f"queue-{processes.host()}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def is_running(root: RunRoot) -> bool:
    """Whether a queue of this host works on a run root."""
    if not root.cache.is_dir():
        return False
    with lock(root) as mine:
        return not mine


def ensure_running(root: RunRoot) -> None:
    """Start the queue of this host, detached, unless it runs already."""
    if is_running(root):
        return
    log = root.cache / f"queue-{processes.host()}.log"
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "jobs.local", str(root.path.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=root.path,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
                "PYTHONSAFEPATH": "1",
            },
        )


def main(root: RunRoot) -> None:
    """Work until nothing is left.

    After giving up the lock it looks once more: a submission published in between saw the lock
    taken and started no queue.
    """
    while True:
        with lock(root) as mine:
            if not mine:
                return
            queue = Queue(root, slots(os.environ, gpu_listing()))
            while queue.step():
                time.sleep(POLL_S)
        if not any(has_work(submission) for submission in open_submissions(root, set())):
            return


if __name__ == "__main__":
    main(RunRoot(Path(sys.argv[1])))
