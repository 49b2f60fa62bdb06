"""Failures of one kind hold a submission; single ones never do."""

from pathlib import Path

import pytest

from jobs import attempts
from jobs.attempts import Attempt, EndState
from jobs.dispatch import breaker, holds
from jobs.expand.cell import Cell
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning.request import work_order
from tests.examples import cell, run_root, submission

CELLS = [cell(seed) for seed in range(30)]


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)


@pytest.fixture
def paths(root: RunRoot) -> SubmissionFiles:
    return submission(root, CELLS)


def ended(
    root: RunRoot, one: Cell, state: EndState, signature: str = "", **more: object
) -> Attempt:
    """The newest attempt at a cell, which ended like this."""
    files = root.cell(one.training_id)
    number = attempts.claim(files, {"submission": 1, "task": one.number}, b"{}")
    attempts.end(files.attempt(number), state, signature, signature=signature, **more)
    return attempts.read(files, number)


def fail(root: RunRoot, paths: SubmissionFiles, cells: list[Cell], signature: str) -> list[bool]:
    return [
        breaker.note(
            root,
            paths,
            work_order(one, one.rows),
            ended(root, one, "failed", signature, tail=[f"{signature} on line 7"]),
        )
        for one in cells
    ]


def test_the_fifth_cell_that_fails_alike_holds_the_rest(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    held = fail(root, paths, CELLS[:8], "KeyError: x")
    assert held == [False] * 4 + [True] + [False] * 3
    (hold,) = holds.in_force(paths)
    assert hold.reason.startswith("5 cells failed alike: KeyError: x (the last is digits/")
    assert hold.cell == CELLS[4].training_id
    assert '"line":"KeyError: x on line 7"' in paths.held(1).read_text()


@pytest.mark.parametrize(
    ("good", "held"), [(0, True), (5, True), (6, False), (25, False)], ids=lambda v: str(v)
)
def test_failures_must_be_half_of_what_concluded(
    root: RunRoot, paths: SubmissionFiles, good: int, held: bool
) -> None:
    for one in CELLS[5 : 5 + good]:
        ended(root, one, "completed")
    assert fail(root, paths, CELLS[:5], "NotFinite: nan")[-1] is held


def test_failures_of_different_kinds_do_not_add_up(root: RunRoot, paths: SubmissionFiles) -> None:
    for number, one in enumerate(CELLS[:20]):
        assert fail(root, paths, [one], f"kind {'abcdef'[number % 6]}") == [False]


def test_one_cell_counts_once_however_often_it_fails(root: RunRoot, paths: SubmissionFiles) -> None:
    assert not any(fail(root, paths, CELLS[:1] * 9, "OSError"))
    assert len(list(paths.failures.iterdir())) == 1


def test_cells_that_healed_speak_for_the_rest(root: RunRoot, paths: SubmissionFiles) -> None:
    fail(root, paths, CELLS[:4], "its ranks died")
    for one in CELLS[:4]:
        ended(root, one, "completed")
    assert fail(root, paths, CELLS[4:5], "its ranks died") == [False]


def test_after_a_release_failures_count_anew(root: RunRoot, paths: SubmissionFiles) -> None:
    fail(root, paths, CELLS[:5], "OSError")
    holds.release(paths, 1.0)
    assert fail(root, paths, CELLS[:5], "OSError") == [False] * 4 + [True]
    assert [hold.number for hold in holds.in_force(paths)] == [2]


def test_failed_attempts_of_other_submissions_do_not_count(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    for one in CELLS[5:15]:
        files = root.cell(one.training_id)
        number = attempts.claim(files, {"submission": 7, "task": 0}, b"{}")
        attempts.end(files.attempt(number), "completed", "")
    assert fail(root, paths, CELLS[:5], "OSError")[-1]
