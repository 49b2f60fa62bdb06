"""The inner maximisation of adversarial training."""

from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks import ATTACKS, guards
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.losses import LOSSES
from snnlib.spec.attack import Attack


def adversarial(
    model: SpikingClassifier,
    images_BCHW: Tensor,
    labels_B: Tensor,
    *,
    attack: Attack,
    epsilon: Fraction,
    key: noise.Key,
) -> Tensor:
    """Attack the network as it is, in evaluation mode (Madry et al. 2018, eq. 2.1).

    Returns:
        A point of the attack's space. Of several restarts it is the one of the largest loss, for
        each sample by itself.
    """
    with frozen(model):
        with model.keyed(key), torch.no_grad():
            origin = model.lift(images_BCHW, attack.space)
        with model.surrogate(attack.surrogate), model.gradient(attack.gradient):
            found = ATTACKS[attack.name](
                model, origin, labels_B, attack=attack, epsilons=(epsilon,), key=key
            )
            points = [candidate.z for candidate in found]
        for z in points:
            guards.check(
                z,
                origin,
                epsilon=float(epsilon),
                threat=attack.threat,
                bounds=model.bounds(attack.space),
                samples_B=key.samples_B,
            )
        return points[0] if len(points) == 1 else _strongest(model, points, labels_B, attack, key)


def _strongest(
    model: SpikingClassifier,
    points: list[Tensor],
    labels_B: Tensor,
    attack: Attack,
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
