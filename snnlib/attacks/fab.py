"""FAB: the smallest perturbation, by steps onto the linearised decision boundary.

Croce and Hein 2020 (arXiv 1907.02044), algorithm 1, towards one class after the other; constants
are theirs. What it finds does not depend on a radius, so one run serves a whole grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import Candidate
from snnlib.attacks.guards import per_sample
from snnlib.classifier import SpikingClassifier
from snnlib.spec.attack import FAB

OVERSHOOT = 1.05
"""How far beyond the linearised boundary a step goes."""
BACK = 0.9
"""How far a point that fools goes back towards the origin."""
BIAS = 0.1
"""Weight of the step from the origin itself at most."""


def fab(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: FAB,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Iterator[Candidate]:
    """For each target and radius the nearest point found if it lies in the ball, else the origin."""
    ball = Ball.around(model, origin, float("inf"), attack.threat)
    with model.keyed(key), torch.no_grad():
        closest_BK = model.logits(origin, attack.space).argsort(dim=1, descending=True, stable=True)
    for place in range(1, min(attack.targets, closest_BK.shape[1] - 1) + 1):
        # where the network is wrong already, its own class is the target and it is done
        with model.keyed(replace(key, stream=f"{key.stream}/target/{place}")):
            z, zero_B = _nearest(model, ball, labels_B, closest_BK[:, place], attack.steps)
        distance = ball.lengths(z - origin)
        for index, exact in enumerate(epsilons):
            inside = distance <= float(exact)
            yield Candidate(epsilon=index, z=torch.where(inside, z, origin), zero_gradient_B=zero_B)


def _nearest(
    model: SpikingClassifier, ball: Ball, labels_B: Tensor, targets_B: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """The nearest point that fools; the origin plus infinity where none was found."""
    origin, z = ball.origin, ball.origin
    nearest = torch.full_like(origin, float("inf"))
    least = ball.lengths(nearest - origin)
    zero_B = torch.ones_like(labels_B, dtype=torch.bool)
    for _ in range(steps):
        lead_B, g = _lead(model, z, ball, labels_B, targets_B)
        zero_B &= ~per_sample(g, ball.threat.space).any(1)
        own, other = (onto(ball, at, g, lead_B, z) for at in (z, origin))
        length, from_origin = (ball.lengths(step).clamp(min=1e-8) for step in (own, other))
        share = (length / (length + from_origin)).clamp(max=BIAS)
        z = (z + OVERSHOOT * own) * (1 - share) + (origin + OVERSHOOT * other) * share
        z = ball.clip(z)
        fooled = ball.shaped(_wrong(model, z, ball, labels_B))
        distance = ball.lengths(z - origin)
        closer = fooled & (distance < least)
        nearest, least = torch.where(closer, z, nearest), torch.where(closer, distance, least)
        z = torch.where(fooled, origin + (z - origin) * BACK, z)
    return nearest, zero_B


def _lead(
    model: SpikingClassifier, z: Tensor, ball: Ball, labels_B: Tensor, targets_B: Tensor
) -> tuple[Tensor, Tensor]:
    """z_t - z_y, positive beyond the boundary, and its gradient."""
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        logits_BK = model.logits(z, ball.threat.space)
        rows = torch.arange(len(labels_B), device=labels_B.device)
        lead_B = logits_BK[rows, targets_B] - logits_BK[rows, labels_B]
        (g,) = torch.autograd.grad(lead_B.sum(), z)
    return lead_B.detach(), g


@torch.no_grad()
def _wrong(model: SpikingClassifier, z: Tensor, ball: Ball, labels_B: Tensor) -> Tensor:
    return model.predicted(z, ball.threat.space)[0] != labels_B


def onto(ball: Ball, at: Tensor, g: Tensor, lead_B: Tensor, z: Tensor) -> Tensor:
    """The shortest step, in the maximum norm and within bounds, from `at` to a plane.

    The plane is lead + g (x - z) = 0. Each value moves by the same length until its bound stops it;
    if all together do not reach, all go to their bounds. Where g = 0 there is no plane and no step.

    Args:
        ball: bounds and axis of samples.
        at: where to start.
        g: normal of the plane.
        lead_B: value of the linear function at z.
        z: where it was linearised.
    """
    rows, g_BN = (t.movedim(ball.axis, 0).flatten(1) for t in (at, g))
    z_BN = z.movedim(ball.axis, 0).flatten(1)
    missing_B = -(lead_B + (g_BN * (rows - z_BN)).sum(1))
    way_BN = g_BN.sign() * missing_B.sign()[:, None]
    room_BN = _room(ball, at, way_BN)
    ordered = room_BN.sort(dim=1)
    weight_BN = g_BN.abs().gather(1, ordered.indices)
    # with the k nearest bounds reached, the rest moves by (missing - gained) / their weight
    finite_BN = torch.where(ordered.values.isfinite(), weight_BN * ordered.values, 0.0)
    gained_BN = finite_BN.cumsum(1) - finite_BN
    left_BN = weight_BN.flip(1).cumsum(1).flip(1)
    length_BN = (missing_B.abs()[:, None] - gained_BN) / left_BN.clamp(min=1e-30)
    fits_BN = (length_BN <= ordered.values) & (left_BN > 0)
    first_B = fits_BN.to(torch.uint8).argmax(1)
    length_B = length_BN.gather(1, first_B[:, None]).clamp(min=0)
    furthest = torch.where(ordered.values.isfinite(), ordered.values, 0.0).amax(1, keepdim=True)
    length_B = torch.where(fits_BN.any(1, keepdim=True), length_B, furthest)
    step_BN = way_BN * torch.minimum(room_BN, length_B)
    step_BN = torch.where(g_BN.any(1, keepdim=True), step_BN, 0.0)
    return step_BN.view(at.movedim(ball.axis, 0).shape).movedim(0, ball.axis)


def _room(ball: Ball, at: Tensor, way_BN: Tensor) -> Tensor:
    """How far each value may go its way."""
    if ball.bounds is None:
        return torch.full_like(way_BN, float("inf"))
    up, down = (
        (limit - at if up else at - limit).movedim(ball.axis, 0).flatten(1).clamp(min=0)
        for limit, up in ((ball.bounds[1], True), (ball.bounds[0], False))
    )
    return torch.where(way_BN > 0, up, down)
