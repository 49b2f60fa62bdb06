"""Ascent along averaged gradients: MI-FGSM, and SA-PGD for gradients that are noisy or vanish."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.apgd import checks
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import Candidate, Candidates, gradient, shared
from snnlib.attacks.guards import per_sample
from snnlib.attacks.part import Part
from snnlib.classifier import SpikingClassifier
from snnlib.spec.attack import MIFGSM, SAPGD
from snnlib.spec.values import step_length


def mifgsm(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: MIFGSM,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """m = decay m + g / |g|_1, z = P(z + a sign(m)) from the origin (Dong et al. 2018, algorithm 1)."""
    whole = Part.whole(origin, labels_B, key, attack.space)
    first = shared(model, whole, attack, radii=len(epsilons))
    for index, exact in enumerate(epsilons):
        ball = Ball.around(model, origin, float(exact), attack.threat)
        step = float(step_length(attack.step_size, exact))
        z, m = origin, torch.zeros_like(origin)
        zero_B = torch.ones_like(labels_B, dtype=torch.bool)
        with model.keyed(key):
            for turn in range(attack.steps):
                known = None if turn else first
                g = gradient(model, z, labels_B, attack) if known is None else known
                zero_B &= ~per_sample(g, attack.space).any(1)
                m = float(attack.decay) * m + _over(g, _mean(g.abs(), ball))
                z = ball.project(z + step * ball.steepest(m))
        yield Candidate(epsilon=index, z=z, zero_gradient_B=zero_B, steps_B=attack.steps)


def sapgd(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: SAPGD,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """One candidate for each radius and restart, the last iterate (Wang et al. 2025, section 4.2).

    m = .5 m + g / mean|g|, v = .8 v + g^2 / mean(g^2), z = P(z + clip(h m / sqrt(v), -h, h)); the
    length h starts at epsilon and is halved after the steps at which APGD checks its progress.
    A gradient that is exactly 0 leaves its sample where it is.
    """
    whole = Part.whole(origin, labels_B, key, attack.space)
    standing_EB = None
    for index, exact in enumerate(epsilons):
        for restart in range(attack.restarts):
            part = whole.standing(standing_EB, index)
            if part is None:
                break
            ball = Ball.around(model, part.origin, float(exact), attack.threat)
            own = replace(part.key, stream=f"{key.stream}/restart/{restart}")
            begin = ball.scattered(own) if attack.random_start else part.origin
            with model.keyed(own):
                z, zero_B = _stable(model, begin, ball, part.labels_B, attack)
            standing_EB = yield Candidate(
                epsilon=index,
                z=z,
                zero_gradient_B=zero_B,
                steps_B=(restart + 1) * attack.steps,
                rows_B=part.rows_B,
            )


def _stable(
    model: SpikingClassifier, z: Tensor, ball: Ball, labels_B: Tensor, attack: SAPGD
) -> tuple[Tensor, Tensor]:
    first, second, length = torch.zeros_like(z), torch.zeros_like(z), ball.epsilon
    zero_B = torch.ones_like(labels_B, dtype=torch.bool)
    halved = checks(attack.steps)
    for step in range(attack.steps):
        g = gradient(model, z, labels_B, attack)
        zero_B &= ~per_sample(g, attack.space).any(1)
        g = ball.scaled(g)  # no power of two changes the quotients
        square = g.square()
        first = 0.5 * first + _over(g, _mean(g.abs(), ball))
        second = 0.8 * second + _over(square, _mean(square, ball))
        z = ball.project(z + _over(length * first, second.sqrt()).clamp(-length, length))
        if step + 1 in halved:
            length /= 2
    return z, zero_B


def _mean(value: Tensor, ball: Ball) -> Tensor:
    """Mean over each sample's values, shaped to divide points."""
    return value.mean([axis for axis in range(value.ndim) if axis != ball.axis], keepdim=True)


def _over(value: Tensor, by: Tensor) -> Tensor:
    """Quotients; 0 where the divisor is 0."""
    return torch.where(by > 0, value / torch.where(by > 0, by, 1.0), 0.0)
