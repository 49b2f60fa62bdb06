"""The live view as lines: bars, queue, and what is left out where there is no room."""

from dataclasses import replace

import pytest

from jobs.planning.headway import Headway
from jobs.planning.plan import Planned, State
from jobs.planning.watch_text import Running, bar_lines, brief, queue, screen
from tests.examples import cell

TRAINING = Headway(
    doing="training", done=6, of=12, loss=0.4123, accuracy=0.8812, images_per_s=1130.4, left_s=150.0
)
ATTACK = Headway(doing="pgd", done=34, of=100)
HOSTILE = "\x1b[2J[red]x[/red]\u202e\nnext: rm"


def running(*all_of: Headway) -> list[Running]:
    return [Running(name=f"lif adversarial s{n}", headway=one) for n, one in enumerate(all_of)]


def test_bars_at_120_columns() -> None:
    assert bar_lines(running(TRAINING, ATTACK, Headway()), 120) == [
        "lif adversarial s0  █████▒░░░░ epoch 6/12          ETA 2 min  val 88.1%  loss 0.412"
        "  1,130 images/s",
        "lif adversarial s1  ███▒░░░░░░ pgd 34/100 batches",
        "lif adversarial s2  ▒░░░░░░░░░ starts",
    ]


def test_bars_at_80_columns_say_the_most_useful() -> None:
    lines = bar_lines(running(TRAINING), 80)
    assert lines == ["lif adversarial s0  █████▒░░░░ epoch 6/12  ETA 2 min  val 88.1%  loss 0.412"]


@pytest.mark.parametrize("width", [120, 80, 40])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    long = Running(name="x" * 200, headway=replace(ATTACK, doing="y" * 200))
    lines = screen([["z" * 300]], [long], ["w" * 300], width=width, height=20)
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("height", [10, 12, 24, 50])
def test_nothing_is_higher_than_the_terminal(height: int) -> None:
    heads = [[f"row {n}" for n in range(30)]]
    lines = screen(heads, running(*[TRAINING] * 40), ["waiting: 1"], width=80, height=height)
    assert len(lines) <= height
    assert lines[-1] == "Ctrl-C stops watching, the jobs go on"
    assert any(line.startswith("lif adversarial s0") for line in lines)
    assert "more lines" in "\n".join(lines)


def test_names_from_files_stay_on_one_line_without_escapes() -> None:
    shown = bar_lines([Running(name=HOSTILE, headway=replace(ATTACK, doing=HOSTILE))], 120)
    assert len(shown) == 1
    assert shown[0].isprintable()
    assert "[red]x[/red]" in shown[0]


def test_a_few_words() -> None:
    assert brief(TRAINING) == "epoch 6/12, ETA 2 min, val 88.1%, loss 0.412, 1,130 images/s"
    assert brief(ATTACK) == "pgd 34/100 batches"
    assert brief(Headway(doing="training")) == "epoch 0/?"


def waiting(*states: State) -> list[Planned]:
    return [
        Planned(cell=cell(seed), action="wait", state=state, reason="")
        for seed, state in enumerate(states)
    ]


def test_the_queue_is_one_line_with_reasons() -> None:
    items = waiting("pending", "pending", "pending", "blocked", "running", "held")
    why = ["Priority", "Priority", "Resources", "", "", f"over {HOSTILE}"]
    (line,) = queue(items, {i.cell.training_id: text for i, text in zip(items, why, strict=True)})
    assert line.startswith("waiting: 3 pending (2 Priority, 1 Resources) · 1 blocked (for parents)")
    assert line.isprintable()
    assert queue(waiting("running", "completed"), {}) == []
