"""The engine against the plain loop: samples that leave, shared gradients and shapes change nothing."""

from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from snnlib import noise
from snnlib.attacks import ATTACKS
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import Candidate
from snnlib.attacks.guards import per_sample
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.evaluate import BatchOutcome, attack_batch
from snnlib.spec.attack import APGD, BIM, FAB, PGD, Blind, Member, RandomNoise, Square
from snnlib.spec.encoder import Poisson
from snnlib.spec.neuron import ASSG
from tests.snnlib import networks
from tests.snnlib.attack_cases import CASES

COUNT = 8
EPSILONS = (Fraction(1, 20), Fraction(1, 5))
MORE: tuple[Member, ...] = (
    PGD(steps=3, random_start=False),
    APGD(steps=4, targets=3),
    APGD(steps=5, surrogate=ASSG()),
)


def spiking(**more: Any) -> SpikingClassifier:
    return networks.small(seed=5, **more).double()


def given(model: SpikingClassifier, shape: tuple[int, int, int]) -> Batch:
    """Samples that the network gets right, but for the last two."""
    batch = networks.batch(COUNT, shape)
    images_BCHW = batch.images_BCHW.double()
    key = noise.Key(seed=0, stream="evaluation", samples_B=batch.samples_B)
    with frozen(model), model.keyed(key):
        labels_B = model(images_BCHW).argmax(1)
    labels_B[-2:] = (labels_B[-2:] + 1) % 5
    return replace(batch, images_BCHW=images_BCHW, labels_B=labels_B)


def looped(model: SpikingClassifier, attack: Member, batch: Batch) -> BatchOutcome:
    """Each sample and each radius by itself, every candidate judged where none broke it before."""
    ones = [
        _alone(model, attack, e, networks.part(batch, i, i + 1))
        for e in EPSILONS
        for i in range(COUNT)
    ]
    columns = zip(*ones, strict=True)
    names = [field.name for field in fields(BatchOutcome)][:-1]
    shape = (len(EPSILONS), COUNT)
    return BatchOutcome(
        **{n: torch.tensor(c).view(shape) for n, c in zip(names, columns, strict=True)}
    )


def _alone(
    model: SpikingClassifier, attack: Member, epsilon: Fraction, one: Batch
) -> tuple[bool, bool, int, int, float, float]:
    key = noise.Key(seed=0, stream="evaluation", samples_B=one.samples_B)
    x, y = one.images_BCHW, one.labels_B
    surrogate, rule = (
        ("own", "own") if isinstance(attack, Blind) else (attack.surrogate, attack.gradient)
    )
    with frozen(model), model.surrogate(surrogate), model.gradient(rule):
        own = replace(key, stream="attack")
        zero = not isinstance(attack, Blind)
        for found in ATTACKS[attack.name](model, x, y, attack=attack, epsilons=(epsilon,), key=own):
            z = Ball.around(model, x, float(epsilon), attack.threat).project(found.z)
            zero &= bool(found.zero_gradient_B.all())
            with model.keyed(key), torch.no_grad():
                right = bool((model.predicted(z, "pixel")[0] == y).all())
            if not right:
                moved = per_sample(z - x, "pixel")[0]
                steps = int(torch.as_tensor(found.steps_B).max())
                return False, zero, 0, steps, float(moved.abs().max()), float(moved.norm())
    return True, zero, -1, -1, 0.0, 0.0


def assert_equal(found: BatchOutcome, expected: BatchOutcome) -> None:
    for field in fields(BatchOutcome)[:-1]:
        one, other = getattr(found, field.name), getattr(expected, field.name)
        exact = not one.is_floating_point()
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=0 if exact else 1e-6)


def test_every_attack_is_held_against_the_loop() -> None:
    assert set(CASES) == set(ATTACKS)


def hold(attack: Member, model: SpikingClassifier, batch: Batch) -> None:
    found = attack_batch(model, attack, EPSILONS, batch, seed=0)
    assert_equal(found, looped(model, attack, batch))
    assert not found.correct_EB[1, -2:].all()


@pytest.mark.parametrize("attack", [*CASES.values(), *MORE], ids=lambda a: a.name)
def test_engine_equals_the_plain_loop_on_a_spiking_network(attack: Member) -> None:
    model = spiking()
    hold(attack, model, given(model, (1, 8, 8)))


OWN = [attack for attack in (*CASES.values(), *MORE) if attack.name != "transfer"]
"""The source of the other one takes digits."""


@pytest.mark.parametrize("attack", OWN, ids=lambda a: a.name)
def test_engine_equals_the_plain_loop_without_spikes(attack: Member) -> None:
    model = networks.linear()
    hold(attack, model, given(model, (3, 2, 2)))


@pytest.mark.parametrize("attack", [*CASES.values(), *MORE], ids=lambda a: a.name)
def test_order_and_company_of_samples_do_not_matter(attack: Member) -> None:
    model = spiking()
    batch = given(model, (1, 8, 8))
    order_B = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    parts = {"images_BCHW": 0, "labels_B": 0, "samples_B": 0}
    moved = replace(batch, **{name: getattr(batch, name)[order_B] for name in parts})
    expected = attack_batch(model, attack, EPSILONS, batch, seed=0)
    found = attack_batch(model, attack, EPSILONS, moved, seed=0)
    for field in fields(BatchOutcome)[:-1]:
        one, other = getattr(found, field.name), getattr(expected, field.name)[:, order_B]
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def sizes(attack: Member, epsilon: Fraction, **more: Any) -> list[int]:
    """Samples in each pass through the network, at one radius."""
    model, seen = spiking(**more), []
    batch = given(model, (1, 8, 8))
    model.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    attack_batch(model, attack, (epsilon,), batch, seed=0)
    return seen


@pytest.mark.parametrize(
    "attack",
    [APGD(steps=12), FAB(steps=12, targets=1), Square(queries=12), RandomNoise(draws=4)],
    ids=lambda a: a.name,
)
def test_broken_samples_leave_where_any_point_counts(attack: Member) -> None:
    seen = sizes(attack, EPSILONS[1])
    assert seen[0] == COUNT > min(seen)


def test_where_the_last_point_counts_they_leave_between_restarts_alone() -> None:
    once, twice = (sizes(PGD(steps=4, restarts=n), EPSILONS[0]) for n in (1, 2))
    assert once == [COUNT] * 5
    assert twice[:5] == once
    assert twice[5] == twice[-1] < COUNT


@pytest.mark.parametrize("attack", [APGD(steps=6), FAB(steps=6, targets=1)], ids=lambda a: a.name)
def test_nothing_leaves_under_noise(attack: Member) -> None:
    assert set(sizes(attack, EPSILONS[1], encoder=Poisson())) == {COUNT}


def proposed(attack: Member, model: SpikingClassifier, room: int) -> list[Candidate]:
    """All candidates, when nobody says what stands."""
    batch = given(model, (1, 8, 8))
    key = noise.Key(seed=0, stream="attack", samples_B=batch.samples_B)
    with frozen(model):
        run = ATTACKS[attack.name](
            model,
            batch.images_BCHW,
            batch.labels_B,
            attack=attack,
            epsilons=EPSILONS,
            key=key,
            room=room,
        )
        return list(run)


def test_a_search_goes_on_under_noise() -> None:
    *_, last = proposed(Square(queries=6), spiking(encoder=Poisson()), room=COUNT)
    assert torch.as_tensor(last.steps_B).tolist() == [6] * COUNT


@pytest.mark.parametrize(
    "attack",
    [
        APGD(steps=5, targets=3),
        APGD(steps=5, restarts=3),
        FAB(steps=5, targets=3),
        Square(queries=90),
    ],
    ids=repr,
)
def test_room_for_several_runs_side_by_side_changes_nothing(attack: Member) -> None:
    model = spiking()
    alone, together = (proposed(attack, model, room) for room in (0, 5 * COUNT))
    assert len(alone) == len(together)
    for one, other in zip(alone, together, strict=True):
        assert one.epsilon == other.epsilon
        torch.testing.assert_close(one.z, other.z, rtol=0, atol=1e-9)
        assert torch.equal(torch.as_tensor(one.steps_B), torch.as_tensor(other.steps_B))


@pytest.mark.parametrize("attack", [APGD(steps=5, targets=3), FAB(steps=5, targets=3)], ids=repr)
def test_runs_go_side_by_side_when_few_samples_are_left(attack: Member) -> None:
    model, seen = spiking(), []
    batch = replace(given(model, (1, 8, 8)), count=2)
    model.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    found = attack_batch(model, attack, (Fraction(1, 500),), batch, seed=0)
    assert seen[0] == COUNT
    assert seen.count(2 * int(found.correct_EB.sum())) >= 5


def test_a_search_asks_of_no_point_twice() -> None:
    model, seen = spiking(), []
    batch = given(model, (1, 8, 8))
    model.layers.register_forward_pre_hook(
        lambda _, inputs: seen.extend(inputs[0][0].flatten(1).tolist())
    )
    attack_batch(model, Square(queries=300), EPSILONS[:1], batch, seed=0)
    assert len(seen) < 300 * 6
    assert len(set(map(tuple, seen))) > 0.9 * len(seen)


def test_a_grid_shares_the_gradient_at_the_origin() -> None:
    model, passes = spiking(), []
    batch = given(model, (1, 8, 8))
    model.layers.register_forward_pre_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    attack_batch(model, BIM(steps=3), EPSILONS, batch, seed=0)
    assert sum(passes) == 1 + 2 * len(EPSILONS)
    assert len(passes) - sum(passes) == len(EPSILONS)


@pytest.mark.parametrize("space", ["pixel", "repeated"])
def test_examples_are_the_points_that_were_judged(space: Any) -> None:
    model = spiking()
    batch = replace(given(model, (1, 8, 8)), count=COUNT - 1)
    attack = APGD(steps=5, space=space)
    found = attack_batch(model, attack, EPSILONS, batch, seed=0, save_examples=COUNT)
    assert found.examples is not None
    time = () if space == "pixel" else (3,)
    assert found.examples.shape == (len(EPSILONS), COUNT - 1, *time, 1, 8, 8)
    for index in range(len(EPSILONS)):
        z = found.examples[index].movedim(0, len(time))
        right_B = model.eval()(z, space).argmax(1) == batch.labels_B[:-1]
        assert torch.equal(right_B, found.correct_EB[index])
