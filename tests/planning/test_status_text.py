"""A status as text: totals, hours, failures; and nothing of a log reaches the terminal as it is."""

from dataclasses import replace

import pytest

from jobs.attempts import Attempt
from jobs.expand.blocks import Resources
from jobs.planning.plan import Action, Planned, State
from jobs.planning.status_text import Trace, failure, head, hours, status_text, tally_line
from tests.examples import SMALL, cell

GPU = Resources(nodes=2, gpus_per_node=4)


def planned(seed: int, state: State, shape: Resources = SMALL) -> Planned:
    action: Action = "done" if state == "completed" else "give_up" if state == "failed" else "wait"
    return Planned(
        cell=cell(seed, resources=shape), action=action, state=state, reason=f"because {seed}"
    )


def lines(items: list[Planned], attempts: dict[str, Attempt], trace: Trace) -> list[str]:
    return status_text(
        items, attempts=attempts, trace=lambda *_: trace, facts=[], follow="x", width=80
    )


def test_a_status_names_what_failed_where_and_why() -> None:
    items = [planned(0, "completed"), planned(1, "failed")]
    last = Attempt(number=1, state="failed", reason="NotFinite: the loss became nan", host="n7")
    found = lines(items, {items[1].cell.training_id: last}, Trace(epoch=2, line="lr was 9"))
    assert found[0].endswith("    2 cells: 1 completed · 1 failed")
    assert found[-2].endswith(
        'small-lif/clean/s1 on n7 at epoch 3 · NotFinite: the loss became nan · "lr was 9"'
    )
    assert found[-1] == "next: x"


@pytest.mark.parametrize("line", ["no room", "jobs.OSError: no room"])
def test_a_log_that_says_the_same_is_not_quoted(line: str) -> None:
    last = Attempt(number=1, state="failed", reason="OSError: no room")
    found = failure(planned(1, "failed"), last, lambda *_: Trace(line=line), name="lif s1")
    assert found.endswith(" lif s1 · OSError: no room")


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "\u202e", "a\nnext: rm", "\x00", "[red]"])
def test_hostile_words_stay_words(text: str) -> None:
    last = Attempt(number=1, state="failed", reason=f"x {text} y", host=f"n{text}")
    found = failure(planned(1, "failed"), last, lambda *_: Trace(line=f"log {text}"))
    assert found.isprintable()
    assert ("[red]" in found) == (text == "[red]")


def test_many_failures_are_named_in_part() -> None:
    found = lines([planned(seed, "failed") for seed in range(12)], {}, Trace())
    assert sum(line.startswith("failed: ") for line in found) == 10
    assert "… and 2 more (status --by error groups them)" in found


@pytest.mark.parametrize(("width", "beside"), [(120, True), (80, True), (50, False)])
def test_totals_stand_beside_the_matrix_if_there_is_room(width: int, beside: bool) -> None:
    found = head([planned(0, "completed")], ["GPU hours 2.0", "asked 3 s ago"], width)
    assert len(found) == (2 if beside else 4)
    assert found[-1].endswith("GPU hours 2.0 · asked 3 s ago")


def test_hours_count_devices_and_estimate_the_rest() -> None:
    items = [planned(0, "completed", GPU), planned(1, "running", GPU)]
    items.append(planned(2, "pending", GPU))
    seconds = {items[0].cell.training_id: 900.0}
    assert hours(items, seconds) == "GPU hours 2.0 of ~6.0"
    assert hours(items[:1], seconds) == "GPU hours 2.0"
    assert hours(items, {items[1].cell.training_id: 90.0}) == "GPU hours 0.2"
    assert hours(items, {}) == ""


def test_two_cells_of_one_training_cost_once() -> None:
    one = planned(0, "completed")
    twin = replace(one, cell=replace(one.cell, number=7))
    assert hours([one, twin], {one.cell.training_id: 36.0}) == "core hours 0.01"


def test_a_tally_is_one_line() -> None:
    items = [planned(0, "completed"), planned(1, "queued"), planned(2, "queued")]
    assert tally_line(items) == "1/3 completed · 2 queued"
