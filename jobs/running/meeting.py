"""Where the ranks of one start of one job meet."""

import socket
import subprocess
from collections.abc import Mapping

from jobs import identity
from jobs.expand.blocks import Resources
from jobs.planning.request import Rendezvous

_PORTS = range(20_000, 40_000)


def rendezvous(shape: Resources, env: Mapping[str, str], task: str) -> Rendezvous:
    """The meeting place of a start of a job, the same on all its nodes.

    Args:
        shape: of the job.
        env: of the job's task.
        task: names the job and its task.

    Raises:
        subprocess.SubprocessError: if SLURM's own tools fail for the node list.
    """
    name = f"{task}-{env.get('SLURM_RESTART_COUNT', '0')}"
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
