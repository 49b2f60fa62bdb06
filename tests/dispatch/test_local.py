"""The slot queue shares out GPUs and cores, never more than there are."""

from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, files, processes
from jobs.dispatch import chunks, holds, ledger, liveness, local, unclaimed
from jobs.dispatch.ledger import Submission
from jobs.dispatch.local import Held, Slots, choose, slots
from jobs.expand.blocks import Resources
from jobs.expand.cell import Cell
from jobs.layout import RunRoot
from jobs.planning import survey
from jobs.planning.index import Index
from jobs.planning.request import work_order
from jobs.processes import Process
from jobs.upkeep import tombstones
from tests.examples import cell, finish, run_root, submission

HERE = processes.this()
GONE = processes.Process.of({**HERE.data(), "start": 1})
LISTING = "GPU 0: NVIDIA H200 (UUID: GPU-a)\nGPU 1: NVIDIA H200 (UUID: GPU-b)\n"


def waiting(folder: Path, *shapes: Resources, **header: Any) -> list[tuple[Submission, int]]:
    root = run_root(folder)
    cells = [cell(seed, resources=shape) for seed, shape in enumerate(shapes)]
    paths = submission(root, cells, "local", **header)
    found = ledger.read(root, paths.number)
    return [(found, task) for task in found.tasks]


@pytest.mark.parametrize(
    ("env", "devices"),
    [
        ({}, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "3,5"}, ("3", "5")),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1f, GPU-a"}, ("MIG-1f", "GPU-a")),
    ],
)
def test_devices_are_taken_word_for_word(env: dict[str, str], devices: tuple[str, ...]) -> None:
    assert slots(env, LISTING).devices == devices


def test_each_gpu_job_gets_its_own_device(tmp_path: Path) -> None:
    queue = waiting(tmp_path, Resources(gpus_per_node=1), Resources(gpus_per_node=1))
    have = Slots(("0", "1"), 2)
    first = choose(queue, [], have)
    assert first is not None
    held = [Held(1, first[1], HERE, first[2], 0)]
    second = choose(queue[1:], held, have)
    assert second is not None
    assert (first[2], second[2]) == (("0",), ("1",))


def test_a_full_machine_takes_nothing(tmp_path: Path) -> None:
    queue = waiting(tmp_path, Resources(cpus_per_gpu=2))
    assert choose(queue, [Held(9, 0, HERE, (), 1)], Slots((), 2)) is None


def test_a_small_job_does_not_overtake_a_big_one(tmp_path: Path) -> None:
    queue = waiting(tmp_path, Resources(gpus_per_node=2), Resources(gpus_per_node=1))
    assert choose(queue, [Held(9, 0, HERE, ("0",), 0)], Slots(("0", "1"), 2)) is None


def test_a_job_larger_than_the_machine_still_runs_alone(tmp_path: Path) -> None:
    queue = waiting(tmp_path, Resources(cpus_per_gpu=64))
    chosen = choose(queue, [], Slots((), 2))
    assert chosen is not None


def test_max_parallel_holds_back_its_own_submission_only(tmp_path: Path) -> None:
    queue = waiting(tmp_path, Resources(), Resources(), max_parallel=1)
    number = queue[0][0].number
    assert choose(queue[1:], [Held(number, 0, HERE, (), 1)], Slots((), 8)) is None
    assert choose(queue[1:], [Held(number + 1, 0, HERE, (), 1)], Slots((), 8)) is not None


def test_the_lock_is_held_once(tmp_path: Path) -> None:
    root = RunRoot(tmp_path)
    with local.lock(root) as mine, local.lock(root) as other:
        assert (mine, other) == (True, False)
        assert local.is_running(root)
    assert not local.is_running(root)


def test_a_cancelled_submission_has_no_work(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell()], "local")
    assert not local.has_work(ledger.read(root, 1))  # its launcher has not said so yet
    chunks.intend(paths, 0, 1.0)
    assert local.has_work(ledger.read(root, 1))
    ledger.cancel(paths, None, 1.0)
    assert not local.has_work(ledger.read(root, 1))


def test_a_task_that_skipped_itself_frees_its_slot(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell()], "local")
    ended = {**HERE.data(), "start": 1}
    files.append(paths.local, {"event": "start", "task": 0, "devices": "", "process": ended})
    ledger.skip(paths, 0, "everything is recorded already")
    assert local.Queue(root, Slots((), 2)).step() is False
    assert ledger.read(root, 1).local[0].ended


def test_a_job_whose_cell_was_invalidated_since_is_no_failed_attempt(tmp_path: Path) -> None:
    root, one = run_root(tmp_path), cell()
    paths, own = submission(root, [one], "local"), root.cell(one.training_id)
    about = {"submission": 1, "task": 0, "job_id": str(GONE.pid)}
    attempts.end(own.attempt(attempts.claim(own, about, b"{}")), "completed", "")
    finish(root, one)
    tombstones.invalidate(root, one.training_id, None, {"reason": "wrong data"})
    ledger.started(paths, 0, GONE, "", 1.0)
    local.Queue(root, Slots((), 2)).step()
    assert ledger.read(root, 1).local[0].ended
    assert unclaimed.read(paths) == []


def test_a_job_that_dies_before_its_claim_is_a_failed_attempt(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    one = cell()
    paths = submission(root, [one], "local")
    log = paths.submitit / "task-0" / f"{HERE.pid}_0_log.out"
    log.parent.mkdir()
    log.write_text("ModuleNotFoundError: No module named 'jobs'\n")
    ledger.started(paths, 0, GONE, "", 1.0)
    local.Queue(root, Slots((), 2)).step()
    (found,) = unclaimed.read(paths)
    assert (found.state, found.cells) == ("failed", (one.training_id,))
    assert "No module named 'jobs'" in found.reason
    assert ledger.read(root, 1).local[0].ended


def failed(root: RunRoot, one: Cell, **more: object) -> None:
    """An attempt of the task that GONE ran, which failed."""
    files = root.cell(one.training_id)
    about = {"submission": 1, "task": 0, "job_id": str(GONE.pid)}
    number = attempts.claim(files, about, b"{}")
    attempts.end(files.attempt(number), "failed", "its ranks died", advanced=False, **more)


@pytest.mark.parametrize(("fatal", "again"), [(False, True), (True, False)])
def test_a_task_whose_ranks_died_waits_to_be_started_again(
    tmp_path: Path, fatal: bool, again: bool
) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell()], "local")
    chunks.intend(paths, 0, 1.0)
    failed(root, cell(), deterministic=fatal)
    ledger.started(paths, 0, GONE, "", 1.0)
    known = survey.progress(root, [cell()], Index(root))
    live = liveness.live([ledger.read(root, 1)], known, None, 2.0)
    assert [held.state for held in live.values()] == ["queued"] * again
    queue = local.Queue(root, Slots((), 1))
    queue.held[9, 0] = Held(9, 0, HERE, (), 1)  # nothing fits, so nothing starts
    queue.step()
    assert ledger.read(root, 1).startable(0)
    assert local.has_work(ledger.read(root, 1)) is again


def test_a_started_task_that_fails_before_its_claim_is_not_started_for_ever(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell()], "local")
    failed(root, cell())
    ledger.started(paths, 0, Process(HERE.host, 1, 1, HERE.boot), "", 1.0)
    assert local.Queue(root, Slots((), 2)).step() is False
    assert [death.job_id for death in unclaimed.read(paths)] == ["1"]


def test_tasks_of_a_held_submission_are_skipped_without_a_process(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell(0), cell(1)], "local")
    chunks.intend(paths, 0, 1.0)
    holds.create(paths, "5 cells failed alike", 1.0)
    queue = local.Queue(root, Slots((), 2))
    queue.step()
    assert queue.step() is False
    assert set(ledger.read(root, 1).skipped.values()) == {"held (hold 1): 5 cells failed alike"}


def test_tasks_wait_for_a_canary_that_waits(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [cell(0), cell(1)], "local")
    chunks.intend(paths, 0, 1.0)
    paths.held(1).write_bytes(holds.canary(0, work_order(cell(0), ())))
    queue = local.Queue(root, Slots((), 0))
    waiting = [(ledger.read(root, 1), task) for task in (0, 1)]
    assert [task for _, task in queue._free(waiting, {(1, 0), (1, 1)})] == [0]
    assert ledger.read(root, 1).skipped == {}
    assert queue._free(waiting[1:], {(1, 1)}) == []
    assert list(ledger.read(root, 1).skipped) == [1]


def test_a_corrupt_submission_does_not_hold_up_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = run_root(tmp_path)
    torn = submission(root, [cell(0)], "local")
    good = submission(root, [cell(1)], "local")
    torn.plan.write_text('{"manifest": ')
    assert [s.number for s in local.open_submissions(root, set())] == [good.number]
    assert "passed over" in capsys.readouterr().err


def test_a_task_that_never_fits_is_skipped_with_the_reason(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    shape = Resources(gpus_per_node=4)
    paths = submission(root, [cell(resources=shape)], "local")
    chunks.intend(paths, 0, 1.0)
    local.Queue(root, Slots(("0", "1"), 2)).step()
    assert ledger.read(root, 1).skipped == {0: "needs 4 GPUs, this machine's queue has 2"}
