"""What tests of `jobs.dispatch.queueing` do and look at."""

from jobs.dispatch import ledger, queueing, submit
from jobs.dispatch.queueing import Pushed
from jobs.layout import RunRoot
from tests.examples import cell
from tests.fake_slurm import FakeSlurm

CELLS = [cell(seed) for seed in range(8)]


def push(root: RunRoot, number: int = 1, *, alone: bool = False) -> Pushed:
    return queueing.push(root, number, submit.send_slurm, alone=alone)


def sent(root: RunRoot) -> list[tuple[int, ...]]:
    return [chunk.tasks for chunk in ledger.read(root, 1).chunks if chunk.job_id]


def waiting(root: RunRoot) -> int:
    found = ledger.read(root, 1)
    return sum(len(found.unsent(chunk)) for chunk in found.chunks if not chunk.job_id)


def calls(slurm: FakeSlurm) -> int:
    return len(slurm.calls("sbatch"))


def finish(slurm: FakeSlurm, *ids: str) -> None:
    for job_id in ids or tuple({key.partition("_")[0] for key in slurm.states()}):
        slurm.move(job_id, "COMPLETED")
