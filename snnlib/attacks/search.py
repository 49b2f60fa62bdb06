"""Attacks without gradients: Square, and points drawn at random."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.ball import Ball
from snnlib.attacks.expectation import averaged
from snnlib.attacks.gradient import Candidate, Candidates
from snnlib.attacks.part import Part, remaining
from snnlib.classifier import SpikingClassifier
from snnlib.losses import margin
from snnlib.spec.attack import RandomNoise, Square

SHRINKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the share of changed pixels halves (Andriushchenko et al. 2020, 4)."""


def random_noise(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: RandomNoise,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """Points drawn uniformly from the ball, one candidate each."""
    whole = Part.whole(origin, labels_B, key, attack.space)
    standing_EB = None
    for index, exact in enumerate(epsilons):
        for draw in range(attack.draws):
            part = whole.standing(standing_EB, index)
            if part is None:
                break
            ball = Ball.around(model, part.origin, float(exact), attack.threat)
            z = ball.scattered(replace(part.key, stream=f"{key.stream}/draw/{draw}"))
            standing_EB = yield _blind(part, index, z, draw + 1)


def square(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: Square,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """Random search over square patches (Andriushchenko et al. 2020, arXiv 1912.00049, algorithm 2).

    From vertical stripes of +-epsilon on, each query sets every channel of a random square to
    +-epsilon and is kept if the margin grew; squares shrink with the queries made. Each sample has
    squares of its own. Time steps count as channels.

    A network under noise is asked for its mean margin over as many draws as it decides by, so each
    query costs so many passes. All queries meet the same draws: chance cannot lift one point above
    another. Whoever judges draws anew, and the search goes on after a point that fooled.
    """
    whole = Part.whole(origin, labels_B, key, attack.space)
    standing_EB = None
    for index, exact in enumerate(epsilons):
        for restart in range(attack.restarts):
            part = whole.standing(standing_EB, index)
            if part is None:
                break
            ball = Ball.around(model, part.origin, float(exact), attack.threat)
            own = replace(part, key=replace(part.key, stream=f"{key.stream}/restart/{restart}"))
            with torch.no_grad():
                z, queries_B = _searched(model, own, ball, attack)
            standing_EB = yield _blind(part, index, z, restart * attack.queries + queries_B)


def _blind(part: Part, index: int, z: Tensor, steps_B: Tensor | int) -> Candidate:
    """A candidate of an attack that looks at no gradient: none was found to be zero."""
    zero_B = torch.zeros_like(part.labels_B, dtype=torch.bool)
    return Candidate(
        epsilon=index, z=z, zero_gradient_B=zero_B, steps_B=steps_B, rows_B=part.rows_B
    )


def _searched(
    model: SpikingClassifier, part: Part, ball: Ball, attack: Square
) -> tuple[Tensor, Tensor]:
    """The points of the largest margin, and the queries made until they fooled; all, under noise."""
    z, lasting = _striped(ball, part.key), model.noisy(attack.space)
    margin_B = _margin(model, z, part)
    found, made_B = z.clone(), torch.ones_like(part.labels_B)
    places_B = torch.arange(len(made_B), device=made_B.device)
    for query in range(1, attack.queries):
        left_B = None if lasting else remaining(margin_B > 0)
        if left_B is not None:
            found.index_copy_(ball.axis, places_B, z)
            if not len(left_B):
                return found, made_B
            part, z, margin_B = part.at(left_B), z.index_select(ball.axis, left_B), margin_B[left_B]
            places_B, ball = places_B[left_B], replace(ball, origin=part.origin)
        moved = _patched(z, ball, _side(attack, query, ball), part.key, query)
        new_B = _margin(model, moved, part)
        # what fools already stays as it is
        open_B = lasting | (margin_B <= 0)
        made_B[places_B] = torch.where(open_B, query + 1, made_B[places_B])
        better_B = (new_B > margin_B) & open_B
        z = torch.where(ball.shaped(better_B), moved, z)
        margin_B = torch.where(better_B, new_B, margin_B)
    return found.index_copy_(ball.axis, places_B, z), made_B


def _margin(model: SpikingClassifier, z: Tensor, part: Part) -> Tensor:
    """The margin; positive also where a tie of logits is decided for another class."""
    draws = model.decision_draws if model.noisy(part.space) else 1
    with model.keyed(part.key):
        response = averaged(model, z, part.space, draws)
    found_B = margin(response, part.labels_B)
    tiny = torch.finfo(found_B.dtype).tiny
    return torch.where(model.decided(response) == part.labels_B, found_B, found_B.clamp(min=tiny))


def _side(attack: Square, query: int, ball: Ball) -> int:
    """Side of the square, in pixels: it holds p of them, p halved as queries go by."""
    done = query / attack.queries * 10_000
    share = float(attack.share) / 2 ** sum(done > limit for limit in SHRINKS)
    height, width = ball.origin.shape[-2:]
    side = max(round(math.sqrt(share * height * width)), 1)
    return min(side, height - 1 or 1, width - 1 or 1)


def _striped(ball: Ball, key: noise.Key) -> Tensor:
    """+-epsilon by channel and column."""
    rows = ball.origin.movedim(ball.axis, 0)
    shape = (*rows.shape[1:-2], 1, rows.shape[-1])
    signs = _signs(shape, replace(key, stream=f"{key.stream}/stripes"), rows)
    return ball.project(ball.origin + ball.epsilon * signs.movedim(0, ball.axis))


def _patched(z: Tensor, ball: Ball, side: int, key: noise.Key, query: int) -> Tensor:
    """One random square of each sample set to +-epsilon by channel."""
    rows = ball.origin.movedim(ball.axis, 0)
    height, width = rows.shape[-2:]
    own = replace(key, stream=f"{key.stream}/squares")
    drawn_B2 = noise.uniform((2,), own, query).to(rows.device)
    inside = None
    for place, (axis, length) in enumerate(((-2, height), (-1, width))):
        first_B = (drawn_B2[:, place] * (length - side + 1)).floor()
        at = torch.arange(length, device=rows.device) - first_B[:, None]
        within = ((at >= 0) & (at < side)).view(len(at), *[1] * (rows.ndim - 3), *_as(axis, length))
        inside = within if inside is None else inside & within
    assert inside is not None
    colours = replace(key, stream=f"{key.stream}/colours")
    signs = _signs((*rows.shape[1:-2], 1, 1), colours, rows, query)
    moved = torch.where(inside, rows + ball.epsilon * signs, z.movedim(ball.axis, 0))
    return ball.project(moved.movedim(0, ball.axis))


def _as(axis: int, length: int) -> tuple[int, int]:
    return (length, 1) if axis == -2 else (1, length)


def _signs(shape: Sequence[int], key: noise.Key, like: Tensor, draw: int = 0) -> Tensor:
    """-1 or 1, keyed on the sample, [B, *shape]."""
    return torch.where(noise.uniform(shape, key, draw).to(like.device) < 0.5, -1.0, 1.0).to(like)
