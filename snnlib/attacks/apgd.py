"""Auto-PGD: gradient ascent with momentum whose steps halve when they stop helping.

Croce and Hein 2020 (arXiv 2003.01690), algorithm 1 and section 4; constants are theirs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import Candidate
from snnlib.attacks.guards import per_sample
from snnlib.classifier import SpikingClassifier
from snnlib.losses import LOSSES, dlr_targeted
from snnlib.response import Response
from snnlib.spec.attack import APGD

MOMENTUM = 0.75
"""Weight of the new step against the last one."""
IMPROVED = 0.75
"""Share of steps that must raise the loss between two checks, else steps halve."""

Objective = Callable[[Response], Tensor]
"""What is to be raised: a response to one value per sample."""


def apgd(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: APGD,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Iterator[Candidate]:
    """One candidate per radius, restart and target: a point that fooled, else that of most loss."""
    for index, exact in enumerate(epsilons):
        ball = Ball.around(model, origin, float(exact), attack.threat)
        for restart in range(attack.restarts):
            own = replace(key, stream=f"{key.stream}/restart/{restart}")
            for place, objective in enumerate(_objectives(model, origin, labels_B, attack, own)):
                turn = replace(own, stream=f"{own.stream}/target/{place}")
                with model.keyed(turn):
                    found = climb(model, begin(ball, turn), ball, labels_B, attack.steps, objective)
                yield Candidate(epsilon=index, z=found.z, zero_gradient_B=found.zero_gradient_B)


def _objectives(
    model: SpikingClassifier, origin: Tensor, labels_B: Tensor, attack: APGD, key: noise.Key
) -> Iterator[Objective]:
    """The untargeted loss, or one for each of the classes that come closest at the origin."""
    if attack.targets is None:
        yield lambda response: LOSSES[attack.loss](response, labels_B)
        return
    with model.keyed(key), torch.no_grad():
        logits_BK = model.logits(origin, attack.space)
    closest_BK = logits_BK.argsort(dim=1, descending=True, stable=True)
    for place in range(1, min(attack.targets, logits_BK.shape[1] - 1) + 1):
        targets_B = closest_BK[:, place]
        yield lambda response, t_B=targets_B: dlr_targeted(response, labels_B, t_B)  # type: ignore[misc]


def begin(ball: Ball, key: noise.Key) -> Tensor:
    """A random point whose most moved value touches the surface of the ball, before bounds."""
    drawn = replace(ball, epsilon=1.0, bounds=None).scattered(key) - ball.origin
    length = ball.lengths(drawn).clamp(min=1e-12)
    return ball.clip(ball.origin + ball.epsilon * drawn / length)


@dataclass(frozen=True, kw_only=True)
class Climbed:
    """What an ascent found.

    Attributes:
        z: of each sample the last point that fooled the network, else the one of most loss.
        zero_gradient_B: samples whose gradient was exactly zero at every point.
    """

    z: Tensor
    zero_gradient_B: Tensor


def climb(
    model: SpikingClassifier,
    z: Tensor,
    ball: Ball,
    labels_B: Tensor,
    steps: int,
    objective: Objective,
) -> Climbed:
    """Ascend from given points.

    Args:
        model: the network.
        z: where to begin, inside the ball.
        ball: where to stay.
        labels_B: true classes.
        steps: gradient steps.
        objective: to be raised.
    """
    run = _Ascent(model, z, ball, labels_B, objective)
    checked = checks(steps)
    before, since = z, 0
    for step in range(steps):
        ahead = ball.project(run.z + run.size * ball.steepest(run.g))
        share = MOMENTUM if step else 1.0
        moved = run.z + (ahead - run.z) * share + (run.z - before) * (1 - share)
        before = run.z
        run.go(ball.project(moved))
        since += 1
        if step + 1 in checked:
            run.halve(since)
            since = 0
    return Climbed(z=run.found, zero_gradient_B=run.zero_B)


def checks(steps: int) -> set[int]:
    """Steps after which progress is checked: gaps shrink from 22 to 6 % of all steps, by 3 %."""
    gap, least, shrink = (max(int(part * steps), 1) for part in (0.22, 0.06, 0.03))
    found, at = set(), gap
    while at <= steps:
        found.add(at)
        gap = max(gap - shrink, least)
        at += gap
    return found


class _Ascent:
    """Where an ascent is, and the best that it saw; axes of samples as in the ball.

    Attributes:
        z: the points.
        g: gradient there.
        size: length of the next step of each sample.
        found: what to return.
        zero_B: samples whose gradients were all zero.
    """

    def __init__(
        self,
        model: SpikingClassifier,
        z: Tensor,
        ball: Ball,
        labels_B: Tensor,
        objective: Objective,
    ) -> None:
        self.model, self.ball, self.labels_B, self.objective = model, ball, labels_B, objective
        self.zero_B = torch.ones_like(labels_B, dtype=torch.bool)
        self.fooled_B = ~self.zero_B
        self.z = self.best = self.found = z
        self.loss_B, self.g, right_B = self._look(z)
        self._keep(right_B)
        self.best_loss_B, self.best_g = self.loss_B, self.g
        self.size = ball.shaped(torch.full_like(self.loss_B, 2 * ball.epsilon))
        self.rises_B = torch.zeros_like(labels_B)
        self.checked_loss_B = self.loss_B
        self.halved_B = torch.ones_like(self.zero_B)

    def go(self, z: Tensor) -> None:
        """Move on, and remember what was found there."""
        self.z, before_B = z, self.loss_B
        self.loss_B, self.g, right_B = self._look(z)
        self._keep(right_B)
        self.rises_B += self.loss_B > before_B
        better_B = self.loss_B > self.best_loss_B
        self.best = self._where(better_B, z, self.best)
        self.best_g = self._where(better_B, self.g, self.best_g)
        self.found = self._where(better_B & ~self.fooled_B, z, self.found)
        self.best_loss_B = torch.where(better_B, self.loss_B, self.best_loss_B)

    def halve(self, steps: int) -> None:
        """Halve the steps of samples that do not get ahead, and go on from their best points."""
        stuck_B = self.rises_B <= steps * IMPROVED
        idle_B = ~self.halved_B & (self.checked_loss_B >= self.best_loss_B)
        self.halved_B = stuck_B | idle_B
        self.size = self._where(self.halved_B, self.size / 2, self.size)
        self.z = self._where(self.halved_B, self.best, self.z)
        self.g = self._where(self.halved_B, self.best_g, self.g)
        self.checked_loss_B = self.best_loss_B
        self.rises_B = torch.zeros_like(self.rises_B)

    def _look(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, gradient, and whether samples are classified rightly."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            response = self.model.response(z, self.ball.threat.space)
            loss_B = self.objective(response)
            (g,) = torch.autograd.grad(loss_B.sum(), z)
        self.zero_B &= ~per_sample(g, self.ball.threat.space).any(1)
        right_B = self.model.decided(response) == self.labels_B
        return loss_B.detach(), g, right_B

    def _keep(self, right_B: Tensor) -> None:
        """The last point that fools the network is the one to return."""
        self.found = self._where(~right_B, self.z, self.found)
        self.fooled_B = self.fooled_B | ~right_B

    def _where(self, chosen_B: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return torch.where(self.ball.shaped(chosen_B), one, other)
