"""What the index lets a refresh pass over, and what it must not."""

import os
from pathlib import Path

import pytest

from jobs import attempts, files
from jobs.dispatch import liveness
from jobs.expand.cell import Cell
from jobs.layout import RunRoot
from jobs.planning import situation, survey
from jobs.planning.index import Index
from tests.examples import cell, finish, run_root, submission

ONE = cell()


def looked(root: RunRoot, *cells: Cell, now: float = 0.0) -> set[str]:
    """Trainings that one refresh read from disk, of cells it was asked about."""
    index = Index(root)
    situation.look(root, list(cells), index, max_age=None, now=now)
    index.save()
    return index.changed


def over(root: RunRoot, *numbers: int) -> None:
    files.replace(root.closed, files.dumps({"closed": numbers}))


def run(root: RunRoot, one: Cell, state: attempts.EndState | None, number: int = 1) -> None:
    """An attempt of a submission at a cell, with its end unless that is None."""
    paths = root.cell(one.training_id)
    tried = attempts.claim(paths, {"submission": number}, b"{}")
    if state is not None:
        attempts.end(paths.attempt(tried), state, "")


def test_what_no_submission_runs_is_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run_root(tmp_path)
    submission(root, [ONE, cell(1)])
    finish(root, ONE, attacks=1)
    run(root, ONE, "completed")
    run(root, cell(1), "failed")
    over(root, 1)
    assert looked(root, ONE, cell(1)) == {ONE.training_id, cell(1).training_id}
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) == str(root.cache))
    monkeypatch.setattr(survey, "_look", None)
    monkeypatch.setattr(survey, "_stamp", None)
    index = Index(root)
    known = situation.look(root, [ONE, cell(1)], index, max_age=None, now=0.0).known
    assert [known[c.training_id].trained for c in (ONE, cell(1))] == [True, False]
    assert known[cell(1).training_id].attempts[-1].state == "failed"


@pytest.mark.parametrize("closed", [(1,), (1, 2)])
def test_a_later_submission_is_looked_at(tmp_path: Path, closed: tuple[int, ...]) -> None:
    root = run_root(tmp_path)
    submission(root, [ONE])
    run(root, ONE, "failed")
    over(root, 1)
    looked(root, ONE)
    submission(root, [ONE])
    run(root, ONE, "preempted", number=2)
    over(root, *closed)
    assert looked(root, ONE) == {ONE.training_id}
    (known,) = survey.progress(root, [ONE], Index(root)).values()
    assert [one.state for one in known.attempts] == ["failed", "preempted"]


def test_what_others_ran_meanwhile_is_looked_at_in_its_turn(tmp_path: Path) -> None:
    root, other = run_root(tmp_path), cell(1)
    submission(root, [ONE, other])
    for one in (ONE, other):
        run(root, one, "failed")
    over(root, 1)
    looked(root, ONE, other)
    submission(root, [other])
    run(root, other, "completed", number=2)
    over(root, 1, 2)
    assert looked(root, ONE) == set()
    assert looked(root, other) == {other.training_id}


@pytest.mark.parametrize(("later", "found"), [(119.0, set()), (121.0, {"x"})])
def test_a_listing_that_lags_behind_the_end_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: float, found: set[str]
) -> None:
    """A record that shows only after its submission is over; two minutes later none is settled."""
    root = run_root(tmp_path)
    submission(root, [ONE])
    run(root, ONE, "completed")
    finish(root, ONE, attacks=1)
    liveness.close(root, liveness.submissions(root), None, 1000.0)
    for now in (1000.0, 1000.0 + later):
        looked(root, ONE, now=now)
    assert Index(root).final == ({1} if found else set())
    finish(root, ONE)
    assert looked(root, ONE, now=1000.0 + later) == (set() if found else {ONE.training_id})


def test_nothing_is_settled_beside_an_unreadable_submission(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    submission(root, [ONE])
    run(root, ONE, "failed")
    over(root, 1)
    looked(root, ONE)
    root.submission(2).folder.mkdir()
    run(root, ONE, "preempted", number=2)
    assert looked(root, ONE) == {ONE.training_id}


def test_an_attempt_without_an_end_is_looked_at_every_time(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    submission(root, [ONE])
    run(root, ONE, None)
    over(root, 1)
    looked(root, ONE)
    attempts.end(root.cell(ONE.training_id).attempt(1), "completed", "")
    assert looked(root, ONE) == {ONE.training_id}


def test_an_altered_index_is_not_believed(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE)
    looked(root, ONE)
    root.index.write_bytes(root.index.read_bytes().replace(b"2/255", b"3/255"))
    assert Index(root).entries == {}


def test_lines_that_refer_to_another_whole_are_passed_over(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    for seed in range(9):
        finish(root, cell(seed))
    first = Index(root)
    survey.progress(root, [cell(seed) for seed in range(8)], first)
    first.save()
    late = Index(root)
    survey.progress(root, [cell(8)], late)
    late.save()
    assert len(Index(root).entries) == 9
    base, _, rest = root.index.read_bytes().partition(b"\n")
    line = rest.partition(b"\n")[2]
    root.index.write_bytes(base + b"\n" + rest.replace(line, line.replace(base[:16], b"0" * 16)))
    assert len(Index(root).entries) == 8


def test_an_index_of_another_version_is_passed_over(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    root.index.write_text('{"id": "0123456789abcdef"}\n["fedcba9876543210", true]\n7\n')
    assert Index(root).entries == {}


def test_a_torn_index_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE)
    index = Index(root)
    survey.progress(root, [ONE], index)
    index.save()
    with root.index.open("ab") as file:
        file.write(b'{"id": "torn')
    assert Index(root).entries.keys() == {ONE.training_id}
