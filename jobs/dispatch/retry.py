"""Who tries again: a task that ended for a cause that may be gone, within the plan's budget.

Torchrun never restarts its ranks; one start of them is one attempt, and the budget of a cell is
counted from its attempts, whoever started them: the user, SLURM, the local queue or the task.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs import attempts
from jobs.attempts import Attempt
from jobs.dispatch import liveness, scheduler
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning.budget import exhausted
from jobs.upkeep import tombstones
from jobs.upkeep.tombstones import Grave

REQUEUE_S = 30.0
"""For so long a busy controller may take to answer a task."""


def of_task(tried: Iterable[Attempt], task: tuple[int, int], job: str) -> list[Attempt]:
    """Those of some attempts that one job of a task (submission, task) claimed."""
    return [a for a in tried if (a.submission, a.task, a.job_id) == (*task, job)]


def tried(root: RunRoot, training_id: str) -> list[Attempt]:
    """All attempts at a training that count, as their own files tell them."""
    cell = root.cell(training_id)
    fence = tombstones.graves(root).get(training_id, Grave()).fence
    return [one for one in attempts.read_all(cell) if one.number > fence]


def spent(root: RunRoot, training_id: str, submission: int) -> str:
    """Why a task of a submission gives a cell up, or nothing.

    SLURM may requeue a job as often as nodes fail, so the task looks itself.
    """
    found = [_explained(root, one) for one in tried(root, training_id)]
    return exhausted(found, submission)


def _explained(root: RunRoot, one: Attempt) -> Attempt:
    return one if one.state is not None else liveness.cause(root, one, None)


def due(
    root: RunRoot, paths: SubmissionFiles, task: int, orders: Sequence[Mapping[str, Any]], job: str
) -> bool:
    """Whether a job of a task failed at a cell in a way that another start may mend.

    Args:
        root: the run root.
        paths: the submission.
        task: its number there.
        orders: work orders that the job tried.
        job: the scheduler's id of the job.
    """
    for order in orders:
        last = tried(root, order["training_id"])[-1:]
        mine = of_task(last, (paths.number, task), job)
        mends = any(liveness.may_mend(one) for one in mine)
        if mends and not spent(root, order["training_id"], paths.number):
            return True
    return False


def requeue(env: Mapping[str, str]) -> bool:
    """Have SLURM start the calling job again; False where it does not let jobs do that.

    The job goes on for a moment, then SLURM ends it.
    """
    job = env.get("SLURM_JOB_ID")
    if not job:
        return False
    return scheduler.command(["scontrol", "requeue", job], timeout_s=REQUEUE_S).code == 0
