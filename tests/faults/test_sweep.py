"""Every file operation fails once: nothing torn is read, nothing finished lost, all is repeatable."""

import os
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from analysis.collecting.gather import gather
from jobs.layout import RunRoot
from jobs.planning import situation
from jobs.planning.index import Index
from tests.examples import run_root
from tests.faults.filesystem import Fault, failing, struck
from tests.faults.job_operations import OF_JOBS
from tests.faults.operations import CELLS, DONE, NOW, OF_LAUNCHERS, Operation, base

MOST = 400
"""Operations that one thing takes at most."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run root with one finished training."""
    root = run_root(tmp_path_factory.mktemp("finished"))
    root.code.mkdir()
    base(root)
    return root.path


def silent(what: str, done: int, total: int) -> None:
    del what, done, total


def look(root: RunRoot) -> None:
    """Let every reader look: none stumbles, what is finished stands, and counts once."""
    plans = []
    for trust in (True, False) if root.index.exists() else (True,):
        seen = situation.look(root, CELLS, Index(root, trust=trust), max_age=None, now=NOW)
        plans.append(situation.planned(CELLS, seen))
    assert plans[0] == plans[-1]
    actions = {item.cell.training_id: item.action for item in plans[0]}
    assert actions[DONE.training_id] == "done"
    gathered = gather([root], silent)
    assert gathered.warnings == []
    rows = [(gathered.trainings[n]["training_id"], row.attack_id, row.epsilon)
            for n, row in zip(gathered.training_of, gathered.rows, strict=True)]  # fmt: skip
    assert len(rows) == len({*rows})
    assert sum(row[0] == DONE.training_id for row in rows) == len(DONE.rows)


def copied(source: str, target: str) -> None:
    """A run root again: files that nobody writes twice are shared, since there are many copies."""
    os.mkdir(target)  # noqa: PTH102 - a thousand times
    for entry in os.scandir(source):
        there = f"{target}/{entry.name}"
        if entry.is_dir():
            copied(entry.path, there)
        elif entry.name.endswith(("file", ".jsonl")):
            shutil.copyfile(entry.path, there)
        else:
            os.link(entry.path, there)


def repeated(operation: Operation, root: RunRoot) -> Any:
    with failing("error", 0):
        operation.act(root)
    return operation.seen(root)


@pytest.mark.parametrize("fault", get_args(Fault))
@pytest.mark.parametrize("operation", [*OF_LAUNCHERS, *OF_JOBS], ids=lambda one: one.name)
def test_every_operation_of_a_writer_may_fail(
    finished: Path, tmp_path: Path, operation: Operation, fault: Fault
) -> None:
    template = RunRoot(tmp_path / "template")
    copied(str(finished), str(template.path))
    operation.before(template)
    copied(str(template.path), str(tmp_path / "quiet"))
    expected = repeated(operation, RunRoot(tmp_path / "quiet"))
    for at in range(1, MOST):
        root = RunRoot(tmp_path / f"{at}")
        copied(str(template.path), str(root.path))
        hit = struck(fault, at, lambda root=root: operation.act(root))  # type: ignore[misc]
        look(root)
        assert repeated(operation, root) == expected, f"operation {at}"
        if fault in {"kill", "lie"}:
            look(root)
        if not hit:
            break
    assert at > 1
    assert at < MOST - 1
