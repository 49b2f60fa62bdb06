"""Names for people."""

from decimal import Decimal
from fractions import Fraction

import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.naming import add_names, epsilon_text
from snnlib.spec.attack import FGSM, PGD
from snnlib.spec.neuron import LIF, Sigmoid
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
    found = set(names(made)["attack_name"])
    twins = {name for name in found if name.startswith("pgd-20 #")}
    clear = {"fgsm", "pgd-10", "pgd-100x5 margin", "pgd-7 sigmoid(alpha=4)"}
    assert (found - twins, len(twins)) == (clear, 2)


def test_networks_say_what_tells_them_apart(made: SyntheticRoot) -> None:
    plain, deep = spec(0), spec(0, time_steps=8)
    other = spec(0, neuron=LIF(tau=Decimal(5)))
    for what in (plain, deep, other):
        made.train(what)
        made.evaluate(what, FGSM(), {EIGHT: mask(1, 2)})
    found = set(names(made)["network"])
    assert "small-lif T8" in found
    assert sum(name.startswith("small-lif T4 #") for name in found) == 2
