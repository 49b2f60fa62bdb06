"""Attacks along the sign of the input gradient: FGSM and PGD, in any perturbation space.

z is a point of the attack's space (`SpikingClassifier.lift`): images [B, C, H, W] in `pixel`, else
[T, B, C, H, W]. Radii and step lengths are in units of the input range [0, 1].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.guards import batch_axis, per_sample
from snnlib.classifier import SpikingClassifier
from snnlib.losses import LOSSES
from snnlib.spec.attack import FGSM, PGD, ThreatModel
from snnlib.spec.values import step_length


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point that an attack proposes.

    Attributes:
        epsilon: position of its radius in the grid.
        z: the point.
        zero_gradient_B: samples whose gradient was exactly zero in every step.
    """

    epsilon: int
    z: Tensor
    zero_gradient_B: Tensor


def project(z: Tensor, origin: Tensor, epsilon: float, threat: ThreatModel) -> Tensor:
    """The nearest point of the l-infinity ball around `origin`, and of [0, 1] if that binds."""
    z = torch.minimum(torch.maximum(z, origin - epsilon), origin + epsilon)
    return z.clamp(0, 1) if threat.clip else z


def gradient(model: SpikingClassifier, z: Tensor, labels_B: Tensor, attack: FGSM | PGD) -> Tensor:
    """Gradient of the summed loss with respect to z; each sample's part is its own."""
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        loss = LOSSES[attack.loss](model.logits(z, attack.space), labels_B).sum()
    return torch.autograd.grad(loss, z)[0]


def fgsm(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: FGSM,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Iterator[Candidate]:
    """z = origin + epsilon sign(g), g = dL/dz at origin (Goodfellow et al. 2015, section 4).

    The sign does not depend on epsilon, so one gradient serves the whole grid.
    """
    with model.keyed(key):
        g = gradient(model, origin, labels_B, attack)
    zero_B = ~per_sample(g, attack.space).any(1)
    for index, epsilon in enumerate(map(float, epsilons)):
        z = project(origin + epsilon * g.sign(), origin, epsilon, attack.threat)
        yield Candidate(epsilon=index, z=z, zero_gradient_B=zero_B)


def pgd(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: PGD,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Iterator[Candidate]:
    """z_{k+1} = P(z_k + a sign(dL/dz_k)), P onto ball and range (Madry et al. 2018, eq. 2.1).

    Each radius and restart begins its own stream of noise, so a candidate does not depend on
    which others are asked for.
    """
    for index, exact in enumerate(epsilons):
        epsilon, step = float(exact), float(step_length(attack.step_size, exact))
        for restart in range(attack.restarts):
            own = replace(key, stream=f"{key.stream}/restart/{restart}")
            z = start(origin, epsilon, attack, own)
            zero_B = torch.ones_like(labels_B, dtype=torch.bool)
            with model.keyed(own):
                for _ in range(attack.steps):
                    g = gradient(model, z, labels_B, attack)
                    zero_B &= ~per_sample(g, attack.space).any(1)
                    z = project(z + step * g.sign(), origin, epsilon, attack.threat)
            yield Candidate(epsilon=index, z=z, zero_gradient_B=zero_B)


def start(origin: Tensor, epsilon: float, attack: PGD, key: noise.Key) -> Tensor:
    """Where PGD begins: uniformly in the ball, keyed on each sample, or at the origin."""
    if not attack.random_start:
        return origin
    axis = batch_axis(attack.space)
    own = replace(key, stream=f"{key.stream}/start")
    unit = noise.uniform(origin.movedim(axis, 0).shape[1:], own).movedim(0, axis)
    return project(origin + epsilon * (2 * unit - 1), origin, epsilon, attack.threat)
