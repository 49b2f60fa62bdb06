"""Whether a work order can and need run, and what its ranks are told."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from jobs import attempts, files, identity, records
from jobs.dispatch import holds, ledger
from jobs.errors import EnvironmentFault
from jobs.expand.blocks import Resources
from jobs.layout import RunRoot
from jobs.planning.request import work_order
from jobs.running import meeting, task, undone
from jobs.running.task import TaskRun, obstacle
from snnlib.spec.stage import NDSStage
from tests.examples import EPSILONS, cell, finish, record, run_root, submission

ONE = cell()
ORDER = work_order(ONE, ONE.rows)
STAGE = identity.stage_id(NDSStage())


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)


def test_a_new_cell_has_no_obstacle(root: RunRoot) -> None:
    assert obstacle(root, submission(root, [ONE]), 0, ORDER) is None


def test_a_recorded_cell_need_not_run(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    finish(root, ONE)
    assert obstacle(root, paths, 0, ORDER) == "everything is recorded already"


def test_an_untrained_parent_is_an_obstacle(root: RunRoot) -> None:
    child = cell(1, parent=ONE)
    order = work_order(child, child.rows)
    paths = submission(root, [child])
    assert f"parent {ONE.training_id} is not trained" in str(obstacle(root, paths, 0, order))
    finish(root, ONE)
    assert obstacle(root, paths, 0, order) is None


def test_a_parent_without_its_signature_is_an_obstacle(root: RunRoot) -> None:
    child = cell(1)
    steered = replace(child.training, nds=f"{ONE.training_id}/{STAGE}")
    child = replace(child, training=steered)
    order, paths = work_order(child, child.rows), submission(root, [child])
    assert f"parent {ONE.training_id} is not trained" in str(obstacle(root, paths, 0, order))
    finish(root, ONE)
    found = obstacle(root, paths, 0, order)
    assert found == f"its parent {ONE.training_id} has no signature yet"
    collect(root)
    assert obstacle(root, paths, 0, order) is None


def collect(root: RunRoot) -> None:
    """Put the record of a signature on disk."""
    path = root.cell(ONE.training_id).stage(STAGE)
    path.parent.mkdir()
    path.write_text("{}")


def test_an_order_is_unfinished_while_a_stage_is_missing(root: RunRoot) -> None:
    source = replace(ONE, stages=(NDSStage(),))
    order = work_order(source, source.wanted)
    finish(root, ONE)
    assert undone.unfinished(root, order)
    collect(root)
    assert not undone.unfinished(root, order)


def test_an_order_of_an_older_version_wants_no_stages(root: RunRoot) -> None:
    finish(root, ONE)
    assert not undone.unfinished(root, {k: v for k, v in ORDER.items() if k != "stages"})


def test_a_cancelled_submission_starts_nothing(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    ledger.cancel(paths, None, 1.0)
    assert obstacle(root, paths, 0, ORDER) == "cancelled before it started"


def test_a_living_attempt_is_an_obstacle(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    attempts.claim(root.cell(ONE.training_id), {}, b"{}")
    assert "attempt 1" in str(obstacle(root, paths, 0, ORDER))


def test_a_hold_is_an_obstacle_but_not_to_its_canary(root: RunRoot) -> None:
    paths = submission(root, [ONE, cell(1)])
    paths.held(1).write_bytes(holds.canary(1, ORDER))
    assert obstacle(root, paths, 0, ORDER) == f"held (hold 1): waits for its canary {ONE.label}"
    assert obstacle(root, paths, 1, ORDER) is None


def test_a_canary_releases_the_others_once_its_cell_is_recorded(root: RunRoot) -> None:
    paths = submission(root, [ONE, cell(1)])
    paths.held(1).write_bytes(holds.canary(0, ORDER))
    TaskRun(paths.folder, 1, {}).run()
    assert ledger.read(root, 1).skipped == {1: f"held (hold 1): waits for its canary {ONE.label}"}
    assert holds.in_force(paths)
    finish(root, ONE)
    TaskRun(paths.folder, 0, {}).run()
    assert holds.in_force(paths) == []


TWO = replace(ONE, resources=Resources(nodes=2))


def test_other_nodes_of_a_job_learn_of_a_hold(root: RunRoot) -> None:
    paths = submission(root, [TWO])
    holds.create(paths, "5 cells failed alike", 1.0)
    other = TaskRun(paths.folder, 0, {"SLURM_NODEID": "1"})
    for run in (TaskRun(paths.folder, 0, {}), other):
        run.run()
    assert ledger.read(root, 1).skipped == {0: "held (hold 1): 5 cells failed alike"}
    assert other.tried == set()


def test_a_packed_task_skips_the_rest_for_a_hold(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    holds.create(paths, "5 cells failed alike", 1.0)
    run = TaskRun(paths.folder, 0, {})
    run.tried = {"another cell"}
    run.run()
    assert ledger.read(root, 1).skipped == {0: "held (hold 1): 5 cells failed alike"}


def test_rows_of_other_weights_are_missing(root: RunRoot) -> None:
    cell = root.cell(ONE.training_id)
    finish(root, ONE)
    assert undone.missing_rows(cell, ORDER) == {}
    files.replace(cell.training, files.dumps({"model_sha256": "1" * 64}))
    assert sum(map(len, undone.missing_rows(cell, ORDER).values())) == len(ONE.rows)


def test_only_missing_rows_are_computed(root: RunRoot) -> None:
    finish(root, ONE, attacks=1)
    clean, fgsm = ONE.attack_ids
    records.write(root.cell(ONE.training_id), record(ONE, fgsm, EPSILONS[:1]))
    missing = undone.missing_rows(root.cell(ONE.training_id), ORDER)
    assert missing == {fgsm: ["8/255"]}
    assert clean not in missing


def test_a_task_without_work_says_so_and_starts_nothing(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    finish(root, ONE)
    TaskRun(paths.folder, 0, {}).run()
    assert ledger.read(root, 1).skipped == {0: "everything is recorded already"}
    assert attempts.numbers(root.cell(ONE.training_id)) == []


@pytest.mark.parametrize(
    ("env", "job"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7"}, "7"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "7_3"),
        ({"SUBMITIT_LOCAL_JOB_ID": "4242"}, "4242"),
    ],
)
def test_job_ids(env: dict[str, str], job: str) -> None:
    assert task.job_id(env) == job


def test_epsilon_zero_is_the_clean_row() -> None:
    assert ONE.rows[0].endswith("@0/1")
    assert Fraction(0) not in ONE.epsilons


def test_only_own_attempts_are_concluded(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    cell_files = root.cell(ONE.training_id)
    own = {"submission": 1, "task": 0, "job_id": "7"}
    for claim in (own, {**own, "submission": 2}, own, {**own, "job_id": "8"}):
        attempts.claim(cell_files, claim, b"{}")
    run = TaskRun(paths.folder, 0, {"SLURM_JOB_ID": "7"})
    assert run._own_attempts(ORDER, 1) == [3]


def packed(root: RunRoot) -> list[TaskRun]:
    """Both nodes of a job of two cells, the first of which has failed for good."""
    cells = [replace(cell(seed), resources=Resources(nodes=2, cells_per_job=2)) for seed in (0, 1)]
    paths = submission(root, cells)
    spent = root.cell(cells[0].training_id)
    number = attempts.claim(spent, {"submission": 1}, b"{}")
    attempts.end(spent.attempt(number), "failed", "NaN", deterministic=True, signature="NaN")
    return [TaskRun(paths.folder, 0, {"SLURM_NODEID": node}) for node in "01"]


def test_all_nodes_of_a_job_run_the_cell_that_the_first_one_claimed(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []

    def cancelled(_run: TaskRun, _line: object, env: dict[str, str], _orders: object) -> bool:
        told.append(env.get("SPIKEGRID_FROM"))
        return True

    monkeypatch.setattr(TaskRun, "_launch", cancelled)
    first, other = packed(root)
    first.run()
    other.run()
    second = cell(1).training_id
    assert (first.tried, other.tried) == ({second}, {second})
    assert told == [second, None]


def test_a_job_of_one_node_writes_no_choice(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    finish(root, ONE)
    TaskRun(paths.folder, 0, {}).run()
    assert not paths.choice("1").parent.exists()


def test_a_node_waits_for_the_first_one(tmp_path: Path) -> None:
    path, looks = tmp_path / "choices" / "7-0.json", []

    def look() -> bool:
        looks.append(path.exists())
        meeting.choose(path, "abc")
        return False

    assert meeting.chosen(path, look) == "abc"
    assert looks == [False]


def test_a_node_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "CHOICE_S", 0.0)
    with pytest.raises(EnvironmentFault, match="the first node of this job has not said within"):
        meeting.chosen(tmp_path / "7-0.json", lambda: False)
    monkeypatch.undo()
    assert meeting.chosen(tmp_path / "7-0.json", lambda: True) is None


def test_a_task_that_was_told_to_end_starts_nothing(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    run = TaskRun(paths.folder, 0, {})
    run.stop()
    run.run()
    assert attempts.numbers(root.cell(ONE.training_id)) == []
    assert ledger.read(root, 1).skipped == {}
