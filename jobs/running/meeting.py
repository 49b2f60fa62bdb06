"""Where the ranks of one start of one job meet, and over which cell.

The nodes of a job can see different files at one time, so the first one chooses alone and puts its
choice where the others find it.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from jobs import files, identity
from jobs.errors import EnvironmentFault
from jobs.expand.blocks import Resources
from jobs.planning.request import Rendezvous

POLL_S = 0.2
CHOICE_S = 300.0
"""Seconds that a node waits for the choice of the first one, which may wait for a dying attempt; a
network filesystem may hide a new file for a minute."""
_PORTS = range(20_000, 40_000)


def start_name(env: Mapping[str, str], task: str) -> str:
    """Name of a start of a job, the same on all its nodes and no other start's.

    Args:
        env: of the job's task.
        task: names the job and its task.
    """
    return f"{task}-{env.get('SLURM_RESTART_COUNT', '0')}"


def choose(path: Path, training_id: str | None) -> None:
    """Let the other nodes know which cell is run first; None if nothing is."""
    path.parent.mkdir(exist_ok=True)
    files.replace(path, files.dumps({"training_id": training_id}))


def chosen(path: Path, stopping: Callable[[], bool]) -> str | None:
    """Wait for what the first node runs: a training id, or None.

    Args:
        path: of its choice.
        stopping: whether this node was told to end, so that it need not wait.

    Raises:
        EnvironmentFault: it does not say.
    """
    deadline = time.monotonic() + CHOICE_S
    while time.monotonic() < deadline:
        for line in files.read_lines(path):
            found: str | None = line["training_id"]
            return found
        if stopping():
            return None
        time.sleep(POLL_S)
    raise EnvironmentFault(
        f"{path}: the first node of this job has not said within {CHOICE_S:.0f} s what to run; it "
        "has died, or this node does not see the run root; see the log of its first task"
    )


def rendezvous(shape: Resources, env: Mapping[str, str], task: str) -> Rendezvous:
    """The meeting place of a start of a job, the same on all its nodes.

    Args:
        shape: of the job.
        env: of the job's task.
        task: names the job and its task.

    Raises:
        subprocess.SubprocessError: if SLURM's own tools fail for the node list.
    """
    name = start_name(env, task)
    if shape.nodes == 1:
        return Rendezvous(endpoint="localhost:0", job=name)
    # derived from the job and its restart: two jobs on one node must not collide, and a
    # requeued job must not join the store of its predecessor
    port = _PORTS[int(identity.short_hash(name), 16) % len(_PORTS)]
    return Rendezvous(endpoint=f"{head_address(env)}:{port}", job=name)


def head_address(env: Mapping[str, str]) -> str:
    """Address of the job's first node; its name where the controller cannot be asked.

    Raises:
        subprocess.SubprocessError: if SLURM's own tools fail for the node list.
    """
    nodes = env.get("SLURM_JOB_NODELIST", "")
    if not nodes:
        return "localhost"
    shown = subprocess.run(
        ["scontrol", "show", "hostnames", nodes],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first = shown.stdout.split()[0]
    try:
        socket.getaddrinfo(first, None)
    except OSError:
        node = ["scontrol", "-o", "show", "node", first]
        done = subprocess.run(node, capture_output=True, text=True, timeout=60, check=True)
        fields = dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
        return fields.get("NodeAddr", first)
    return first
