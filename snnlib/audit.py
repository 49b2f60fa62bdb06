"""What an audit measures of a network: who withstands which attack, and where gradients point.

Each sample counts by itself, whichever process had it. The verdict is drawn in `spec.audit`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from snnlib import distributed, noise
from snnlib.attacks import guards
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import random_signs
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.distributed import World
from snnlib.evaluate import attack_batch
from snnlib.losses import margin
from snnlib.spec.attack import PGD, AnyAttack, Clean, GradientAttack
from snnlib.spec.audit import Comparison, Figures, Pair
from snnlib.spec.audit_attacks import Attacks

SEED = 0
"""Of attacks and encoders, as in an evaluation."""
DIRECTIONS = 32
"""Random directions along which the margin of each sample is differenced."""
STRIDE = 1 / 16
"""Length of a difference in each value, in parts of the range: a margin of spikes moves only where
one comes or goes."""
_JUDGED = ("one_step", "steps", "longer", "restarts")
"""Names of the judged attacker's attacks."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is done to every batch.

    Attributes:
        attacks: of the audit.
        epsilons: radii, ascending.
        before_pass: called before each pass through the network; what it raises ends the audit.
    """

    attacks: Attacks
    epsilons: Sequence[Fraction]
    before_pass: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What samples showed.

    Attributes:
        correct: by attack, which samples are still classified correctly, bool [epsilons, samples];
            `clean` and `range` have one row.
        zero_B: the judged gradient is exactly zero at the sample.
        cosine_B: between the judged gradient of the margin and its differences, float64.
    """

    correct: dict[str, Tensor]
    zero_B: Tensor
    cosine_B: Tensor

    @property
    def judged(self) -> Tensor:
        """Which samples withstand all that the judged attacker did, bool [epsilons, samples]."""
        return torch.stack([self.correct[name] for name in _JUDGED if name in self.correct]).all(0)


def collect(model: SpikingClassifier, batches: Iterable[Batch], audit: Audit) -> list[Seen]:
    """Attack each batch in every way, in evaluation mode.

    Args:
        model: left as it was.
        batches: each sample counts once, padding does not.
        audit: what to do.

    Raises:
        GuardBroken: an attack broke its threat model or changed the network.
        NotFinite: an image, a logit or a gradient is NaN or infinite.
    """
    return [_look(model, batch, audit) for batch in batches]


def merged(world: World, own: list[Seen]) -> Seen:
    """What all samples showed, in the order of the split, known to each process.

    Args:
        world: the processes.
        own: of the batches that `evaluate.shard` gave this one.
    """
    parts = distributed.gather_objects(world, own)
    # batch i was dealt to process i modulo their number
    dealt = [parts[i % world.size][i // world.size] for i in range(sum(map(len, parts)))]
    return Seen(
        correct={name: torch.cat([s.correct[name] for s in dealt], 1) for name in dealt[0].correct},
        zero_B=torch.cat([s.zero_B for s in dealt]),
        cosine_B=torch.cat([s.cosine_B for s in dealt]),
    )


def figures(seen: Seen, epsilons: Sequence[Fraction]) -> Figures:
    """What all samples showed, in counts.

    Args:
        seen: of all samples.
        epsilons: radii, ascending.
    """
    masks, judged_EB, total = seen.correct, seen.judged, len(seen.zero_B)
    clean_B = masks["clean"][0]
    radii, falling_EB = (Fraction(0), *epsilons), torch.cat((masks["clean"], masks["steps"]))
    averaged = [masks[name] for name in masks if name.startswith("draws")]
    pairs: dict[Comparison, tuple[Pair, ...]] = {
        "masking_gap": _pairs(epsilons, judged_EB, masks["others"]),
        "black_box": _pairs(epsilons, judged_EB, masks["black_box"]),
        "one_step": _pairs(epsilons, masks["longer"], masks["one_step"]),
        "noise": _pairs(epsilons, judged_EB, masks["noise"]),
        "rising": tuple(
            _pair(radii[far], falling_EB[far], falling_EB[near])
            for near, far in combinations(range(len(radii)), 2)
        ),
        "steps": _pairs(epsilons, masks["steps"], masks["longer"]),
        "eot": tuple(p for one_EB in averaged for p in _pairs(epsilons, masks["steps"], one_EB)),
    }
    return Figures(
        total=total,
        clean=int(clean_B.sum()),
        pairs=pairs,
        survivors=int((judged_EB.all(0) & masks["range"][0] & clean_B).sum()),
        zero_gradient=int(seen.zero_B.sum()),
        cosine=float(seen.cosine_B.mean()),
        cosine_error=float(seen.cosine_B.std(correction=0)) / total**0.5,
    )


def _pairs(epsilons: Sequence[Fraction], judged_EB: Tensor, other_EB: Tensor) -> tuple[Pair, ...]:
    return tuple(map(_pair, epsilons, judged_EB, other_EB))


def _pair(epsilon: Fraction, judged_B: Tensor, other_B: Tensor) -> Pair:
    return Pair(
        epsilon=epsilon,
        judged=int(judged_B.sum()),
        other=int(other_B.sum()),
        found=int((judged_B & ~other_B).sum()),
        missed=int((other_B & ~judged_B).sum()),
    )


def _look(model: SpikingClassifier, batch: Batch, audit: Audit) -> Seen:
    attacks = audit.attacks
    low, high = model.bounds(attacks.steps.space)
    whole = Fraction(float((torch.as_tensor(high) - torch.as_tensor(low)).max()))
    masks: dict[str, Tensor] = {}

    def keep(name: str, attack: AnyAttack, epsilons: Sequence[Fraction]) -> Tensor:
        """Which gradients were zero, once the outcome is kept."""
        outcome = attack_batch(
            model, attack, epsilons, batch, seed=SEED, before_pass=audit.before_pass
        )
        kept_EB = outcome.correct_EB.cpu()
        masks[name] = masks[name] & kept_EB if name in masks else kept_EB
        return outcome.zero_gradient_EB.cpu()

    keep("clean", Clean(), (Fraction(0),))
    zero_EB = keep("one_step", attacks.one_step, audit.epsilons)
    keep("steps", attacks.steps, audit.epsilons)
    keep("longer", attacks.longer, audit.epsilons)
    for attack in (attacks.one_step, attacks.longer):
        keep("range", attack, (whole,))
    keep("noise", attacks.noise, audit.epsilons)
    keep("black_box", attacks.black_box, audit.epsilons)
    for attack in attacks.draws:
        keep(f"draws {attack.draws}", attack, audit.epsilons)
    seen = Seen(correct=masks, zero_B=zero_EB[0], cosine_B=_cosines(model, batch, audit))
    # what the restarts fool is judged too, and meets no others
    for name, those in (("restarts", (attacks.restarts,)), ("others", attacks.others)):
        masks[name] = torch.stack(
            [_left(model, batch, audit, those, place) for place in enumerate(seen.judged)]
        )
    return seen


def _left(
    model: SpikingClassifier,
    batch: Batch,
    audit: Audit,
    attacks: Sequence[PGD],
    left: tuple[int, Tensor],
) -> Tensor:
    """Those that withstand attacks, one after the other; whoever is fooled leaves.

    Args:
        model: the network.
        batch: all samples.
        audit: what to do.
        attacks: in this order.
        left: place of the radius, and who is left at the beginning.
    """
    epsilon, left_B = audit.epsilons[left[0]], left[1].clone()
    for attack in attacks:
        rows = torch.nonzero(left_B)[:, 0]
        if not len(rows):
            break
        at = rows.to(batch.labels_B.device)
        part = Batch(
            images_BCHW=batch.images_BCHW[at],
            labels_B=batch.labels_B[at],
            samples_B=batch.samples_B[at],
            count=len(rows),
        )
        outcome = attack_batch(
            model, attack, (epsilon,), part, seed=SEED, before_pass=audit.before_pass
        )
        left_B[rows] = outcome.correct_EB[0].cpu()
    return left_B


def _cosines(model: SpikingClassifier, batch: Batch, audit: Audit) -> Tensor:
    """Of each sample, between g v and the margin's difference over v, in random directions v.

    g is the judged attacker's gradient of the margin, v goes from one step of `STRIDE` along random
    signs to the opposite one, both within the bounds. 0 where either is zero in all directions.
    """
    attack = audit.attacks.one_step
    key = noise.Key(seed=SEED, stream="evaluation", samples_B=batch.samples_B)

    def margins(z: Tensor) -> Tensor:
        audit.before_pass()
        with model.keyed(key):  # the encoder's noise is the same at every point
            return margin(model.response(z, attack.space), batch.labels_B).double()

    with frozen(model), guards.unchanged(model), guards.finite(model):
        with model.keyed(key), torch.no_grad():
            origin = model.lift(batch.images_BCHW, attack.space)
        with model.keyed(key):  # backwards too, so that a guard can name the sample
            g = _slope(model, attack, origin, margins)
        ball = Ball.around(model, origin, float("inf"), attack.threat)
        pairs = []
        for place in range(DIRECTIONS):
            own = replace(key, stream=f"directions/{place}")
            step = STRIDE * random_signs(origin, attack.space, own)
            ahead, behind = ball.clip(origin + step), ball.clip(origin - step)
            told_B = guards.per_sample(g * (ahead - behind), attack.space).double().sum(1)
            with torch.no_grad():
                pairs.append(torch.stack((told_B, margins(ahead) - margins(behind))))
    told_BD, moved_BD = torch.stack(pairs, 2)
    # the usual least norm would tell of a small gradient that it points elsewhere
    cosine_B = functional.cosine_similarity(told_BD, moved_BD, dim=1, eps=1e-300)
    return cosine_B[: batch.count].cpu()


def _slope(
    model: SpikingClassifier,
    attack: GradientAttack,
    origin: Tensor,
    margins: Callable[[Tensor], Tensor],
) -> Tensor:
    with model.surrogate(attack.surrogate), model.gradient(attack.gradient), torch.enable_grad():
        z = origin.detach().clone().requires_grad_()
        (g,) = torch.autograd.grad(margins(z).sum(), z)
    return g
