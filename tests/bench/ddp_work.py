"""Training steps of HoSNN's MNIST network by one or several processes with one thread each.

`python -m tests.bench.ddp_work PROCESSES`, a worker of `alternate`, is process 0 and starts the
others, which wait for its word. Random images in the size and number of MNIST.
"""

import os
import socket
import subprocess
import sys
from decimal import Decimal

from jobs.processes import die_with_parent
from snnlib import distributed, repeatable
from snnlib.distributed import World
from snnlib.spec.data import Dataset
from snnlib.spec.model import HoSNN
from snnlib.spec.training import CleanRegime, TrainingSpec
from snnlib.train import Training
from tests.bench import alternate, loader_work

BATCH, STEPS = 64, 10
_REGIME = CleanRegime(
    batch_size=BATCH,
    optimiser="adamw",
    lr=Decimal("0.0005"),
    weight_decay=Decimal("0.01"),
    loss="kernel",
    clip_grad_norm=Decimal(1),
    weight_clip=Decimal(4),
)


def main() -> None:
    """Serve `steps`: STEPS optimiser steps, and the last one's loss per sample."""
    size = int(sys.argv[1])
    os.environ.setdefault("RANK", "0")
    if os.environ["RANK"] != "0":
        die_with_parent()
    elif size > 1:
        _gather(size)
    repeatable.pin(threads=1, seed=0)
    world = distributed.init(timeout_s=alternate.TIMEOUT_S)
    spec = TrainingSpec(
        dataset=Dataset(name="mnist"), model=HoSNN(name="hosnn_mnist"), regime=_REGIME
    )
    training = Training(spec, loader_work.data(spec.dataset), world=world)

    def steps() -> float:
        distributed.broadcast_object(world, "steps")
        return [training.advance().loss for _ in range(STEPS)][-1]

    if world.rank == 0:
        alternate.serve({"steps": steps})
        distributed.broadcast_object(world, "end")
    else:
        _follow(world, training)


def _gather(size: int) -> None:
    """Start the other processes, and tell all where to meet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    for rank in range(1, size):
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.ddp_work", str(size)],
            env={**os.environ, "RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )


def _follow(world: World, training: Training) -> None:
    """Do the steps that process 0 does."""
    while distributed.broadcast_object(world, "") == "steps":
        for _ in range(STEPS):
            training.advance()


if __name__ == "__main__":
    main()
