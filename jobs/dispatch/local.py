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
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs import attempts, identity, processes
from jobs.dispatch import holds, ledger, retry, unclaimed
from jobs.dispatch.ledger import LocalTask, Submission
from jobs.dispatch.snapshot import CHECKOUT
from jobs.errors import CorruptFile, EnvironmentFault, SpikegridError
from jobs.expand.blocks import Resources
from jobs.identity import restore_as
from jobs.layout import RunRoot
from jobs.planning.request import parents, sources

POLL_S = 0.2
CANCEL_GRACE_S = 120.0
"""Seconds a cancelled job may take to save before it is killed."""
SKIPS = 200
"""Tasks of held submissions that one step skips; each takes milliseconds of a disk's time."""


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
        self.parents: dict[tuple[int, int], frozenset[str]] = {}
        self.inode = _inode(root)

    def step(self) -> bool:
        """Look once at everything; False when nothing runs and nothing waits.

        False also once the run root was deleted, or is another one of the same name: what this
        queue remembers is of the old one.
        """
        if _inode(self.root) != self.inode:
            return False
        _reap()
        waiting: list[tuple[Submission, int]] = []
        found = open_submissions(self.root, self.closed)
        for submission in found:
            waiting += [(submission, task) for task in self._look(submission)]
        ready = self._ready(waiting, found)
        while chosen := choose(ready, list(self.held.values()), self.have):
            submission, task, devices = chosen
            self._start(submission, task, devices)
            ready.remove((submission, task))
        return bool(waiting or self.held)

    def _ready(
        self, waiting: list[tuple[Submission, int]], found: Sequence[Submission]
    ) -> list[tuple[Submission, int]]:
        """Tasks none of whose parents waits or runs here; each looks itself if they succeeded."""
        there = {(submission.number, task) for submission, task in waiting} | self.held.keys()
        busy = {
            training_id
            for submission in found
            for training_id, task in submission.cells.items()
            if (submission.number, task) in there
        }
        free = self._free(waiting, there)
        return [one for one in free if not (self._parents(*one) & busy)]

    def _free(
        self, waiting: list[tuple[Submission, int]], there: Collection[tuple[int, int]]
    ) -> list[tuple[Submission, int]]:
        """Tasks that no hold keeps from starting.

        The others are skipped, some in each step, unless their canary waits or runs.
        """
        numbers = {submission.number for submission, _ in waiting}
        held = {number: holds.in_force(self.root.submission(number)) for number in numbers}
        free, skips = [], 0
        for submission, task in waiting:
            number = submission.number
            hold = next((one for one in held[number] if one.canary != task), None)
            if hold is None:
                free.append((submission, task))
            elif (number, hold.canary) not in there and skips < SKIPS:
                ledger.skip(self.root.submission(number), task, hold.skip)
                skips += 1
        return free

    def _parents(self, submission: Submission, task: int) -> frozenset[str]:
        """Trainings that the cells of a task wait for; empty for those sent without parents."""
        key = (submission.number, task)
        if key not in self.parents:
            chunk = submission.parameters["chunks"][submission.chunk_of(task).number]
            orders = []
            if chunk.get("generation"):
                orders = ledger.task_line(self.root.submission(submission.number), task)["cells"]
            trained = [o for o in orders if self.root.cell(o["training_id"]).training.exists()]
            # an untrained cell does not wait for the sources of its attacks
            climbed = [source for o in trained for source in sources(o).values()]
            own = [parent for o in orders for parent, _ in parents(o["spec"])]
            self.parents[key] = frozenset([*own, *climbed])
        return self.parents[key]

    def _look(self, submission: Submission) -> list[int]:
        """Notice what ended, adopt what runs, return what waits."""
        waiting = []
        for task in submission.tasks:
            known = submission.local.get(task)
            if known is None:
                if submission.startable(task) and self._fits(submission, task):
                    waiting.append(task)
            elif not known.ended and processes.alive(known.process):
                self._adopt(submission, task, known)
            elif not known.ended and self._end(submission, task, known):
                waiting.append(task)
        unsent = any(chunk.intended is None for chunk in submission.chunks)
        if not waiting and not unsent and not any(k[0] == submission.number for k in self.held):
            self.closed.add(submission.number)
        return waiting

    def _fits(self, submission: Submission, task: int) -> bool:
        """Whether this machine can ever run a task; else it is skipped, with the reason."""
        gpus, _ = need(shape_of(submission, task), self.have)
        if gpus <= len(self.have.devices):
            return True
        paths = self.root.submission(submission.number)
        have = len(self.have.devices)
        ledger.skip(paths, task, f"needs {gpus} GPUs, this machine's queue has {have}")
        return False

    def _adopt(self, submission: Submission, task: int, known: LocalTask) -> None:
        key = (submission.number, task)
        gpus, cpus = need(shape_of(submission, task), self.have)
        devices = tuple(filter(None, known.devices.split(",")))[:gpus]
        self.held[key] = Held(submission.number, task, known.process, devices, cpus)
        if task in submission.cancelled:
            self._kill_when_late(key)

    def _end(self, submission: Submission, task: int, known: LocalTask) -> bool:
        """Put an end on record; True if the task waits to be started again.

        A task that ended before its first claim would else be sent again for ever.
        """
        paths = self.root.submission(submission.number)
        self.held.pop((submission.number, task), None)
        if task not in submission.skipped and task not in submission.cancelled:
            orders = ledger.task_line(paths, task)["cells"]
            job = str(known.process.pid)
            if retry.due(self.root, paths, task, orders, job):
                ledger.again(paths, task, time.time())
                return True
            cells = [order["training_id"] for order in orders]
            tried = [one for cell in cells for one in attempts.read_all(self.root.cell(cell))]
            if not retry.of_task(tried, (paths.number, task), job):
                death = unclaimed.of_local_job(paths, task, job, cells, known.process.host)
                unclaimed.record(paths, [death], time.time())
        ledger.ended(paths, task, time.time())
        return False

    def _kill_when_late(self, key: tuple[int, int]) -> None:
        """A cancelled task stops by itself; one that hangs is killed with all it started."""
        since = self.cancelled.setdefault(key, time.monotonic())
        if time.monotonic() - since > CANCEL_GRACE_S:
            os.kill(self.held[key].process.pid, signal.SIGKILL)

    def _start(self, submission: Submission, task: int, devices: tuple[str, ...]) -> None:
        from jobs.dispatch.submit import start_local  # submitit, only where it is used

        shape = shape_of(submission, task)
        paths = self.root.submission(submission.number)
        joined = ",".join(devices)
        try:
            process = start_local(paths, task, timeout_min=shape.timeout_min, devices=joined)
        except (OSError, SpikegridError) as error:
            # one submission that cannot start must not hold up the others
            ledger.skip(paths, task, f"could not be started: {error}")
            return
        ledger.started(paths, task, process, joined, time.time())
        _, cpus = need(shape, self.have)
        self.held[submission.number, task] = Held(submission.number, task, process, devices, cpus)


def _inode(root: RunRoot) -> int:
    """What tells the folder of submissions from a later one of the same name; 0 without one."""
    try:
        return root.submissions.stat().st_ino
    except FileNotFoundError:
        return 0


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
            try:
                submission = ledger.read(root, number)
            except CorruptFile as error:
                sys.stderr.write(f"passed over: {error}\n")
                closed.add(number)
                continue
            except EnvironmentFault:
                continue  # the next look may find it
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
    with _lock_path(root).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _lock_path(root: RunRoot) -> Path:
    """A file of this machine: locks of network filesystems may be missing, and one queue of each
    host is wanted anyway.
    """
    name = identity.short_hash(str(root.path.resolve()))
    # not $TMPDIR, which can differ between two shells of one host
    return Path("/tmp") / f"spikegrid-queue-{os.getuid()}-{name}.lock"


def is_running(root: RunRoot) -> bool:
    """Whether a queue of this host works on a run root."""
    with lock(root) as mine:
        return not mine


def ensure_running(root: RunRoot) -> None:
    """Start the queue of this host, detached, unless it runs already."""
    if is_running(root):
        return
    root.cache.mkdir(parents=True, exist_ok=True)
    log = root.cache / f"queue-{processes.host()}.log"
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "jobs.dispatch.local", str(root.path.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=root.path,
            env={
                **os.environ,
                "PYTHONPATH": str(CHECKOUT),
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
