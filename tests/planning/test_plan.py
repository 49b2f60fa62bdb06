"""Wanted minus recorded minus live, with a reason."""

from dataclasses import replace

import pytest

from jobs.attempts import Attempt, EndState
from jobs.planning.budget import FREE_RETRIES
from jobs.planning.plan import Action, Live, Planned, Progress, plan, with_parents
from tests.examples import cell

ONE = cell()
ALL = frozenset(ONE.rows)
STOPS: list[EndState] = ["preempted"] * FREE_RETRIES
CANCELS: list[EndState] = ["cancelled"] * 30
FAILS: list[EndState] = ["failed"] * 3
SILENT: list[EndState] = ["lost"] * 3


def tried(*states: EndState | None, advanced: bool = True, **more: object) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(number=n, state=state, advanced=advanced, **more)  # type: ignore[arg-type]
        for n, state in enumerate(states, start=1)
    )


FATAL = Attempt(number=1, state="failed", reason="DatasetMissing", deterministic=True)


def sent(submission: int, *states: EndState) -> tuple[Attempt, ...]:
    return tried(*states, submission=submission)


def decide(known: Progress, live: Live | None = None, **more: bool) -> Planned:
    key = ONE.training_id
    (item,) = plan([ONE], {key: known}, {key: live} if live else {}, **more)
    return item


@pytest.mark.parametrize(
    ("known", "action", "reason"),
    [
        (Progress(), "train", "new"),
        (Progress(trained=True, rows=ALL), "done", "recorded"),
        (Progress(trained=True), "evaluate", "3 of 3 rows missing"),
        (Progress(trained=True, rows=frozenset(ONE.rows[:1])), "evaluate", "2 of 3 rows missing"),
        (Progress(attempts=tried("preempted"), step=42), "retry", "go on from step 42"),
        (Progress(attempts=tried(None)), "retry", "lost (1 of 20), start over"),
        (Progress(attempts=tried("cancelled")), "retry", "cancelled"),
        (Progress(attempts=tried("failed", "failed")), "retry", "failed (2 of 3)"),
        (Progress(attempts=tried("failed", "failed", "failed")), "give_up", "3 failures"),
        (Progress(attempts=tried("failed", deterministic=True)), "give_up", "would come again"),
        (Progress(attempts=tried(*STOPS)), "give_up", "20 times"),
        (Progress(attempts=tried(*STOPS[:3], advanced=False)), "give_up", "3 failures"),
        (Progress(attempts=tried(*CANCELS)), "retry", "cancelled"),
        (Progress(attempts=sent(1, *FAILS) + sent(2, "failed")), "retry", "failed (1 of 3)"),
        (Progress(attempts=sent(1, *FAILS) + sent(2, "preempted")), "retry", "preempted (1 of 20)"),
        (Progress(attempts=sent(1, *FAILS) + sent(2, *FAILS)), "give_up", "3 failures"),
        (Progress(attempts=sent(1, *FAILS[:2]) + sent(2, "failed")), "give_up", "3 failures"),
        (Progress(attempts=(FATAL, *tried("failed", "preempted"))), "retry", "preempted (1 of 20)"),
        (Progress(attempts=(*tried("failed"), FATAL, *tried("cancelled"))), "give_up", "again"),
        (Progress(attempts=tried("preempted", advanced=False)), "retry", "preempted (1 of 3)"),
        (Progress(attempts=tried("timeout", advanced=False, claimed=False)), "retry", "1 of 20"),
        (Progress(attempts=tried("node_fail")), "retry", "node_fail (1 of 20)"),
        (
            Progress(attempts=tried(*SILENT, advanced=False, claimed=False)),
            "retry",
            "3 of 20",
        ),
        (Progress(attempts=tried("out_of_memory")), "retry", "out_of_memory (1 of 3)"),
        (Progress(attempts=tried("out_of_memory", deterministic=True)), "give_up", "come again"),
        (Progress(attempts=tried("failed", "failed", "completed", "failed")), "retry", "1 of 3"),
        (Progress(trained=True, attempts=(FATAL, *tried("completed"))), "evaluate", "3 rows"),
        (Progress(attempts=tried("failed", "failed", "failed", "cancelled")), "give_up", "failed"),
        (Progress(attempts=tried("failed", "failed", "preempted")), "retry", "preempted (1 of 20)"),
        (
            Progress(attempts=tried("failed", "failed", "preempted", "lost", "failed")),
            "give_up",
            "3",
        ),
        (Progress(attempts=tried("fenced")), "retry", "fenced"),
    ],
)
def test_action_and_reason(known: Progress, action: Action, reason: str) -> None:
    item = decide(known)
    assert item.action == action
    assert reason in item.reason


@pytest.mark.parametrize("state", ["queued", "pending", "running", "unknown"])
def test_a_live_job_is_waited_for(state: str) -> None:
    item = decide(Progress(), Live(state=state, job="job 7"))  # type: ignore[arg-type]
    assert (item.action, item.state) == ("wait", state)


def test_a_held_cell_waits_for_people() -> None:
    held = Live(state="held", job="submission 3", why="5 cells failed alike")
    item = decide(Progress(), held)
    assert (item.action, item.state) == ("held", "held")
    assert item.reason == "5 cells failed alike (submission 3)"
    assert decide(Progress(trained=True, rows=ALL), held).action == "done"


def test_a_recorded_cell_is_done_whatever_still_lives() -> None:
    assert decide(Progress(trained=True, rows=ALL), Live(state="running", job="7")).action == "done"


def test_giving_up_ends_when_asked() -> None:
    known = Progress(attempts=tried("failed", deterministic=True))
    assert decide(known, retry_failed=True).action == "retry"


def test_a_longer_grid_never_trains_again() -> None:
    recorded = Progress(trained=True, rows=frozenset(ONE.rows[:2]))
    item = decide(recorded)
    assert item.missing == ONE.rows[2:]


def test_an_absent_parent_is_planned_first_and_blocks_its_child() -> None:
    child = cell(1, parent=cell(9, number=-1))
    parent_item, child_item = plan([child], {}, {})
    assert (parent_item.action, child_item.action) == ("train", "blocked")
    assert "digits/small-lif/clean/s9" in child_item.reason


def test_a_trained_parent_frees_its_child_and_needs_no_rows() -> None:
    parent = cell(9, number=-1)
    child = cell(1, parent=parent)
    items = plan([child], {parent.training_id: Progress(trained=True)}, {})
    assert [item.action for item in items] == ["done", "train"]


def test_a_parent_that_is_a_cell_is_planned_once() -> None:
    parent = cell(0)
    child = cell(1, parent=parent)
    assert with_parents([child, parent]) == [child, parent]


def test_two_cells_of_one_training_do_not_train_it_twice() -> None:
    twin = cell(0, number=5)
    items = plan([ONE, twin], {}, {})
    assert [item.action for item in items] == ["train", "wait"]


def test_a_chain_is_planned_from_its_oldest_ancestor() -> None:
    oldest = cell(7, number=-1)
    parent = cell(8, parent=oldest, number=-1)
    child = cell(1, parent=parent)
    items = plan([child], {oldest.training_id: Progress(trained=True)}, {})
    assert [item.action for item in items] == ["done", "train", "blocked"]


def test_a_parent_that_was_filtered_out_is_trained_not_evaluated() -> None:
    parent = cell(0)
    items = plan([cell(1, parent=parent)], {}, {})
    assert (items[0].action, items[0].cell.rows) == ("train", ())


def test_cells_planned_together_are_decided_as_each_alone() -> None:
    cells = [replace(ONE, number=n, training=replace(ONE.training, seed=n)) for n in range(10)]
    done, half = ALL, frozenset(ONE.rows[:1])
    known = [
        Progress(trained=True, rows=half, attempts=tried("completed")),
        Progress(trained=True, rows=half, attempts=tried("completed", "completed")),
        Progress(trained=True, rows=half, attempts=tried("failed", "failed", "failed")),
        Progress(trained=True, rows=half, attempts=tried("completed")),
        Progress(trained=True, rows=done),
        Progress(attempts=tried("preempted"), step=42),
        Progress(invalidated="wrong"),
        Progress(),
    ]
    progress = {one.training_id: value for one, value in zip(cells, known, strict=False)}
    live = {cells[3].training_id: Live(state="running", job="job 1")}
    together = plan(cells, progress, live)
    assert together == [item for one in cells for item in plan([one], progress, live)]
    assert [item.cell.number for item in together] == list(range(10))
    assert len({item.reason for item in together}) == 7
