"""Suites: their members, and a cascade in which later ones meet survivors only."""

import hashlib
from dataclasses import replace
from fractions import Fraction
from typing import get_args

import pytest
import torch

from jobs import identity
from snnlib.attacks import ATTACKS
from snnlib.attacks.transfer import LoadedSuite
from snnlib.evaluate import BatchOutcome, attack_batch
from snnlib.spec.attack import (
    FGSM,
    Attack,
    AutoAttack,
    Blind,
    SpikingSuite,
    Suite,
    SuiteName,
)
from snnlib.spec.neuron import PDSG
from snnlib.spec.suite import members
from tests.snnlib import networks

EPSILONS = (Fraction(1, 2000), Fraction(1, 1000))
SUITES: tuple[Suite, ...] = (
    AutoAttack(steps=4, queries=10),
    SpikingSuite(sweep_steps=1, steps=2, queries=10),
)
BATCH = networks.batch(8)


def digest(suite: Suite) -> str:
    text = "\n".join(identity.canonical(member) for member in members(suite))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("suite", "expected"),
    [(AutoAttack(), "2bf19e095cf651c9"), (SpikingSuite(), "5bf1b0fa291bbb96")],
    ids=lambda v: str(v)[:10],
)
def test_members_are_those_of_the_revision(suite: Suite, expected: str) -> None:
    """Whoever changes them raises the suite's revision, and both lines here."""
    assert (suite.revision, digest(suite)) == (3, expected)


def test_every_suite_has_a_name_and_known_members() -> None:
    assert {suite.name for suite in SUITES} == set(get_args(SuiteName))
    assert all(member.name in ATTACKS for suite in SUITES for member in members(suite))
    assert members(FGSM()) == (FGSM(),)


def test_a_source_adds_transfers_before_the_last() -> None:
    bare = SpikingSuite(clip=False)
    alone, more = members(bare), members(replace(bare, source="ab" * 8))
    assert [(m.name, m.space, m.clip) for m in more[len(alone) - 1 : -1]] == [
        ("transfer", "pixel", False),
        ("transfer", "pixel", False),
    ]
    assert (*more[: len(alone) - 1], more[-1]) == alone


def test_autoattack_is_the_standard_four() -> None:
    names = [(m.name, getattr(m, "targets", None)) for m in members(AutoAttack())]
    assert names == [("apgd", None), ("apgd", 9), ("fab", 9), ("square", None)]


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
def test_options_reach_every_member(suite: Suite) -> None:
    changed = replace(suite, space="repeated", clip=False, queries=3, draws=2)
    for member in members(changed):
        assert (member.space, member.clip) == ("repeated", False)
        assert getattr(member, "queries", 3) == 3
        assert isinstance(member, Blind) or getattr(member, "draws", 2) == 2
    surrogate = members(AutoAttack(surrogate=PDSG(), gradient="bptr"))[:3]
    assert all(getattr(m, "surrogate", None) == PDSG() for m in surrogate)


def test_the_spiking_suite_begins_cheap() -> None:
    lengths = [getattr(m, "steps", 1) for m in members(SpikingSuite())[:-1]]
    assert lengths == sorted(lengths)


def outcome(attack: Attack, sizes: list[int] | None = None) -> BatchOutcome:
    """Of samples that the network gets right, all but the last."""
    model = networks.small(seed=3).double()
    images_BCHW = BATCH.images_BCHW.double()
    labels_B = model(images_BCHW).argmax(1)
    labels_B[-1] += 1 if labels_B[-1] == 0 else -1
    if sizes is not None:
        model.layers.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[1]))
    batch = replace(BATCH, images_BCHW=images_BCHW, labels_B=labels_B)
    return attack_batch(model, attack, EPSILONS, batch, seed=0)


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
def test_what_breaks_a_sample_is_told(suite: Suite) -> None:
    sizes: list[int] = []
    found = outcome(suite, sizes)
    broken_EB = ~found.correct_EB
    assert torch.equal(found.member_EB >= 0, broken_EB)
    assert torch.equal(found.step_EB >= 0, broken_EB)
    assert torch.equal(found.linf_EB > 0, broken_EB & (found.l2_EB > 0))
    radii = torch.tensor([float(epsilon) for epsilon in EPSILONS])
    assert bool((found.linf_EB <= radii[:, None] + 1e-6).all())
    assert found.member_EB[:, -1].tolist() == [0, 0]
    assert found.member_EB.max() > 0
    assert sizes[0] == len(BATCH.labels_B) > sizes[-1]


def test_a_suites_transfer_asks_its_source_and_tells_nothing_of_its_gradients() -> None:
    flat, source, passes = networks.small(), networks.small(seed=4), []
    with torch.no_grad():
        for weight in flat.parameters():
            weight.zero_()  # answers 0, and has no gradients
    source.layers.register_forward_pre_hook(lambda *_: passes.append(1))
    suite = LoadedSuite(sweep_steps=1, steps=2, queries=1, source="ab" * 8, network=source)
    batch = replace(BATCH, labels_B=torch.zeros_like(BATCH.labels_B))
    found = attack_batch(flat, suite, EPSILONS, batch, seed=0)
    assert len(passes) >= 2 * 2 * len(EPSILONS)
    assert bool((found.correct_EB & found.zero_gradient_EB).all())


def test_the_first_member_counts_as_it_would_alone() -> None:
    found, alone = outcome(SUITES[1]), outcome(members(SUITES[1])[0])
    assert torch.equal(found.member_EB == 0, ~alone.correct_EB)
    assert bool((alone.correct_EB | ~found.correct_EB).all())
