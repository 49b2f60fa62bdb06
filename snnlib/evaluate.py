"""Attack a batch and judge the outcome, without trusting the attack."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor, nn

from snnlib import noise
from snnlib.attacks import ATTACKS, guards
from snnlib.attacks.ball import Ball
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.spec.attack import AnyAttack, Attack, Blind, Clean, Space

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class BatchOutcome:
    """What an attack did to a batch; the padding is left out.

    Attributes:
        correct_EB: still classified correctly, bool [epsilons, samples].
        zero_gradient_EB: the attack saw exactly zero gradients only, bool [epsilons, samples].
    """

    correct_EB: Tensor
    zero_gradient_EB: Tensor


def attack_batch(
    model: SpikingClassifier,
    attack: AnyAttack,
    epsilons: Sequence[Fraction],
    batch: Batch,
    *,
    seed: int,
    before_pass: Callable[[], object] | None = None,
) -> BatchOutcome:
    """Attack a batch at every radius; a sample stays correct if it withstands every candidate.

    The network is used in evaluation mode and left as it was.

    Args:
        model: the network.
        attack: what to do.
        epsilons: radii; (0,) for Clean.
        batch: samples, padded to the shape that all batches have.
        seed: of the attack's and the encoder's randomness.
        before_pass: called before each pass through the network, thus between any two steps of any
            attack; what it raises ends the attack at once and comes out here.

    Raises:
        GuardBroken: the attack broke its threat model or changed the network.
        NotFinite: an image or a logit is NaN or infinite.
    """
    key = noise.Key(seed=seed, stream="evaluation", samples_B=batch.samples_B)
    with frozen(model), guards.unchanged(model), _hooked(model.layers, before_pass):
        if isinstance(attack, Clean):
            correct_EB = _judge(model, batch.images_BCHW, "pixel", batch, key)[None]
            return _outcome(correct_EB, torch.zeros_like(correct_EB), batch.count)
        return _attacked(model, attack, epsilons, batch, key)


@contextmanager
def _hooked(layers: nn.Module, before_pass: Callable[[], object] | None) -> Iterator[None]:
    if before_pass is None:
        yield
        return

    def hook(_module: nn.Module, _inputs: object) -> None:
        before_pass()

    handle = layers.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _attacked(
    model: SpikingClassifier,
    attack: Attack,
    epsilons: Sequence[Fraction],
    batch: Batch,
    key: noise.Key,
) -> BatchOutcome:
    with model.keyed(key), torch.no_grad():
        origin = model.lift(batch.images_BCHW, attack.space)
    shape = (len(epsilons), len(batch.labels_B))
    correct_EB = torch.ones(shape, dtype=torch.bool, device=origin.device)
    zero_EB = correct_EB.clone()
    attacker = replace(key, stream="attack")
    surrogate, rule = (
        ("own", "own") if isinstance(attack, Blind) else (attack.surrogate, attack.gradient)
    )
    with model.surrogate(surrogate), model.gradient(rule):
        found = ATTACKS[attack.name](
            model, origin, batch.labels_B, attack=attack, epsilons=epsilons, key=attacker
        )
        for candidate in found:
            index, epsilon = candidate.epsilon, float(epsilons[candidate.epsilon])
            guards.check(
                candidate.z,
                origin,
                epsilon=epsilon,
                threat=attack.threat,
                bounds=model.bounds(attack.space),
                samples_B=batch.samples_B,
            )
            z = Ball.around(model, origin, epsilon, attack.threat).project(candidate.z)
            correct_EB[index] &= _judge(model, z, attack.space, batch, key)
            zero_EB[index] &= candidate.zero_gradient_B
    return _outcome(correct_EB, zero_EB, batch.count)


def _judge(
    model: SpikingClassifier, z: Tensor, space: Space, batch: Batch, key: noise.Key
) -> Tensor:
    """Which samples are classified correctly; the encoder's noise is not the attacker's."""
    with model.keyed(key), torch.no_grad():
        predicted_B, logits_BK = model.predicted(z, space)
    guards.finite_logits(logits_BK, batch.samples_B)
    return predicted_B == batch.labels_B


def _outcome(correct_EB: Tensor, zero_EB: Tensor, count: int) -> BatchOutcome:
    return BatchOutcome(correct_EB=correct_EB[:, :count], zero_gradient_EB=zero_EB[:, :count])


def batches(total: int, size: int) -> list[range]:
    """Consecutive ranges of `size` positions that cover 0..total-1; the last may be shorter."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def shard(chosen: Sequence[Item], rank: int, world: int) -> list[Item]:
    """The items of one process: every one belongs to exactly one, none is counted twice."""
    return list(chosen[rank::world])
