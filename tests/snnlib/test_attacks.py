"""FGSM and PGD against plain computations on a linear float64 network."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks import ATTACKS
from snnlib.attacks.ball import Ball
from snnlib.attacks.inner import adversarial
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.losses import LOSSES
from snnlib.spec.attack import FGSM, PGD, Member, Space, ThreatModel
from snnlib.spec.neuron import Sigmoid
from snnlib.spec.training import Adversary
from tests.snnlib import networks

BATCH = networks.batch(20, (3, 2, 2), classes=5)
X = BATCH.images_BCHW.double()
KEY = noise.Key(seed=0, stream="test", samples_B=BATCH.samples_B)
EPSILONS = (Fraction(8, 255), Fraction(1, 5))


def attacked(model: SpikingClassifier, attack: Member, origin: Tensor) -> list[Tensor]:
    with frozen(model):
        found = ATTACKS[attack.name](
            model, origin, BATCH.labels_B, attack=attack, epsilons=EPSILONS, key=KEY
        )
        return [candidate.z for candidate in found]


def plain_gradient(model: SpikingClassifier, x: Tensor) -> Tensor:
    """dCE/dx of a linear network: (softmax(Wx + b) - onehot) W."""
    weight, bias = model.parameters()
    chance = torch.softmax(x.flatten(1) @ weight.T + bias, 1)
    chance[torch.arange(len(x)), BATCH.labels_B] -= 1
    return (chance @ weight).reshape(x.shape).detach()


def test_fgsm_is_one_signed_step() -> None:
    model = networks.linear()
    step = plain_gradient(model, X).sign()
    expected = [(X + float(epsilon) * step).clamp(0, 1) for epsilon in EPSILONS]
    found = attacked(model, FGSM(), X)
    assert [torch.allclose(z, e, atol=1e-12) for z, e in zip(found, expected, strict=True)]
    assert torch.allclose(found[1], expected[1], atol=1e-12)


@pytest.mark.parametrize("random_start", [False, True])
def test_pgd_is_projected_ascent(*, random_start: bool) -> None:
    model, attack = networks.linear(), PGD(steps=5, random_start=random_start)
    for index, epsilon in enumerate(map(float, EPSILONS)):
        own = noise.Key(seed=0, stream="test/restart/0", samples_B=BATCH.samples_B)
        ball = Ball.around(model, X, epsilon, attack.threat)
        z = ball.scattered(own) if random_start else X
        for _ in range(5):
            z = z + epsilon / 4 * plain_gradient(model, z).sign()
            z = (X + (z - X).clamp(-epsilon, epsilon)).clamp(0, 1)
        assert torch.allclose(attacked(model, attack, X)[index], z, atol=1e-12)


def test_random_start_fills_the_ball_and_depends_on_the_sample() -> None:
    inside = torch.full((2000, 1, 2, 2), 0.5)
    key = noise.Key(seed=0, stream="test", samples_B=torch.arange(2000))
    ball = Ball(origin=inside, epsilon=0.1, threat=ThreatModel(), bounds=(0.0, 1.0))
    offset = ball.scattered(key) - 0.5
    part = noise.Key(seed=0, stream="test", samples_B=torch.arange(7, 12))
    assert offset.abs().max() <= 0.1
    assert abs(offset.std().item() - 0.1 / 3**0.5) < 0.002
    few = replace(ball, origin=inside[7:12])
    assert torch.equal(few.scattered(part) - 0.5, offset[7:12])


@pytest.mark.parametrize("attack", [FGSM(space="repeated"), PGD(space="encoded", steps=3)])
def test_steps_are_perturbed_apart_outside_the_pixel_space(attack: Member) -> None:
    model = networks.small()
    batch = networks.batch(4)
    key = noise.Key(seed=0, stream="test", samples_B=batch.samples_B)
    with frozen(model):
        origin = model.lift(batch.images_BCHW, attack.space)
        (found,) = ATTACKS[attack.name](
            model, origin, batch.labels_B, attack=attack, epsilons=EPSILONS[1:], key=key
        )
    moved = (found.z - origin).abs()
    assert found.z.shape == (3, 4, 1, 8, 8)
    assert not torch.equal(found.z[0] - origin[0], found.z[1] - origin[1])
    assert 0.19 < moved.max() <= 0.2 + 1e-6


def test_clip_false_leaves_the_unit_range() -> None:
    found = attacked(networks.linear(), FGSM(clip=False), X)[1]
    assert found.min() < 0
    assert found.max() > 1


@pytest.mark.parametrize("change", [{"loss": "margin"}, {"surrogate": Sigmoid(alpha=Decimal(1))}])
def test_options_of_the_attacker_change_the_attack(change: dict[str, Any]) -> None:
    model, batch = networks.small(), networks.batch(20)
    key = noise.Key(seed=0, stream="test", samples_B=batch.samples_B)
    points = [
        adversarial(
            model,
            batch.images_BCHW,
            batch.labels_B,
            adversary=Adversary(attack, EPSILONS[1]),
            key=key,
        )
        for attack in (PGD(steps=2), PGD(steps=2, **change))
    ]
    assert not torch.equal(*points)


def test_attack_builds_no_parameter_gradient_and_keeps_the_mode() -> None:
    model, batch = networks.small().train(), networks.batch(5)
    key = noise.Key(seed=0, stream="test", samples_B=batch.samples_B)
    x, y = batch.images_BCHW, batch.labels_B
    adversarial(model, x, y, adversary=Adversary(PGD(), EPSILONS[0]), key=key)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("space", ["pixel", "repeated"])
def test_inner_attack_keeps_the_best_restart_of_each_sample(space: Space) -> None:
    model, batch = networks.small(), networks.batch(20)
    key = noise.Key(seed=0, stream="test", samples_B=batch.samples_B)
    x, y = batch.images_BCHW, batch.labels_B

    def losses(restarts: int) -> Tensor:
        attack = PGD(steps=1, restarts=restarts, space=space)
        z = adversarial(model, x, y, adversary=Adversary(attack, EPSILONS[1]), key=key)
        return LOSSES["cross_entropy"](model.response(z, space), y).detach()

    one, four = losses(1), losses(4)
    assert (four >= one - 1e-6).all()
    assert (four > one + 1e-6).any()
