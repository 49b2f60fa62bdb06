"""Attacks without gradients: Square, and points drawn at random."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import Candidate
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
) -> Iterator[Candidate]:
    """Points drawn uniformly from the ball, one candidate each."""
    del labels_B
    for index, exact in enumerate(epsilons):
        ball = Ball.around(model, origin, float(exact), attack.threat)
        for draw in range(attack.draws):
            z = ball.scattered(replace(key, stream=f"{key.stream}/draw/{draw}"))
            yield Candidate(epsilon=index, z=z, zero_gradient_B=_unseen(origin, ball))


def square(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: Square,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Iterator[Candidate]:
    """Random search over square patches (Andriushchenko et al. 2020, arXiv 1912.00049, algorithm 2).

    From vertical stripes of +-epsilon on, each query sets every channel of a random square to
    +-epsilon and is kept if the margin grew; squares shrink with the queries made. Each sample has
    squares of its own. Time steps count as channels.
    """
    for index, exact in enumerate(epsilons):
        ball = Ball.around(model, origin, float(exact), attack.threat)
        for restart in range(attack.restarts):
            own = replace(key, stream=f"{key.stream}/restart/{restart}")
            with model.keyed(own), torch.no_grad():
                z = _searched(model, ball, labels_B, attack, own)
            yield Candidate(epsilon=index, z=z, zero_gradient_B=_unseen(origin, ball))


def _unseen(origin: Tensor, ball: Ball) -> Tensor:
    """No gradient was looked at, so none was found to be zero."""
    return torch.zeros(origin.shape[ball.axis], dtype=torch.bool, device=origin.device)


def _searched(
    model: SpikingClassifier, ball: Ball, labels_B: Tensor, attack: Square, key: noise.Key
) -> Tensor:
    z = _striped(ball, key)
    margin_B = _margin(model, z, ball, labels_B)
    for query in range(1, attack.queries):
        if bool((margin_B > 0).all()):
            break
        moved = _patched(z, ball, _side(attack, query, ball), key, query)
        new_B = _margin(model, moved, ball, labels_B)
        # what fools already stays as it is
        better_B = (new_B > margin_B) & (margin_B <= 0)
        z = torch.where(ball.shaped(better_B), moved, z)
        margin_B = torch.where(better_B, new_B, margin_B)
    return z


def _margin(model: SpikingClassifier, z: Tensor, ball: Ball, labels_B: Tensor) -> Tensor:
    """The margin; positive also where a tie of logits is decided for another class."""
    response = model.response(z, ball.threat.space)
    found_B = margin(response, labels_B)
    tiny = torch.finfo(found_B.dtype).tiny
    return torch.where(model.decided(response) == labels_B, found_B, found_B.clamp(min=tiny))


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
