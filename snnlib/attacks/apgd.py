"""Auto-PGD: gradient ascent with momentum whose steps halve when they stop helping.

Croce and Hein 2020 (arXiv 2003.01690), algorithm 1 and section 4; constants are theirs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.ball import Ball
from snnlib.attacks.expectation import Objective, slope
from snnlib.attacks.gradient import Candidate, Candidates, rivals
from snnlib.attacks.guards import batch_axis, per_sample
from snnlib.attacks.part import Part, fallen, remaining, select, side_by_side
from snnlib.classifier import SpikingClassifier
from snnlib.losses import LOSSES, dlr_targeted
from snnlib.spec.attack import APGD

MOMENTUM = 0.75
"""Weight of the new step against the last one."""
IMPROVED = 0.75
"""Share of steps that must raise the loss between two checks, else steps halve."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What an ascent is for.

    Attributes:
        of: what the samples at given places raise.
        lasting: go on from a point that fools the network: the last one counts, not the first.
        samples: how many there are, each in every one of the runs side by side.
    """

    of: Callable[[Tensor], Objective]
    lasting: bool
    samples: int


def apgd(  # noqa: PLR0913 - as every attack, and `room`
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: APGD,
    epsilons: Sequence[Fraction],
    key: noise.Key,
    room: int = 0,
) -> Candidates:
    """One candidate per radius, restart and target: a point that fooled, else that of most loss.

    The first point that fooled, and its sample leaves. Where the network is noisy, the last one: a
    lucky draw of the noise is no proof. With `room` for more points in a pass than there are
    samples, several restarts or targets run side by side.
    """
    whole = Part.whole(origin, labels_B, key, attack.space)
    return _ascents(model, whole, attack, epsilons, room=room, lasting=model.noisy(attack.space))


def lasting_apgd(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: APGD,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """`apgd` for points that another network is to judge: no sample leaves, the last point counts."""
    whole = Part.whole(origin, labels_B, key, attack.space)
    return _ascents(model, whole, attack, epsilons, room=0, lasting=True)


def _ascents(
    model: SpikingClassifier,
    whole: Part,
    attack: APGD,
    epsilons: Sequence[Fraction],
    *,
    room: int,
    lasting: bool,
) -> Candidates:
    runs = list(_runs(model, whole, attack))
    axis, standing_EB = batch_axis(attack.space), None
    for index, exact in enumerate(epsilons):
        turn = 0
        while turn < len(runs) and (part := whole.standing(standing_EB, index)):
            chosen = runs[turn : turn + side_by_side(room, part, lasting=lasting)]
            ball = Ball.around(model, part.origin, float(exact), attack.threat)
            for found in _climbed(model, part, ball, attack, chosen, lasting=lasting):
                places_B = part.places(standing_EB, index)
                # the judge may find that a point does not fool: the runs after it are made then
                if not len(places_B) or bool(found.cut_B[places_B].any()):
                    break
                standing_EB = yield Candidate(
                    epsilon=index,
                    z=found.z.index_select(axis, places_B),
                    zero_gradient_B=found.zero_gradient_B[places_B],
                    steps_B=turn * attack.steps + found.steps_B[places_B],
                    rows_B=part.rows_B[places_B],
                )
                turn += 1


_Run = tuple[str, Tensor | None]
"""Stream of the noise, and the classes to go to, [B], of the whole batch."""


def _runs(model: SpikingClassifier, whole: Part, attack: APGD) -> Iterator[_Run]:
    """One ascent for each restart, or one class after the other of the closest."""
    for restart in range(attack.restarts):
        stream = f"{whole.key.stream}/restart/{restart}"
        if attack.targets is None:
            yield f"{stream}/target/0", None
            continue
        with model.keyed(replace(whole.key, stream=stream)):
            others_BK = rivals(model, whole.origin, whole.labels_B, attack.space)
        for place, targets_B in enumerate(others_BK.T[: attack.targets]):
            yield f"{stream}/target/{place}", targets_B


def _climbed(
    model: SpikingClassifier,
    part: Part,
    ball: Ball,
    attack: APGD,
    runs: Sequence[_Run],
    *,
    lasting: bool,
) -> "list[Climbed]":
    """What runs side by side found, each."""
    samples, keys = len(part.rows_B), [replace(part.key, stream=stream) for stream, _ in runs]
    z = torch.cat([begin(ball, key) for key in keys], ball.axis)
    together = part.times(len(runs))
    ball = replace(ball, origin=together.origin)
    targets = [targets_B[part.rows_B] for _, targets_B in runs if targets_B is not None]
    of = _aimed(attack, together.labels_B, torch.cat(targets) if targets else None)
    aim = Aim(of=of, lasting=lasting, samples=samples)
    with model.keyed(replace(together.key, stream=keys[0].stream)):
        found = climb(model, z, ball, together.labels_B, attack.steps, aim)
    points = found.z.chunk(len(runs), ball.axis)
    values = (value_B.chunk(len(runs)) for value_B in found[1:])
    return [Climbed(*one) for one in zip(points, *values, strict=True)]


def _aimed(
    attack: APGD, labels_B: Tensor, targets_B: Tensor | None
) -> Callable[[Tensor], Objective]:
    """What is raised: the lead of a class for each sample, or one loss."""

    def of(places_B: Tensor) -> Objective:
        own_B = labels_B[places_B]
        if targets_B is None:
            return Objective(lambda r: LOSSES[attack.loss](r, own_B), attack.draws)
        other_B = targets_B[places_B]
        return Objective(lambda r: dlr_targeted(r, own_B, other_B), attack.draws)

    return of


def begin(ball: Ball, key: noise.Key) -> Tensor:
    """A random point whose most moved value touches the surface of the ball, before bounds."""
    drawn = replace(ball, epsilon=1.0, bounds=None).scattered(key) - ball.origin
    length = ball.lengths(drawn).clamp(min=1e-12)
    return ball.clip(ball.origin + ball.epsilon * drawn / length)


class Climbed(NamedTuple):
    """What an ascent found.

    Attributes:
        z: of each sample the first point that fooled the network, or the last one if the aim is
            lasting; else the one of most loss.
        zero_gradient_B: samples whose gradient was exactly zero at every point so far.
        steps_B: steps to that point.
        cut_B: left because a run before this one fooled.
    """

    z: Tensor
    zero_gradient_B: Tensor
    steps_B: Tensor
    cut_B: Tensor


def climb(
    model: SpikingClassifier,
    z: Tensor,
    ball: Ball,
    labels_B: Tensor,
    steps: int,
    aim: Aim,
) -> Climbed:
    """Ascend from given points; what has fooled the network leaves, unless the aim is lasting.

    Args:
        model: the network, `keyed`.
        z: where to begin, inside the ball.
        ball: where to stay.
        labels_B: true classes.
        steps: gradient steps.
        aim: what is to be raised, and until when.
    """
    run = _Ascent(model, z, ball, labels_B, aim)
    checked, since = checks(steps), 0
    for step in range(1, steps + 1):
        if not run.goes_on():
            break
        run.step()
        since += 1
        if step in checked:
            run.halve(since)
            since = 0
    return run.climbed()


def checks(steps: int) -> set[int]:
    """Steps after which progress is checked: gaps shrink from 22 to 6 % of all steps, by 3 %."""
    gap, least, shrink = (max(int(part * steps), 1) for part in (0.22, 0.06, 0.03))
    found, at = set(), gap
    while at <= steps:
        found.add(at)
        gap = max(gap - shrink, least)
        at += gap
    return found


@dataclass
class _State:
    """Where the samples are that still climb, and the best that they saw.

    Attributes:
        z: the points.
        before: those of the step before.
        g: gradient at z.
        loss_B: value there.
        best: points of most loss so far.
        best_g: gradient there.
        best_loss_B: value there.
        size: length of the next step of each sample, shaped to multiply points.
        rises_B: steps since the last check that raised the loss.
        checked_loss_B: best value at the last check.
        halved_B: whether the last check halved the steps.
        places_B: where they are among the samples that began.
    """

    z: Tensor
    before: Tensor
    g: Tensor
    loss_B: Tensor
    best: Tensor
    best_g: Tensor
    best_loss_B: Tensor
    size: Tensor
    rises_B: Tensor
    checked_loss_B: Tensor
    halved_B: Tensor
    places_B: Tensor


class _Ascent:
    """An ascent under way."""

    def __init__(
        self, model: SpikingClassifier, z: Tensor, ball: Ball, labels_B: Tensor, aim: Aim
    ) -> None:
        self._model, self._ball, self._labels_B, self._aim = model, ball, labels_B, aim
        self._taken = 0
        self._found = z.clone()
        self._steps_B = torch.zeros_like(labels_B)
        self._zero_B = torch.ones_like(labels_B, dtype=torch.bool)
        self._fooled_B = ~self._zero_B
        places_B = torch.arange(len(labels_B), device=labels_B.device)
        self._objective = aim.of(places_B)
        loss_B, g = self._look(z, places_B)
        self._at = _State(
            z=z,
            before=z,
            g=g,
            loss_B=loss_B,
            best=z,
            best_g=g,
            best_loss_B=loss_B,
            size=ball.shaped(torch.full_like(loss_B, 2 * ball.epsilon)),
            rises_B=torch.zeros_like(labels_B),
            checked_loss_B=loss_B,
            halved_B=torch.ones_like(self._fooled_B),
            places_B=places_B,
        )

    def goes_on(self) -> bool:
        """Whether any sample is left; those that fooled leave once they are enough."""
        if self._aim.lasting:
            return True
        places_B = remaining(self._gone()[self._at.places_B])
        if places_B is None:
            return True
        if len(places_B):
            self._at = _State(**select(vars(self._at), places_B, self._ball.threat.space))
            self._ball = replace(
                self._ball, origin=self._ball.origin.index_select(self._ball.axis, places_B)
            )
            self._model.narrow(places_B)
            self._objective = self._aim.of(self._at.places_B)
        return bool(len(places_B))

    def _gone(self) -> Tensor:
        return fallen(self._fooled_B, self._aim.samples)

    def step(self) -> None:
        """Move on, and remember what was found there."""
        at, ball = self._at, self._ball
        ahead = ball.project(at.z + at.size * ball.steepest(at.g))
        share = MOMENTUM if self._taken else 1.0
        moved = at.z + (ahead - at.z) * share + (at.z - at.before) * (1 - share)
        at.before, at.z = at.z, ball.project(moved)
        self._taken += 1
        loss_B, at.g = self._look(at.z, at.places_B)
        at.rises_B += loss_B > at.loss_B
        better_B = loss_B > at.best_loss_B
        at.best = self._where(better_B, at.z, at.best)
        at.best_g = self._where(better_B, at.g, at.best_g)
        at.best_loss_B = torch.where(better_B, loss_B, at.best_loss_B)
        at.loss_B = loss_B

    def halve(self, steps: int) -> None:
        """Halve the steps of samples that do not get ahead, and go on from their best points."""
        at = self._at
        stuck_B = at.rises_B <= steps * IMPROVED
        idle_B = ~at.halved_B & (at.checked_loss_B >= at.best_loss_B)
        at.halved_B = stuck_B | idle_B
        at.size = self._where(at.halved_B, at.size / 2, at.size)
        at.z = self._where(at.halved_B, at.best, at.z)
        at.g = self._where(at.halved_B, at.best_g, at.g)
        at.checked_loss_B = at.best_loss_B
        at.rises_B = torch.zeros_like(at.rises_B)

    def climbed(self) -> Climbed:
        """What was found."""
        at = self._at
        best = self._found.index_copy(self._ball.axis, at.places_B, at.best)
        found = torch.where(self._ball.shaped(self._fooled_B), self._found, best)
        steps_B = torch.where(self._fooled_B, self._steps_B, self._taken)
        cut_B = self._gone() & ~self._fooled_B & (not self._aim.lasting)
        return Climbed(z=found, zero_gradient_B=self._zero_B, steps_B=steps_B, cut_B=cut_B)

    def _look(self, z: Tensor, places_B: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient; what fools the network is kept."""
        space = self._ball.threat.space
        loss_B, g, response = slope(self._model, z, space, self._objective)
        open_B = self._aim.lasting | ~self._fooled_B[places_B]
        self._zero_B[places_B] &= ~(open_B & per_sample(g, space).any(1))
        wrong_B = self._model.decided(response) != self._labels_B[places_B]
        new_B = (wrong_B & open_B).nonzero()[:, 0]
        kept_B, axis = places_B[new_B], self._ball.axis
        self._found.index_copy_(axis, kept_B, z.index_select(axis, new_B))
        self._steps_B[kept_B] = self._taken
        self._fooled_B[kept_B] = True
        return loss_B, g

    def _where(self, chosen_B: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return torch.where(self._ball.shaped(chosen_B), one, other)
