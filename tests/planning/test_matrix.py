"""The matrix of a status: what goes down and across, and how it becomes narrower."""

from dataclasses import replace

import pytest

from jobs.planning import matrix
from jobs.planning.plan import Planned, State
from tests.examples import cell

STEMS = [f"cifar10/hosnn-{n}/{r}" for n in ("lif", "ta_lif") for r in ("clean", "adversarial")]
RADII = [f"{d}/m-{n}/adversarial/epsilon={e}/255" for d in ("mnist", "svhn") for n in ("if", "lif")
         for e in (2, 4, 8)]  # fmt: skip
DEPTHS = [f"digits/resnet{n}-if/clean/stem_pool={p}" for n in (18, 34) for p in ("max", "avg")]
TAUS = [f"digits/small-{n}/{r}{more}" for n, more in [("if", ""), ("lif", "/tau=2"), ("lif", "/tau=3")]
        for r in ("clean", "trades")]  # fmt: skip


def items(stems: list[str], *states: State) -> list[Planned]:
    """A cell of each setting and state."""
    found: list[Planned] = []
    for stem in stems:
        for seed, state in enumerate(states or ("completed",)):
            one = replace(cell(len(found)), label=f"{stem}/s{seed}", number=len(found))
            found.append(Planned(cell=one, action="wait", state=state, reason=""))
    return found


@pytest.mark.parametrize(
    ("states", "text"),
    [
        (["completed"] * 3, "███ 3/3"),
        (["completed", "running", "pending"], "█▒░ 1/3 1 running"),
        (["running", "running"], "▒▒ 0/2 2 running"),
        (["completed", "failed"], "█✗ 1/2 1 failed"),
        (["new"] * 40, "░░░░░░░░░░ 0/40"),
        (["completed"] * 39 + ["out_of_memory"], "█████████✗ 39/40 1 failed"),
        (["running"] * 5 + ["given_up"] * 95, "✗✗✗✗✗✗✗✗✗✗ 0/100 5 running 95 failed"),
    ],
)
def test_seeds_are_counted(states: list[State], text: str) -> None:
    assert matrix.matrix(items(["digits/small-lif/clean"], *states), 80) == [
        "                  clean",
        f"digits/small-lif  {text}",
    ]


@pytest.mark.parametrize(
    ("stems", "rows", "columns"),
    [
        (STEMS, ["lif", "ta_lif"], ["clean", "adversarial"]),
        (DEPTHS, ["resnet18", "resnet34"], ["stem_pool=max", "stem_pool=avg"]),
        (TAUS, ["if", "lif tau=2", "lif tau=3"], ["clean", "trades"]),
        (["a/m-if/clean", "b/m-if/clean"], ["a", "b"], ["clean"]),
        (["a/m-if/clean", "a/n-lif/clean"], ["m-if", "n-lif"], ["clean"]),
        (["imported", "digits/small-lif/clean"], ["imported/", "digits/small-lif"], ["-", "clean"]),
    ],
)
def test_what_varies_goes_down_and_across(
    stems: list[str], rows: list[str], columns: list[str]
) -> None:
    head, *body = matrix.matrix(items(stems), 80)
    assert head.split() == columns
    assert [line.partition("  ")[0] for line in body] == rows
    assert len(body) * len(columns) == len(stems) or "imported" in stems


def test_columns_of_long_names_have_two_lines() -> None:
    whole = [*RADII, *(f"{d}/m-{n}/clean" for d in ("mnist", "svhn") for n in ("if", "lif"))]
    lines = matrix.matrix(items(whole, "completed", "running"), 80)
    assert lines[0].split() == [*["adversarial"] * 3, "clean"]
    assert lines[1].split() == ["epsilon=2/255", "epsilon=4/255", "epsilon=8/255"]
    assert lines[2].split() == ["mnist/if", *["█▒", "1/2", "1", "run"] * 4]


@pytest.mark.parametrize("width", [120, 80, 60, 44, 30, 20])
def test_every_setting_is_shown_once_at_any_width(width: int) -> None:
    lines = matrix.matrix(items(RADII, "completed", "running", "failed"), width)
    assert sum(line.count("1/3") for line in lines) == len(RADII)
    assert max(map(len, lines)) <= width or all(line.endswith("/255") for line in lines)


def test_a_matrix_too_wide_is_cut_into_parts() -> None:
    stems = [f"d/m-{n}/r{k}" for n in ("if", "lif") for k in range(30)]
    lines = matrix.matrix(items(stems), 40)
    assert max(map(len, lines)) <= 40
    assert [line.split()[0] for line in lines if "1/1" in line] == ["if", "lif"] * (len(lines) // 3)


def test_ancestors_that_are_no_cells_are_left_out() -> None:
    own = items(STEMS[:1])
    other = replace(own[0], cell=replace(own[0].cell, number=-1, label="x/y-z/w/s0"))
    assert matrix.matrix([other, *own], 80) == matrix.matrix(own, 80)
    assert matrix.matrix([], 80) == []


def test_names_are_as_short_as_the_manifest_allows() -> None:
    labels = [item.cell.label for item in items(STEMS, "new", "new")]
    found = matrix.names(labels)
    assert found[labels[3]] == "lif adversarial s1"
    assert len(set(found.values())) == len(labels)


def test_names_do_without_what_all_share() -> None:
    labels = [item.cell.label for item in items(["d/m-if/clean", "d/m-lif/clean"])]
    assert list(matrix.names(labels).values()) == ["if s0", "lif s0"]
    assert matrix.names(labels[:1]) == {labels[0]: "d/m-if/clean s0"}
    assert matrix.names(["odd"]) == {"odd": "odd"}
    assert matrix.names([]) == {}
