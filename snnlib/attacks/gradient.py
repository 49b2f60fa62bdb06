"""Attacks along the input gradient, in any perturbation space.

z is a point of the attack's space (`SpikingClassifier.lift`): images [B, C, H, W] in `pixel`, else
[T, B, C, H, W], time first. Radii and step lengths are in the units of that space: of the range
[0, 1], or in `encoded` those of the encoder's output, i.e. of normalised images under
`Direct(mean, std)`, where a pixel's 8/255 is 8/255/std.

The functions use the network in the mode it is in; call them inside `classifier.frozen(model)`, which
sets evaluation mode and keeps parameters without gradients. `key` (`noise.Key(seed=..., stream=...,
samples_B=...)`) seeds what is random. For given noise there are `from_signs` (R-FGSM with given signs)
and `ascend` (PGD or BIM from a given start).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.ball import Ball
from snnlib.attacks.expectation import Objective, slope
from snnlib.attacks.guards import batch_axis, per_sample
from snnlib.attacks.part import Part
from snnlib.classifier import SpikingClassifier
from snnlib.losses import LOSSES
from snnlib.spec.attack import BIM, FGSM, PGD, RFGSM, GradientAttack, Space
from snnlib.spec.neuron import ASSG
from snnlib.spec.values import step_length


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point that an attack proposes.

    Attributes:
        epsilon: position of its radius in the grid.
        z: the point.
        zero_gradient_B: samples whose gradient was exactly zero in every step.
        steps_B: gradient steps or queries it took, over restarts and targets; one number if equal.
        rows_B: which samples of the batch it is of, ascending positions; all if None.
    """

    epsilon: int
    z: Tensor
    zero_gradient_B: Tensor
    steps_B: Tensor | int = 1
    rows_B: Tensor | None = None


Candidates = Generator[Candidate, Tensor | None, None]
"""What an attack proposes, point by point.

Whoever asks may answer each with what stands after it, bool [epsilons, samples]: broken samples
leave the attack between its runs then. A plain loop answers nothing, and all samples stay.
"""


def gradient(
    model: SpikingClassifier, z: Tensor, labels_B: Tensor, attack: GradientAttack
) -> Tensor:
    """Gradient of the summed loss with respect to z; each sample's part is its own."""
    objective = Objective(lambda response: LOSSES[attack.loss](response, labels_B), attack.draws)
    return slope(model, z, attack.space, objective)[1]


@torch.no_grad()
def rivals(model: SpikingClassifier, origin: Tensor, labels_B: Tensor, space: Space) -> Tensor:
    """The classes besides the label, those of the largest logits first, [B, K - 1].

    Where a tie is decided by the current, or one draw of noise is not like the others, the label
    of a sample that is classified correctly need not have the largest logit.
    """
    logits_BK = model.predicted(origin, space)[1]
    ranked_BK = logits_BK.scatter(1, labels_B[:, None], float("inf"))
    return ranked_BK.argsort(dim=1, descending=True, stable=True)[:, 1:]


def fgsm(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: FGSM,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """z = origin + epsilon sign(g), g = dL/dz at origin (Goodfellow et al. 2015, section 4).

    In l2 the step is epsilon g / |g|. Its direction does not depend on epsilon, so one gradient
    serves the whole grid.
    """
    with model.keyed(key):
        g = gradient(model, origin, labels_B, attack)
    zero_B = ~per_sample(g, attack.space).any(1)
    for index, epsilon in enumerate(map(float, epsilons)):
        ball = Ball.around(model, origin, epsilon, attack.threat)
        z = ball.project(origin + epsilon * ball.steepest(g))
        yield Candidate(epsilon=index, z=z, zero_gradient_B=zero_B)


def rfgsm(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: RFGSM,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """z = x' + (epsilon - alpha) sign(g) with x' = origin + alpha n, g = dL/dz at x'.

    n are random signs, the same for every radius; x' may leave the bounds, z may not (Tramer et al.
    2018, section 4.1; HoSNN's alpha is epsilon/2).
    """
    signs = random_signs(origin, attack.space, key)
    for index, exact in enumerate(epsilons):
        epsilon, alpha = float(exact), float(step_length(attack.alpha, exact))
        with model.keyed(key):
            z, zero_B = from_signs(model, origin, labels_B, signs, attack, (epsilon, alpha))
        yield Candidate(epsilon=index, z=z, zero_gradient_B=zero_B)


def from_signs(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    signs: Tensor,
    attack: RFGSM,
    lengths: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """R-FGSM with given random signs.

    Args:
        model: the network.
        origin: points of the attack's space.
        labels_B: their classes.
        signs: of the random step, -1 and 1, shaped as `origin`.
        attack: loss, space and clip.
        lengths: epsilon and alpha.

    Returns:
        The attacked points, and the samples whose gradient was exactly zero.
    """
    epsilon, alpha = lengths
    begin = origin + alpha * signs
    g = gradient(model, begin, labels_B, attack)
    ball = Ball.around(model, origin, epsilon, attack.threat)
    z = ball.project(begin + (epsilon - alpha) * g.sign())
    return z, ~per_sample(g, attack.space).any(1)


def random_signs(origin: Tensor, space: Space, key: noise.Key) -> Tensor:
    """-1 or 1 for each value of each sample, keyed on the sample."""
    axis = batch_axis(space)
    own = replace(key, stream=f"{key.stream}/signs")
    unit = noise.uniform(origin.movedim(axis, 0).shape[1:], own).movedim(0, axis)
    return torch.where(unit < 0.5, -1.0, 1.0).to(origin)


def bim(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: BIM,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """Ascent in steps of epsilon/steps from the origin (Kurakin et al. 2017, eq. 2)."""
    whole = Part.whole(origin, labels_B, key, attack.space)
    first = shared(model, whole, attack, radii=len(epsilons))
    for index, exact in enumerate(epsilons):
        ball = Ball.around(model, origin, float(exact), attack.threat)
        with model.keyed(key):
            z, zero_B = _risen(model, whole, ball, attack, (ball.epsilon / attack.steps, first))
        yield Candidate(epsilon=index, z=z, zero_gradient_B=zero_B, steps_B=attack.steps)


def shared(
    model: SpikingClassifier, whole: Part, attack: GradientAttack, *, radii: int
) -> Tensor | None:
    """The gradient at the origin, with which an ascent begins at every radius.

    None where every ascent must see a gradient of its own: under noise, and with a surrogate that
    remembers the gradients it gave.
    """
    if radii == 1 or model.noisy(attack.space) or isinstance(attack.surrogate, ASSG):
        return None
    with model.keyed(whole.key):
        return gradient(model, whole.origin, whole.labels_B, attack)


def _risen(
    model: SpikingClassifier,
    part: Part,
    ball: Ball,
    attack: BIM | PGD,
    way: tuple[float, Tensor | None],
) -> tuple[Tensor, Tensor]:
    """`ascend` from the origin in steps of a length, of which the first may be known already."""
    step, first = way
    if first is None:
        return ascend(model, part.origin, ball, part.labels_B, attack, step)
    g = part.of(first)
    z = ball.project(part.origin + step * ball.steepest(g))
    rest = replace(attack, steps=attack.steps - 1)
    z, zero_B = ascend(model, z, ball, part.labels_B, rest, step)
    return z, zero_B & ~per_sample(g, attack.space).any(1)


def ascend(
    model: SpikingClassifier,
    z: Tensor,
    ball: Ball,
    labels_B: Tensor,
    attack: BIM | PGD,
    step: float,
) -> tuple[Tensor, Tensor]:
    """Steps of one length along the steepest ascent, each projected onto ball and bounds.

    Args:
        model: the network.
        z: where to start.
        ball: where to stay.
        labels_B: classes.
        attack: number of steps, loss and space.
        step: its length.

    Returns:
        The last point, and the samples whose gradient was exactly zero in every step.
    """
    zero_B = torch.ones_like(labels_B, dtype=torch.bool)
    for _ in range(attack.steps):
        g = gradient(model, z, labels_B, attack)
        zero_B &= ~per_sample(g, attack.space).any(1)
        z = ball.project(z + step * ball.steepest(g))
    return z, zero_B


def pgd(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: PGD,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """z_{k+1} = P(z_k + a sign(dL/dz_k)), P onto ball and range (Madry et al. 2018, eq. 2.1).

    Each radius and restart begins its own stream of noise, so a candidate does not depend on
    which others are asked for.
    """
    whole = Part.whole(origin, labels_B, key, attack.space)
    first = None if attack.random_start else shared(model, whole, attack, radii=len(epsilons))
    standing_EB = None
    for index, exact in enumerate(epsilons):
        step = float(step_length(attack.step_size, exact))
        for restart in range(attack.restarts):
            part = whole.standing(standing_EB, index)
            if part is None:
                break
            ball = Ball.around(model, part.origin, float(exact), attack.threat)
            own = replace(part.key, stream=f"{key.stream}/restart/{restart}")
            begin = ball.scattered(own) if attack.random_start else None
            with model.keyed(own):
                if begin is None:
                    z, zero_B = _risen(model, part, ball, attack, (step, first))
                else:
                    z, zero_B = ascend(model, begin, ball, part.labels_B, attack, step)
            standing_EB = yield Candidate(
                epsilon=index,
                z=z,
                zero_gradient_B=zero_B,
                steps_B=(restart + 1) * attack.steps,
                rows_B=part.rows_B,
            )
