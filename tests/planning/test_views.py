"""Text for people: short, aligned, and harmless to a terminal."""

from dataclasses import replace
from fractions import Fraction

import pytest

from jobs.planning import views
from jobs.planning.plan import Action, Planned, State
from snnlib.spec.training import CleanRegime
from tests.examples import cell


def planned(seed: int, state: State) -> Planned:
    action: Action = "done" if state == "completed" else "give_up" if state == "failed" else "wait"
    return Planned(cell=cell(seed), action=action, state=state, reason=f"because {seed}")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (["a/b/s0", "a/b/s1", "a/b/s2", "a/b/s5"], "a/b/s0-2,5"),
        (["a/b/s3"], "a/b/s3"),
        (["x", "y"], "x, y"),
        (["a/s0", "b/s0", "c/s0", "d/s0", "e/s0"], "a/s0, b/s0, c/s0 and 2 more groups"),
    ],
)
def test_labels_are_drawn_together(labels: list[str], text: str) -> None:
    assert views.compressed(labels) == text


def test_choice_on_test_images_is_noted_of_what_is_sent() -> None:
    found = [planned(0, "pending"), planned(1, "pending")]
    assert views.notes([replace(item, action="train") for item in found]) == []
    regime = CleanRegime(select="best_test")
    chosen = [
        replace(item, cell=replace(item.cell, training=replace(item.cell.training, regime=regime)))
        for item in found
    ]
    assert views.notes(chosen) == []
    (note,) = views.notes([replace(item, action="train") for item in chosen])
    assert note.startswith("note: 2 trainings keep the epoch that does best on test images")


def test_escape_codes_do_not_reach_the_terminal() -> None:
    assert views.clean("\x1b[2Jgone\x07\u202e") == "?[2Jgone??"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (600, "10 min"), (36000, "10.0 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert views.duration(seconds) == text


def test_hours_are_estimated_from_finished_cells() -> None:
    done, todo = planned(0, "completed"), planned(1, "new")
    todo = Planned(cell=todo.cell, action="train", state="new", reason="new")
    text = views.estimate([done, todo], {done.cell.training_id: 7200.0})
    assert text == "about 2 core hours (from 1 finished cell)"


@pytest.mark.parametrize(
    ("value", "text"),
    [("8/85", "24/255"), ("8/255", "8/255"), ("0", "0"), ("1/10", "1/10"), ("1", "255/255")],
)
def test_epsilons_are_written_in_255ths(value: str, text: str) -> None:
    assert views.epsilon(Fraction(value)) == text


def test_intervals_equal_those_of_the_tables() -> None:
    from analysis.statistics import wilson

    for correct in (0, 1, 221, 399, 400):
        low, high = wilson(correct, 400)
        assert views.interval(correct, 400) == pytest.approx((float(low), float(high)), abs=1e-12)
