"""One rank of a job: train what is not trained, evaluate and collect what is missing, record.

Every rank runs the same. Rank 0 alone claims, decides and writes; what it decides is broadcast, since
two nodes may see a shared filesystem differently.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from jobs import attempts, files, processes, provenance
from jobs.attempts import EndState
from jobs.dispatch import ledger
from jobs.errors import CorruptFile, EnvironmentFault, UsageError
from jobs.layout import RunRoot, SubmissionFiles
from jobs.processes import StopFlag
from jobs.running import task
from jobs.running.cell_run import CellRun, Fenced, Job, Stopped
from jobs.running.evaluate_cell import evaluate_cell
from jobs.running.stage_cell import compute_stages
from jobs.running.train_cell import train
from snnlib import distributed, repeatable
from snnlib.distributed import World
from snnlib.errors import SnnlibError

DETERMINISTIC = (
    UsageError, CorruptFile, SnnlibError, ValueError, TypeError, KeyError, AssertionError,
)  # fmt: skip
"""Errors that would come again, so that trying again would waste the machine; a fault of the
environment may be gone on another node."""


def work(folder: str, index: str, stop: StopFlag) -> int:
    """Run the cells of a task that are left, from the one that the task claimed.

    Args:
        folder: the submission.
        index: the task.
        stop: raised by a signal.

    Returns:
        0 if every cell that was tried ended well.
    """
    world = distributed.init()
    paths = SubmissionFiles(Path(folder))
    cuda = world.device.type == "cuda"
    job = Job(
        root=RunRoot(paths.folder.parent.parent),
        paths=paths,
        index=int(index),
        world=world,
        device=torch.cuda.get_device_name(world.device) if cuda else "cpu",
        stop=stop,
        threads=int(os.environ["OMP_NUM_THREADS"]),
        peers=distributed.gather_objects(world, processes.this()),
    )
    orders = ledger.task_line(paths, job.index)["cells"]
    number, first = _started_with(job.world, [order["training_id"] for order in orders], os.environ)
    # a signal during the first cell's start is answered by its attempt, which is claimed
    well = _attempt(CellRun(job, orders[first], number))
    for order in orders[first + 1 :]:
        if job.stopping():
            break
        if number := _claimed(job, order):
            well &= _attempt(CellRun(job, order, number))
    distributed.shutdown()
    return 0 if well else 1


def _started_with(
    world: World, training_ids: Sequence[str], env: Mapping[str, str]
) -> tuple[int, int]:
    """The attempt that the task claimed before the ranks, and the place of its cell in the task.

    Rank 0 need not be on the node that made the claim, and another node may have seen other files.

    Args:
        world: the ranks.
        training_ids: of the task's cells, as this rank reads them.
        env: in which the claiming node alone says what it claimed.

    Raises:
        EnvironmentFault: on all ranks, if they read different tasks or none has the claim.
    """
    own = int(env.get("SPIKEGRID_CLAIM", "0")), env.get("SPIKEGRID_FROM", ""), list(training_ids)
    told = distributed.gather_objects(world, own)
    number, training_id, listed = max(told)
    if training_id not in listed or any(cells != listed for _, _, cells in told):
        differing = len({tuple(cells) for _, _, cells in told})
        raise EnvironmentFault(
            f"attempt {number} at {training_id or 'no cell'} was claimed, and the ranks read "
            f"{differing} different lists of this task's cells; does every node see the same "
            "run root?"
        )
    return number, listed.index(training_id)


def _claimed(job: Job, order: Mapping[str, Any]) -> int:
    """The attempt's number, or 0 if the cell cannot or need not run now."""
    number = 0
    if job.world.rank == 0 and task.obstacle(job.root, job.paths, job.index, order) is None:
        number = task.claim(job.root, job.paths, job.index, order, os.environ)
    return distributed.broadcast_object(job.world, number)


def _attempt(run: CellRun) -> bool:
    """Try one cell; whatever happens stands in its end.json. Whether it ended well."""
    with _own_log(run):
        try:
            _run(run)
        except Stopped:
            cancelled = run.job.paths.cancelled(run.job.index)
            state: EndState = "cancelled" if cancelled else "preempted"
            _end(run, state, "cancelled by the user" if cancelled else "stopped by a signal")
        except Fenced as reason:
            _end(run, "fenced", str(reason))
        except Exception as error:
            _failed(run, error)
            if run.job.world.size > 1:
                # the other ranks wait in a collective: end them all, the task starts the rest
                os._exit(1)
            return False
        else:
            _end(run, "completed", "")
    return True


def _run(run: CellRun) -> None:
    job = run.job
    _check_device(job)
    repeatable.pin(threads=job.threads, seed=run.spec.seed)
    if run.leads:
        found = provenance.environment(
            device=job.device,
            threads=job.threads,
            world_size=job.world.size,
            versions=repeatable.versions(),
        )
        files.replace(run.files.environment, files.dumps(found))
    data = job.dataset(run.spec)
    # asked on rank 0 alone: another node would remember for a while that the file was absent
    trained = run.leads and run.cell.training.exists()
    if not distributed.broadcast_object(job.world, trained):
        train(run, data)
    evaluate_cell(run, data)
    compute_stages(run, data)


def _check_device(job: Job) -> None:
    """A job that was given GPUs must not run on the CPU unnoticed, fifty times slower."""
    line = ledger.task_line(job.paths, job.index)
    wanted = task.resources_of(line).gpus_per_node
    if wanted and job.world.device.type == "cpu":
        raise EnvironmentFault(
            f"resources.gpus_per_node is {wanted}, but torch {torch.__version__} sees no GPU on "
            f"{processes.host()}: a CPU build of torch, or no driver on this node (see `doctor`)"
        )


def _failed(run: CellRun, error: Exception) -> None:
    text = traceback.format_exc()
    with contextlib.suppress(OSError):  # on a full disk the end below may still find room
        os.write(2, text.encode())
    memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
    name = type(error).__name__
    attempts.end(
        run.files,
        "out_of_memory" if memory else "failed",
        f"{name}: {error}"[:2000],
        signature=attempts.signature(name, str(error)),
        deterministic=memory or isinstance(error, DETERMINISTIC),
        tail=text.splitlines()[-attempts.LOG_TAIL :],
        **_measures(run),
    )
    run.say(f"failed: {name}: {error}")


def _end(run: CellRun, state: EndState, reason: str) -> None:
    if run.leads:
        attempts.end(run.files, state, reason, **_measures(run))
        run.say(f"{state}{f' ({reason})' if reason else ''}")


def _measures(run: CellRun) -> dict[str, Any]:
    now = time.time()
    return {
        "advanced": run.advanced,
        "step": run.step,
        "resumed_from": run.resumed_from,
        "ended": now,
        "seconds": round(now - run.began, 3),
    }


@contextmanager
def _own_log(run: CellRun) -> Iterator[None]:
    """Send standard output and error of this rank, C code's too, to the attempt's log."""
    before = os.dup(1), os.dup(2)
    log = os.open(run.files.log(run.job.world.rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in zip((1, 2), before, strict=True):
            os.dup2(saved, number)
            os.close(saved)
