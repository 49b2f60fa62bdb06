"""Radii and classes that an attack cannot have, told without building a network."""

from decimal import Decimal
from fractions import Fraction

import pytest

from jobs.expand import reach
from snnlib.spec import data
from snnlib.spec.attack import APGD, FAB, FGSM, PGD, Attack, Clean, Square, Transfer
from snnlib.spec.data import Dataset
from snnlib.spec.encoder import Direct, Phase
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF

DIGITS = Dataset(name="digits")
PLAIN = Small(neuron=LIF(), time_steps=4)
PHASE = Small(neuron=LIF(), time_steps=4, encoder=Phase())
SCALED = Small(
    neuron=LIF(), encoder=Direct(mean=(Decimal("0.5"),), std=(Decimal("0.25"),)), time_steps=4
)


@pytest.mark.parametrize(
    ("attack", "model", "limit"),
    [
        (FGSM(), PLAIN, 1),
        (FGSM(clip=False), PLAIN, 1),
        (FGSM(norm="l2"), PLAIN, 8),
        (PGD(norm="l2", space="repeated"), PLAIN, 16),
        (PGD(space="encoded"), PHASE, 1),
        (PGD(norm="l2", space="encoded"), PHASE, 16),
        (PGD(space="encoded"), SCALED, 4),
        (PGD(norm="l2", space="encoded"), SCALED, 64),
        (Transfer(source="0" * 16, attack=PGD(norm="l2")), PLAIN, 8),
    ],
)
def test_a_radius_may_reach_across_the_range_and_no_further(
    attack: Attack, model: Small, limit: int
) -> None:
    found = reach.reach(attack, model, DIGITS)
    assert found is not None
    assert found.misfit(Fraction(limit)) == ""
    assert f"outside 0..{limit} for" in found.misfit(limit + Fraction(1, 10**9))


def test_a_limit_that_is_no_whole_number_is_told_in_decimals() -> None:
    found = reach.reach(FGSM(norm="l2"), PLAIN, Dataset(name="cifar10"))
    assert found is not None
    assert found.misfit(Fraction(100)) == (
        "outside 0..55.425 for l2 on images of 3,072 values in [0, 1]"
    )
    assert reach.reach(Clean(), PLAIN, DIGITS) is None


@pytest.mark.parametrize(
    ("attack", "there", "key", "words"),
    [
        (FGSM(loss="dlr"), 2, "loss", "loss 'dlr' divides by the distance to the third largest"),
        (APGD(targets=2), 2, "targets", "2 targets, but 'digits' has 2 classes, 1 of them wrong"),
        (APGD(targets=2), 3, "targets", "with 'targets' apgd climbs a ratio of 4 logits"),
        (FAB(targets=9), 9, "targets", "write targets: 8 or less"),
        (Transfer(source="0" * 16, attack=APGD(loss="dlr")), 2, "attack.loss", "write margin"),
    ],
)
def test_attacks_that_need_more_classes(
    attack: Attack, there: int, key: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(data.CLASSES, "digits", there)
    assert any(key == k and words in message for k, message in reach.classes(attack, DIGITS))


@pytest.mark.parametrize("attack", [FGSM(loss="dlr"), APGD(targets=9), FAB(), Square(), Clean()])
def test_attacks_that_ten_classes_suffice_for(attack: Attack) -> None:
    assert list(reach.classes(attack, DIGITS)) == []
