"""A training that was interrupted goes on with the code it began with, unless asked otherwise."""

from pathlib import Path

import pytest

from jobs import attempts, files, identity
from jobs.dispatch import codes, snapshot
from jobs.dispatch.codes import Choice
from jobs.layout import RunRoot
from jobs.planning import plan, survey
from jobs.planning.index import Index
from jobs.planning.plan import Planned, Progress
from jobs.planning.request import tasks, work_order
from jobs.running import task
from jobs.running.task import TaskRun
from tests.examples import cell, finish, run_root, submission

ONE, TWO, THREE = cell(0), cell(1), cell(2)
OLD = "01d0" * 4
PACKED = type(ONE.resources)(cells_per_job=2)


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    """One training at step 7, one that stopped before its first checkpoint, one that is done."""
    found = run_root(tmp_path)
    for one in (ONE, TWO, THREE):
        paths = found.cell(one.training_id)
        number = attempts.claim(paths, {"code": OLD}, b"{}")
        attempts.end(paths.attempt(number), "preempted", "", advanced=True)
    found.cell(ONE.training_id).checkpoint(7, 1).mkdir(parents=True)
    finish(found, THREE, attacks=1)
    (found.code / OLD).mkdir(parents=True)
    return found


def look(root: RunRoot) -> tuple[list[Planned], dict[str, Progress]]:
    cells = [ONE, TWO, THREE]
    known = survey.progress(root, cells, Index(root))
    return plan.plan(cells, known, {}), known


@pytest.mark.parametrize(
    ("choice", "older"), [(None, [ONE]), ("same", [ONE, TWO, THREE]), ("new", [])]
)
def test_who_goes_on_with_the_older_code(
    root: RunRoot, choice: Choice, older: list[object]
) -> None:
    found = codes.chosen(root, *look(root), choice)
    assert found == {one.training_id: OLD for one in (ONE, TWO, THREE) if one in older}


def test_code_that_did_not_change_is_not_named(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "current", lambda: OLD)
    assert codes.chosen(root, *look(root), "same") == {}


def test_a_plan_says_so(root: RunRoot) -> None:
    (line,) = codes.told(root, {"a": OLD, "b": OLD})
    assert line == (
        "      2 code changed since its checkpoint; goes on with the same code "
        "(--code new to change)"
    )


def test_a_plan_says_that_the_code_is_gone(root: RunRoot) -> None:
    (line,) = codes.told(root, {"a": "9" * 16})
    assert f"{root.code / ('9' * 16)} is not there any more" in line
    assert "goes on with the new code" in line


def test_cells_of_one_task_run_one_code() -> None:
    work = [
        (one, work_order(one, one.rows)) for one in (cell(n, resources=PACKED) for n in range(4))
    ]
    work[1][1]["code"] = work[3][1]["code"] = OLD
    packed = [[order.get("code") for order in made.cells] for made in tasks(work)]
    assert packed == [[None, None], [OLD, OLD]]


@pytest.mark.parametrize(("there", "code"), [(True, OLD), (False, "c0de")])
def test_what_the_ranks_run(root: RunRoot, *, there: bool, code: str) -> None:
    if not there:
        (root.code / OLD).rmdir()
    run = TaskRun(submission(root, [ONE]).folder, 0, {})
    order = {**work_order(ONE, ONE.rows), "code": OLD}
    line = {"cells": [order], "resources": identity.plain(ONE.resources)}
    env = run._environment(line)
    assert env["SPIKEGRID_CODE"] == code
    assert env["PYTHONPATH"] == str(root.code / code)
    number = task.claim(root, run.paths, 0, order, env)
    attempt = root.cell(ONE.training_id).attempt(number)
    claim = files.read_json(attempt.claim)
    assert (claim["code"], claim["processes"], claim["gpus"]) == (code, 1, 0)


def test_lost_code_is_an_event(root: RunRoot) -> None:
    attempt = root.cell(ONE.training_id).attempt(1)
    codes.note(attempt, {"code": OLD}, OLD)
    codes.note(attempt, {}, OLD)
    assert list(files.read_lines(attempt.events)) == []
    codes.note(attempt, {"code": OLD}, "c0de")
    (event,) = files.read_lines(attempt.events)
    assert (event["event"], event["code"]) == ("code", "c0de")
    assert OLD in event["why"]
