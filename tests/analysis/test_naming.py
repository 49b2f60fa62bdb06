"""Names for people."""

from decimal import Decimal
from fractions import Fraction
from typing import get_args

import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.naming import add_names, epsilon_text, in_grey_levels
from analysis.selection import attack_names
from snnlib.spec.attack import FGSM, PGD
from snnlib.spec.neuron import HOSNN_SURROGATE, LIF, AttackSurrogate, Sigmoid
from tests.analysis.synthetic import SyntheticRoot, mask, spec

EIGHT = Fraction(8, 255)


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(8, 255), "8/255"),
        (Fraction(15, 255), "15/255"),
        (Fraction(1, 10), "0.1"),
        (Fraction(3, 100), "0.03"),
        (Fraction(1, 7), "1/7"),
        (Fraction(51, 255), "0.2"),
        (Fraction(1), "1"),
    ],
)
def test_radii_are_written_as_papers_do(epsilon: Fraction, text: str) -> None:
    assert epsilon_text(epsilon.numerator, epsilon.denominator) == text


def test_a_grid_of_grey_levels_is_written_as_one() -> None:
    assert epsilon_text(1, 5, grey=True) == "51/255"
    assert epsilon_text(1, 1, grey=True) == "255/255"


@pytest.mark.parametrize(("norm", "whole"), [("linf", True), (None, True), ("l2", False)])
def test_grey_levels_are_radii_of_the_maximum_norm(norm: str | None, whole: bool) -> None:
    radii = {"epsilon_num": [8, 1], "epsilon_den": [255, 1]}
    points = pd.DataFrame({**radii, "norm": ["linf", norm]})
    assert in_grey_levels(points) == whole
    assert in_grey_levels(points.assign(epsilon_den=[255, 10])) is False


def names(made: SyntheticRoot) -> pd.DataFrame:
    collect([made.path])
    return add_names(analysis.load("results", made.path))


def test_attacks_are_told_apart(made: SyntheticRoot) -> None:
    made.train(spec(0))
    own = Sigmoid(alpha=Decimal(4))
    attacks = (
        FGSM(),
        PGD(),
        PGD(steps=100, restarts=5, loss="margin"),
        PGD(steps=7, surrogate=own),
        PGD(steps=20, step_size="1/255"),
        PGD(steps=20),
    )
    for attack in attacks:
        made.evaluate(spec(0), attack, {EIGHT: mask(1, 2)})
    assert set(names(made)["attack_name"]) == {
        *("fgsm", "pgd-10", "pgd-100x5 margin", "pgd-7 sigmoid(alpha=4)"),
        *("pgd-20 step_size=1/255", "pgd-20 step_size=eps/4"),
    }


def test_no_name_of_an_attack_holds_what_joins_them(made: SyntheticRoot) -> None:
    surrogates = get_args(get_args(AttackSurrogate)[0])
    made.train(spec(0))
    for surrogate in (*(kind() for kind in surrogates), HOSNN_SURROGATE):
        made.evaluate(spec(0), PGD(surrogate=surrogate), {EIGHT: mask(1, 2)})
    found = names(made)
    assert "pgd-10 assg(beta=0.9 gamma=1.5 half_area=0.42)" in set(found["attack_name"])
    worst = analysis.worst_case(found, analysis.load("samples", made.path))
    (attacks,) = set(worst["attacks"])
    assert attack_names(attacks) == sorted(found["attack_name"])
    assert len(attack_names(attacks)) == len(surrogates) + 1


def test_networks_say_what_tells_them_apart(made: SyntheticRoot) -> None:
    plain, deep = spec(0), spec(0, time_steps=8)
    other = spec(0, neuron=LIF(tau=Decimal(5)))
    for what in (plain, deep, other):
        made.train(what)
        made.evaluate(what, FGSM(), {EIGHT: mask(1, 2)})
    found = set(names(made)["network"])
    assert "small-lif T8" in found
    assert sum(name.startswith("small-lif T4 #") for name in found) == 2


def test_trainings_are_told_apart_by_what_their_labels_say(made: SyntheticRoot) -> None:
    made.train(spec(0))
    made.evaluate(spec(0), FGSM(), {EIGHT: mask(1, 2)})
    rows = names(made).assign(regime="trades")
    labels = {beta: f"digits/small-lif/trades/beta={beta}/lr=0.1/s0" for beta in "16"}
    two = pd.concat([rows.assign(label=labels[b], configuration=b * 16) for b in "16"])
    assert set(add_names(two)["training"]) == {"trades beta=1", "trades beta=6"}
    assert set(add_names(two)["network"]) == {"small-lif"}
    alike = add_names(two.assign(label=labels["1"]))
    assert set(alike["network"]) == {"small-lif #1111", "small-lif #6666"}


def test_an_attack_has_one_name_on_every_test_set(made: SyntheticRoot) -> None:
    made.train(spec(0))
    made.evaluate(spec(0), FGSM(), {EIGHT: mask(1, 2)})
    rows = names(made)
    other = rows.assign(attack_id="0" * 16, samples_sha256="7" * 64)
    assert set(add_names(pd.concat([rows, other]))["attack_name"]) == {"fgsm"}
