"""What an attack did to a batch, from tensors to what a record keeps."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from jobs.breaks import Breaks
from jobs.running import outcomes
from jobs.running.partial import Part
from snnlib.evaluate import BatchOutcome
from snnlib.spec.attack import FGSM, PGD, AnyAttack, AutoAttack, Clean, SpikingSuite

LOW, HIGH = Fraction(1, 255), Fraction(2, 255)
OUTCOME = BatchOutcome(
    correct_EB=torch.tensor([[True, True, True], [False, True, False]]),
    zero_gradient_EB=torch.tensor([[True, False, False], [False, True, True]]),
    member_EB=torch.tensor([[-1, -1, -1], [2, -1, 0]], dtype=torch.int16),
    step_EB=torch.tensor([[-1, -1, -1], [50, -1, 3]], dtype=torch.int32),
    linf_EB=torch.tensor([[0, 0, 0], [0.25, 0, 0.5]]),
    l2_EB=torch.tensor([[0, 0, 0], [1.5, 0, 2.0]]),
)


def parts(attack: AnyAttack) -> list[Part]:
    return outcomes.parts(attack, (LOW, HIGH), OUTCOME, [None, None], 3.0)


def test_counts_and_how_samples_fell() -> None:
    low, high = parts(AutoAttack())
    assert (low.mask, low.correct, low.zero_gradient) == ((True, True, True), 3, 1)
    assert (high.mask, high.correct, high.zero_gradient) == ((False, True, False), 1, 2)
    assert low.breaks == Breaks(step=(), member=(), linf=0.0, l2=0.0)
    assert high.breaks == Breaks(step=(50, 3), member=(2, 0), linf=0.75, l2=3.5)
    assert low.seconds == high.seconds == 1.5


def test_nothing_attacks_a_clean_evaluation() -> None:
    assert [part.breaks for part in parts(Clean())] == [None, None]


def test_seconds_add_up_over_batches() -> None:
    low, high = parts(FGSM())
    found = {(0, LOW): low, (3, LOW): low, (0, HIGH): replace(high, seconds=0.25)}
    assert outcomes.seconds(found, [LOW, HIGH]) == [3.0, 0.25]


@pytest.mark.parametrize(
    ("attack", "names"),
    [
        (PGD(), ()),
        (Clean(), ()),
        (AutoAttack(), ("apgd", "apgd/targets-9", "fab", "square")),
        (AutoAttack(gradient="bptr"), ("apgd/bptr", "apgd/bptr/targets-9", "fab/bptr", "square")),
    ],
)
def test_members_of_a_suite_have_names(attack: AnyAttack, names: tuple[str, ...]) -> None:
    assert outcomes.member_names(attack) == names


def test_names_of_members_are_unambiguous_and_fit_into_a_list() -> None:
    names = outcomes.member_names(SpikingSuite())
    assert len(set(names)) == len(names) > 30
    assert not any(set(name) & set(",: ") for name in names)
    assert "apgd/current_cross_entropy/atan-5/bptt" in names
