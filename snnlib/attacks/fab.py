"""FAB: the smallest perturbation, by steps onto the linearised decision boundary.

Croce and Hein 2020 (arXiv 1907.02044), algorithm 1, towards one class after the other; constants
are theirs. What it finds does not depend on a radius, so one run serves a whole grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from snnlib import noise, repeatable
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import Candidate, Candidates, rivals
from snnlib.attacks.guards import batch_axis, per_sample
from snnlib.attacks.part import Part, fallen, remaining, side_by_side
from snnlib.classifier import SpikingClassifier
from snnlib.spec.attack import FAB

OVERSHOOT = 1.05
"""How far beyond the linearised boundary a step goes."""
BACK = 0.9
"""How far a point that fools goes back towards the origin."""
BIAS = 0.1
"""Weight of the step from the origin itself at most."""


def fab(  # noqa: PLR0913 - as every attack, and `room`
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: FAB,
    epsilons: Sequence[Fraction],
    key: noise.Key,
    room: int = 0,
) -> Candidates:
    """For each target and radius the first point found in the ball, else the origin.

    Where the network is noisy, the last one: a lucky draw of the noise is no proof. With `room` for
    more points in a pass than there are samples, several targets are approached side by side.
    """
    whole = Part.whole(origin, labels_B, key, attack.space)
    with model.keyed(key):
        others_BK = rivals(model, origin, labels_B, attack.space)
    radii, lasting = list(map(float, epsilons)), model.noisy(attack.space)
    targets_KB, place, axis = others_BK.T[: attack.targets], 0, batch_axis(attack.space)
    standing_EB: Tensor | None = None
    while place < len(targets_KB):
        part = whole.standing(_anywhere(standing_EB), 0)
        if part is None:
            return
        chosen_KB = targets_KB[place : place + side_by_side(room, part, lasting=lasting)]
        run = _Approach(part, chosen_KB[:, part.rows_B], radii, lasting=lasting)
        ball = Ball.around(model, run.origin, float("inf"), attack.threat)
        with model.keyed(replace(run.key, stream=f"{key.stream}/target/{place + 1}")):
            run.follow(model, ball, attack.steps)
        for found in run.found():
            places_B, cut_EB = part.places(_anywhere(standing_EB), 0), found.cut_EB
            if standing_EB is not None:
                cut_EB = cut_EB & standing_EB[:, part.rows_B]
            # the judge may find that a point does not fool: the targets after it are met then
            if not len(places_B) or bool(cut_EB.any()):
                break
            for index, z in enumerate(found.z_E):
                standing_EB = yield Candidate(
                    epsilon=index,
                    z=z.index_select(axis, places_B),
                    zero_gradient_B=found.zero_EB[index, places_B],
                    steps_B=place * attack.steps + found.steps_EB[index, places_B],
                    rows_B=part.rows_B[places_B],
                )
            place += 1


def _anywhere(standing_EB: Tensor | None) -> Tensor | None:
    return None if standing_EB is None else standing_EB.any(0, keepdim=True)


class _Found(NamedTuple):
    """What the ways towards one class found.

    Attributes:
        z_E: points for each radius, the origin where none was found.
        steps_EB: steps to them; 0 where none was found.
        zero_EB: samples whose gradient was exactly zero in every step to there.
        cut_EB: left without a point, since those of classes before this one sufficed.
    """

    z_E: tuple[Tensor, ...]
    steps_EB: Tensor
    zero_EB: Tensor
    cut_EB: Tensor


class _Approach:
    """The ways of samples towards classes, and a point on them within each radius.

    Of those that fooled the first is kept, and its sample leaves once every radius has one; or the
    last, and no sample leaves, if that is asked for. The ways of a sample towards several classes
    go side by side.
    """

    def __init__(
        self, part: Part, targets_KB: Tensor, radii: Sequence[float], *, lasting: bool
    ) -> None:
        self._samples, self._runs = len(part.rows_B), len(targets_KB)
        self._part = part.times(self._runs)
        self._targets_B, self._radii, self._lasting = targets_KB.flatten(), radii, lasting
        self._found_E = [self.origin.clone() for _ in radii]
        self._steps_EB = self._part.labels_B.new_zeros(len(radii), len(self._targets_B))
        self._zero_EB = torch.ones_like(self._steps_EB, dtype=torch.bool)

    @property
    def origin(self) -> Tensor:
        """Where the ways begin."""
        return self._part.origin

    @property
    def key(self) -> noise.Key:
        """Of their noise."""
        return self._part.key

    def found(self) -> Iterator[_Found]:
        """What was found towards each class, in order."""
        axis = batch_axis(self._part.space)
        cut_EB = self._gone() & (self._steps_EB == 0) & (not self._lasting)
        yield from map(
            _Found,
            zip(*(z.chunk(self._runs, axis) for z in self._found_E), strict=True),
            self._steps_EB.chunk(self._runs, 1),
            self._zero_EB.chunk(self._runs, 1),
            cut_EB.chunk(self._runs, 1),
        )

    def _gone(self) -> Tensor:
        """Ways of samples that have a point within every radius, by their class or one before."""
        return torch.stack([fallen(one_B > 0, self._samples) for one_B in self._steps_EB]).all(0)

    def follow(self, model: SpikingClassifier, ball: Ball, steps: int) -> None:
        """Take the steps from the origins; what was found within every radius leaves."""
        part, targets_B, z = self._part, self._targets_B, ball.origin
        places_B = torch.arange(len(targets_B), device=targets_B.device)
        for step in range(1, steps + 1):
            left_B = None if self._lasting else remaining(self._gone()[places_B])
            if left_B is not None:
                if not len(left_B):
                    return
                part, places_B, targets_B = part.at(left_B), places_B[left_B], targets_B[left_B]
                z, ball = z.index_select(ball.axis, left_B), replace(ball, origin=part.origin)
                model.narrow(left_B)
            lead_B, g = _lead(model, z, ball, part.labels_B, targets_B)
            z = _moved(ball, z, lead_B, g)
            fooled_B = _wrong(model, z, ball, part.labels_B)
            self._keep(step, places_B, (z, g, fooled_B), ball)
            back = ball.origin + (z - ball.origin) * BACK
            z = torch.where(ball.shaped(fooled_B), back, z)

    def _keep(
        self, step: int, places_B: Tensor, seen: tuple[Tensor, Tensor, Tensor], ball: Ball
    ) -> None:
        z, g, fooled_B = seen
        distance_B = ball.lengths(z - ball.origin).flatten()
        slopes_B = per_sample(g, ball.threat.space).any(1)
        for index, radius in enumerate(self._radii):
            open_B = self._lasting | (self._steps_EB[index, places_B] == 0)
            self._zero_EB[index, places_B] &= ~(open_B & slopes_B)
            new_B = (open_B & fooled_B & (distance_B <= radius)).nonzero()[:, 0]
            self._steps_EB[index, places_B[new_B]] = step
            points = z.index_select(ball.axis, new_B)
            self._found_E[index].index_copy_(ball.axis, places_B[new_B], points)


def _moved(ball: Ball, z: Tensor, lead_B: Tensor, g: Tensor) -> Tensor:
    """The next point: onto the plane from z, and a little of the way there from the origin."""
    own, other = (onto(ball, at, g, lead_B, z) for at in (z, ball.origin))
    length, from_origin = (ball.lengths(step).clamp(min=1e-8) for step in (own, other))
    share = (length / (length + from_origin)).clamp(max=BIAS)
    moved = (z + OVERSHOOT * own) * (1 - share) + (ball.origin + OVERSHOOT * other) * share
    return ball.clip(moved)


def _lead(
    model: SpikingClassifier, z: Tensor, ball: Ball, labels_B: Tensor, targets_B: Tensor
) -> tuple[Tensor, Tensor]:
    """z_t - z_y, positive beyond the boundary, and its gradient.

    A lead of 0 would end the way on a tie that is decided for y. There it is that of the currents,
    which break ties; if y does not owe the tie to them, t is taken to be one spike behind.
    """
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        response = model.response(z, ball.threat.space)
        rows = torch.arange(len(labels_B), device=labels_B.device)
        logits_BK = response.logits
        lead_B = logits_BK[rows, targets_B] - logits_BK[rows, labels_B]
        tied_B = (lead_B >= 0) & (model.decided(response.detached()) == labels_B)
        if bool(tied_B.any()):
            current_BK = response.current_TBK.mean(0)
            by_current_B = current_BK[rows, targets_B] - current_BK[rows, labels_B]
            lead_B = torch.where(tied_B, by_current_B, lead_B)
        (g,) = torch.autograd.grad(lead_B.sum(), z)
    spike = 1 / len(response.readout_TBK)
    return torch.where(tied_B & (lead_B >= 0), -spike, lead_B).detach(), g


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
    gained_BN = repeatable.prefix_sums(finite_BN, 1) - finite_BN
    left_BN = repeatable.prefix_sums(weight_BN.flip(1), 1).flip(1)
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
