"""The verdict of an audit: each item fails alone, and chance accuses nobody."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any, get_args

import pytest

from snnlib.spec.audit import (
    LIMITS,
    Comparison,
    Figures,
    Item,
    Pair,
    beyond_chance,
    judge,
    least_share,
)

SMALL, LARGE = Fraction(8, 255), Fraction(32, 255)


def pair(found: int, missed: int = 0, epsilon: Fraction = LARGE) -> Pair:
    judged = 50
    return Pair(
        epsilon=epsilon, judged=judged, other=judged - found + missed, found=found, missed=missed
    )


HONEST = Figures(
    total=100,
    clean=97,
    pairs={item: (pair(1, 2, SMALL), pair(3, 9)) for item in get_args(Comparison)},
    survivors=0,
    zero_gradient=0,
    cosine=0.42,
    cosine_error=0.02,
)


def against(item: Comparison, *pairs: Pair) -> dict[str, Any]:
    return {"pairs": {**HONEST.pairs, item: pairs}}


def test_an_honest_network_passes() -> None:
    found = judge(HONEST)
    assert found.verdict == "pass"
    assert {finding.item for finding in found.findings} == set(LIMITS) == set(get_args(Item))


@pytest.mark.parametrize(
    ("item", "changed", "verdict", "text"),
    [
        (
            "masking_gap",
            against("masking_gap", pair(9)),
            "suspicious",
            "surrogate and loss find 9.0",
        ),
        ("masking_gap", against("masking_gap", pair(20)), "fail", "20.0 points more at 32/255"),
        ("black_box", against("black_box", pair(15)), "fail", "without gradients finds 15.0"),
        ("one_step", against("one_step", pair(12, 1)), "fail", "one step finds 11.0 points more"),
        ("noise", against("noise", pair(9)), "suspicious", "points drawn at random find 9.0"),
        ("rising", against("rising", pair(30, 2)), "fail", "leaves 28.0 points more correct"),
        ("steps", against("steps", pair(9, 0)), "suspicious", "twice as many steps find 9.0"),
        ("eot", against("eot", pair(25)), "fail", "averaged over the encoder's noise find 25.0"),
        ("unbounded", {"survivors": 40}, "fail", "40 of 100 images withstand changes of the whole"),
        ("zero_gradient", {"zero_gradient": 7}, "suspicious", "7 of 100 images have a gradient of"),
        ("finite_difference", {"cosine": 0.12}, "suspicious", "finite differences is 0.12"),
        ("finite_difference", {"cosine": -0.2}, "fail", "finite differences is -0.20"),
        ("finite_difference", {"cosine": math.nan}, "fail", "finite differences is nan"),
        ("finite_difference", {"cosine_error": math.nan}, "fail", "finite differences is 0.42"),
    ],
)
def test_one_item_alone_decides(
    item: Item, changed: dict[str, Any], verdict: str, text: str
) -> None:
    found = judge(replace(HONEST, **changed))
    first, *others = found.findings
    assert (found.verdict, first.verdict, first.item) == (verdict, verdict, item)
    assert text in first.text
    assert {other.verdict for other in others} == {"pass"}


@pytest.mark.parametrize(
    "changed",
    [
        against("masking_gap", pair(7)),  # more than by chance, too little to matter
        against("black_box", pair(30, 20)),  # much, and within chance
        against("noise", pair(7)),
        {"survivors": 2},
        {"zero_gradient": 2},
        {"cosine": 0.17, "cosine_error": 0.02},
        {"pairs": {**HONEST.pairs, "eot": ()}},  # nothing is random
    ],
)
def test_what_chance_explains_accuses_nobody(changed: dict[str, Any]) -> None:
    assert judge(replace(HONEST, **changed)).verdict == "pass"


def test_the_worst_radius_speaks_for_an_item() -> None:
    found = judge(replace(HONEST, **against("black_box", pair(40, 0, SMALL), pair(12))))
    assert found.findings[0].pair == pair(40, 0, SMALL)
    assert found.findings[0].text.endswith("at 8/255")
    assert found.findings[0].limit == LIMITS["black_box"]


def test_the_most_telling_of_equal_items_comes_first() -> None:
    both = {**HONEST.pairs, "noise": (pair(40),), "black_box": (pair(40),)}
    found = judge(replace(HONEST, pairs=both, survivors=50))
    assert [f.item for f in found.findings[:3]] == ["black_box", "noise", "unbounded"]


@pytest.mark.parametrize(
    ("found", "missed", "real"), [(0, 0, False), (7, 0, False), (8, 0, True), (12, 2, False)]
)
def test_mcnemar_counts_coins(found: int, missed: int, real: bool) -> None:
    assert beyond_chance(found, missed) == real


def test_shares_have_a_lower_bound() -> None:
    assert least_share(0, 100) == 0
    assert least_share(50, 100) == pytest.approx(0.3758, abs=1e-3)
