"""Holds keep waiting tasks from starting until their release stands."""

import json
from pathlib import Path

import pytest

from jobs import attempts, processes
from jobs.dispatch import chunks, holds, ledger, liveness
from jobs.dispatch.ledger import Submission
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning.plan import Live, Progress, plan
from jobs.planning.request import work_order
from tests.examples import cell, run_root, submission

CELLS = [cell(seed) for seed in range(3)]
WHY = "5 cells failed alike: NotFinite"


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)


@pytest.fixture
def paths(root: RunRoot) -> SubmissionFiles:
    made = submission(root, CELLS, "local")
    chunks.intend(made, 0, 1.0)
    return made


def with_canary(paths: SubmissionFiles) -> None:
    order = work_order(CELLS[0], CELLS[0].rows)
    paths.held(1).write_bytes(holds.canary(0, order))


def read(root: RunRoot) -> Submission:
    return ledger.read(root, 1)


def live(root: RunRoot, known: dict[str, Progress] | None = None) -> dict[str, Live]:
    return liveness.live([read(root)], known or {}, None, 2.0, holds.of(root, [1]))


def test_a_hold_is_in_force_until_its_release(paths: SubmissionFiles) -> None:
    assert holds.in_force(paths) == []
    assert holds.create(paths, WHY, 1.0)
    assert holds.create(paths, "another", 2.0)
    assert [hold.reason for hold in holds.in_force(paths)] == [WHY, "another"]
    assert holds.release(paths, 3.0) == 2
    assert holds.in_force(paths) == []
    assert holds.released(paths) == 2
    assert json.loads(paths.released(1).read_bytes())["pid"] == processes.this().pid


def test_a_canary_passes_its_own_hold_and_no_other(paths: SubmissionFiles) -> None:
    with_canary(paths)
    assert holds.blocking(paths, 0) is None
    blocked = holds.blocking(paths, 1)
    assert blocked is not None
    assert blocked.skip == f"held (hold 1): waits for its canary {CELLS[0].label}"
    holds.create(paths, WHY, 1.0)
    assert holds.release(paths, 2.0, canary=0) == 1
    assert [hold.reason for hold in holds.in_force(paths)] == [WHY]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (None, "ended without a word"),
        (("failed", "NotFinite: nan"), "failed: NotFinite: nan"),
        (("preempted", ""), "preempted"),
    ],
)
def test_a_hold_says_what_became_of_its_canary(
    root: RunRoot, paths: SubmissionFiles, end: tuple[attempts.EndState, str] | None, why: str
) -> None:
    with_canary(paths)
    (hold,) = holds.of(root, [1])[1]
    assert hold.why == f"its canary {CELLS[0].label} has not run"
    files = root.cell(CELLS[0].training_id)
    number = attempts.claim(files, {"submission": 1, "task": 0}, b"{}")
    if end:
        attempts.end(files.attempt(number), *end)
    (hold,) = holds.of(root, [1])[1]
    assert hold.why == f"its canary {CELLS[0].label} {why}"


def test_what_waits_for_a_living_canary_is_queued_not_held(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    with_canary(paths)
    (one, *others) = plan(CELLS, {}, live(root))
    assert (one.state, one.reason) == ("queued", "queued (submission 1)")
    assert {item.action for item in others} == {"wait"}
    assert f"waits for its canary {CELLS[0].label}" in others[0].reason


def test_what_waits_for_a_dead_canary_is_held(root: RunRoot, paths: SubmissionFiles) -> None:
    with_canary(paths)
    ledger.skip(paths, 0, "cancelled before it started")
    items = plan(CELLS, {}, live(root))
    assert [item.action for item in items] == ["train", "held", "held"]
    assert items[1].reason == f"its canary {CELLS[0].label} has not run (submission 1)"


def test_what_skipped_itself_for_a_hold_is_held_until_the_release(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    holds.create(paths, WHY, 1.0)
    (hold,) = holds.in_force(paths)
    for task in range(3):
        ledger.skip(paths, task, hold.skip)
    assert {item.state for item in plan(CELLS, {}, live(root))} == {"held"}
    assert liveness.over([read(root)], None, 2.0, holds.of(root, [1])) == []
    holds.release(paths, 3.0)
    assert {item.action for item in plan(CELLS, {}, live(root))} == {"train"}
    assert liveness.over([read(root)], None, 2.0, holds.of(root, [1])) != []


def test_what_an_older_hold_skipped_is_not_held_by_a_younger_one(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    holds.create(paths, WHY, 1.0)
    (hold,) = holds.in_force(paths)
    for task in range(3):
        ledger.skip(paths, task, hold.skip)
    holds.release(paths, 2.0)
    holds.create(paths, WHY, 3.0)
    assert live(root) == {}


def test_a_cancelled_or_given_up_cell_is_not_held(root: RunRoot, paths: SubmissionFiles) -> None:
    holds.create(paths, WHY, 1.0)
    (hold,) = holds.in_force(paths)
    for task in range(3):
        ledger.skip(paths, task, hold.skip)
    ledger.cancel(paths, [0], 2.0)
    fatal = attempts.Attempt(number=1, state="failed", reason="NotFinite", deterministic=True)
    known = {CELLS[1].training_id: Progress(attempts=(fatal,))}
    assert list(live(root, known)) == [CELLS[2].training_id]


def test_a_refused_submission_holds_nothing(root: RunRoot) -> None:
    made = submission(root, CELLS)
    with_canary(made)
    chunks.intend(made, 0, 1.0)
    chunks.refused(made, 0, "invalid partition", 2.0)
    assert live(root) == {}
    assert liveness.over([read(root)], None, 2.0, holds.of(root, [1])) != []
