"""The inner maximisation of training against attacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks import ATTACKS, guards
from snnlib.attacks.ball import Ball
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.losses import LOSSES, divergence
from snnlib.spec.attack import InnerAttack
from snnlib.spec.training import Adversary, TradesRegime
from snnlib.spec.values import step_length


def adversarial(
    model: SpikingClassifier,
    images_BCHW: Tensor,
    labels_B: Tensor,
    *,
    adversary: Adversary,
    key: noise.Key,
) -> Tensor:
    """Attack the network as it is (Madry et al. 2018, eq. 2.1).

    Returns:
        A point of the attack's space. Of several restarts it is the one of the largest loss, for
        each sample by itself.
    """
    attack, epsilon, _ = adversary
    with _attacked(model, adversary):
        origin = _lifted(model, images_BCHW, attack, key)
        found = ATTACKS[attack.name](
            model, origin, labels_B, attack=attack, epsilons=(epsilon,), key=key
        )
        points = [candidate.z for candidate in found]
        for z in points:
            _check(model, z, origin, adversary, key)
        return points[0] if len(points) == 1 else _strongest(model, points, labels_B, attack, key)


def divergent(
    model: SpikingClassifier, images_BCHW: Tensor, *, regime: TradesRegime, key: noise.Key
) -> Tensor:
    """Ascend KL(f(x) || f(z)) in z around x, in signed steps (Zhang et al. 2019, algorithm 1).

    It starts uniformly within `start_noise` of x, or anywhere in the ball if the attack says so:
    at x itself the divergence is least and its gradient 0.

    Args:
        model: the network f.
        images_BCHW: x.
        regime: radius, attack, start and mode.
        key: of the start; the encoder's noise is the same in all steps.

    Returns:
        A point of the attack's space.
    """
    attack, epsilon = regime.attack, float(regime.epsilon)
    step = float(step_length(attack.step_size, regime.epsilon))
    radius = epsilon if attack.random_start else min(float(regime.start_noise), epsilon)
    with _attacked(model, regime.adversary):
        origin = _lifted(model, images_BCHW, attack, key)
        with model.keyed(key), torch.no_grad():
            clean_BK = model.logits(origin, attack.space)
        ball = Ball.around(model, origin, epsilon, attack.threat)
        z = replace(ball, epsilon=radius).scattered(key)
        for _ in range(attack.steps):
            z = z.detach().requires_grad_()
            with model.keyed(key), torch.enable_grad():
                total = divergence(clean_BK, model.logits(z, attack.space)).sum()
            (g,) = torch.autograd.grad(total, z)
            z = ball.project(z.detach() + step * ball.steepest(g))
        _check(model, z, origin, regime.adversary, key)
        return z


@contextmanager
def _attacked(model: SpikingClassifier, adversary: Adversary) -> Iterator[None]:
    attack = adversary.attack
    with (
        frozen(model, adversary.mode),
        model.surrogate(attack.surrogate),
        model.gradient(attack.gradient),
    ):
        yield


def _lifted(
    model: SpikingClassifier, images_BCHW: Tensor, attack: InnerAttack, key: noise.Key
) -> Tensor:
    with model.keyed(key), torch.no_grad():
        return model.lift(images_BCHW, attack.space)


def _check(
    model: SpikingClassifier, z: Tensor, origin: Tensor, adversary: Adversary, key: noise.Key
) -> None:
    guards.check(
        z,
        origin,
        epsilon=float(adversary.epsilon),
        threat=adversary.attack.threat,
        bounds=model.bounds(adversary.attack.space),
        samples_B=key.samples_B,
    )


def _strongest(
    model: SpikingClassifier,
    points: list[Tensor],
    labels_B: Tensor,
    attack: InnerAttack,
    key: noise.Key,
) -> Tensor:
    losses = []
    for z in points:
        with model.keyed(key), torch.no_grad():
            losses.append(LOSSES[attack.loss](model.response(z, attack.space), labels_B))
    best_B = torch.stack(losses).argmax(0)
    axis = guards.batch_axis(attack.space)
    rows_RB = torch.stack([z.movedim(axis, 0) for z in points])
    return rows_RB[best_B, torch.arange(len(labels_B), device=best_B.device)].movedim(0, axis)
