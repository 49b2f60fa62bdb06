"""An attempt in the test's own process, as rank 0 of one."""

from typing import Any

from jobs import identity
from jobs.layout import RunRoot
from jobs.processes import StopFlag
from jobs.running.cell_run import CellRun, Job
from snnlib.distributed import World
from snnlib.spec.training import TrainingSpec


class Flag(StopFlag):
    """A flag that no signal raises."""

    def __init__(self) -> None:
        self.up = False


def attempt(
    root: RunRoot, what: TrainingSpec, number: int = 1, *, threads: int = 1, **order: Any
) -> CellRun:
    """An attempt at a training; more of its work order by name."""
    whole = {
        "training_id": identity.training_id(what),
        "label": "digits/small-lif/clean/s0",
        "spec": identity.plain(what),
        "attacks": [],
        **order,
    }
    job = Job(root=root, paths=root.submission(1), index=0, world=World.single(), device="cpu",
              stop=Flag(), threads=threads)  # fmt: skip
    run = CellRun(job, whole, number)
    run.files.folder.mkdir(parents=True, exist_ok=True)
    return run
