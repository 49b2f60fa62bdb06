"""Attack a batch and judge the outcome, without trusting the attack."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor, nn

from snnlib import noise
from snnlib.attacks import ATTACKS, FILLS_PASSES, guards
from snnlib.attacks.ball import Ball
from snnlib.attacks.gradient import Candidate, Candidates
from snnlib.attacks.part import Part
from snnlib.attacks.transfer import armed_members
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.spec.attack import AnyAttack, Attack, Blind, Clean, Member, Transfer

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class BatchOutcome:
    """What an attack did to a batch; the padding is left out.

    Attributes:
        correct_EB: still classified correctly, bool [epsilons, samples].
        zero_gradient_EB: the attack saw exactly zero gradients only, until it broke the sample; of
            a suite those members count that look at this network's; bool [epsilons, samples].
        member_EB: position of the suite's member that broke the sample, 0 for an attack that is no
            suite, -1 where the sample stands; int16 [epsilons, samples].
        step_EB: gradient steps or queries that this member had made when it found the point, over
            its restarts and targets; -1 where the sample stands; int32 [epsilons, samples].
        linf_EB: maximum norm of the perturbation that broke the sample, 0 where it stands; float32
            [epsilons, samples].
        l2_EB: its Euclidean norm, float32 [epsilons, samples].
        examples: of the batch's first samples the point that broke each, else the last one tried,
            [epsilons, samples, ...]; None if none are wanted.
    """

    correct_EB: Tensor
    zero_gradient_EB: Tensor
    member_EB: Tensor
    step_EB: Tensor
    linf_EB: Tensor
    l2_EB: Tensor
    examples: Tensor | None = None


def attack_batch(  # noqa: PLR0913 - four arguments say what is computed, three how
    model: SpikingClassifier,
    attack: AnyAttack,
    epsilons: Sequence[Fraction],
    batch: Batch,
    *,
    seed: int,
    before_pass: Callable[[], object] | None = None,
    save_examples: int = 0,
) -> BatchOutcome:
    """Attack a batch at every radius; a sample stays correct if it withstands every candidate.

    The network is used in evaluation mode and left as it was. Members of a suite run one after the
    other, each on the samples that the ones before left standing.

    Args:
        model: the network.
        attack: what to do.
        epsilons: radii; (0,) for Clean.
        batch: samples, padded to the shape that all batches have.
        seed: of the attack's and the encoder's randomness.
        before_pass: called before each pass through the network, thus between any two steps of any
            attack; what it raises ends the attack at once and comes out here.
        save_examples: of how many samples, from the batch's first on, points are returned.

    Raises:
        GuardBroken: the attack broke its threat model or changed the network.
        NotFinite: an image or a logit is NaN or infinite.
    """
    key = noise.Key(seed=seed, stream="evaluation", samples_B=batch.samples_B)
    space = "pixel" if isinstance(attack, Clean) else attack.space
    with (
        frozen(model),
        guards.unchanged(model),
        _hooked(model.layers, before_pass),
        guards.finite(model),
    ):
        with model.keyed(key), torch.no_grad():
            origin = model.lift(batch.images_BCHW, space)
        whole = Part.whole(origin, batch.labels_B, key, space)
        if isinstance(attack, Clean):
            tally = _Tally(whole, batch.count, 1, save_examples)
            tally.standing_EB[0] &= _judge(model, whole)
        else:
            tally = _Tally(whole, batch.count, len(epsilons), save_examples)
            _run(model, attack, epsilons, whole, tally)
    return tally.outcome(batch.count)


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


def _run(
    model: SpikingClassifier,
    attack: Attack,
    epsilons: Sequence[Fraction],
    whole: Part,
    tally: "_Tally",
) -> None:
    """Run the members of an attack, and judge each point that they propose."""
    chain = armed_members(attack)
    bounds = model.bounds(attack.space)
    for place, member in enumerate(chain):
        # the first one sees the whole batch, so that every batch begins in the same shape
        part = whole.standing(tally.standing_EB.any(0, keepdim=True), 0) if place else whole
        if part is None:
            return
        stream = "attack" if len(chain) == 1 else f"attack/{place}"
        for candidate in _candidates(model, member, epsilons, part, stream, tally):
            own = part if candidate.rows_B is None else part.at(candidate.rows_B)
            epsilon = float(epsilons[candidate.epsilon])
            guards.check(
                candidate.z,
                own.origin,
                epsilon=epsilon,
                threat=attack.threat,
                bounds=bounds,
                samples_B=own.key.samples_B,
            )
            z = Ball.around(model, own.origin, epsilon, attack.threat).project(candidate.z)
            judged = replace(own, origin=z)
            tally.add(candidate, member, place, (own, judged), _judge(model, judged))


def _candidates(
    model: SpikingClassifier,
    member: Member,
    epsilons: Sequence[Fraction],
    part: Part,
    stream: str,
    tally: "_Tally",
) -> Iterator[Candidate]:
    """What an attack proposes, while it is told what stands; it ends when nothing does."""
    surrogate, rule = (
        ("own", "own") if isinstance(member, Blind) else (member.surrogate, member.gradient)
    )
    room = {"room": tally.standing_EB.shape[1]} if member.name in FILLS_PASSES else {}
    with model.surrogate(surrogate), model.gradient(rule):
        found: Candidates = ATTACKS[member.name](
            model,
            part.origin,
            part.labels_B,
            attack=member,
            epsilons=epsilons,
            key=replace(part.key, stream=stream),
            **room,
        )
        candidate = next(found, None)
        while candidate is not None:
            yield candidate
            standing_EB = tally.standing_EB[:, part.rows_B]
            if not bool(standing_EB.any()):
                return
            try:
                candidate = found.send(standing_EB)
            except StopIteration:
                return


def _judge(model: SpikingClassifier, part: Part) -> Tensor:
    """Which samples are classified correctly; the encoder's noise is not the attacker's."""
    with model.keyed(part.key), torch.no_grad():
        predicted_B, logits_BK = model.predicted(part.origin, part.space)
    guards.finite_logits(logits_BK, part.key.samples_B)
    return predicted_B == part.labels_B


class _Tally:
    """What of a batch stands at each radius, and what broke the rest.

    Attributes:
        standing_EB: samples that no point has broken; the padding counts as broken from the start.
    """

    def __init__(self, whole: Part, count: int, radii: int, save: int) -> None:
        shape, device = (radii, len(whole.labels_B)), whole.labels_B.device
        self.standing_EB = torch.ones(shape, dtype=torch.bool, device=device)
        self.standing_EB[:, count:] = False
        self._seen_EB = torch.zeros_like(self.standing_EB)  # gradients that were not zero
        self._looked = False
        self._member_EB = torch.full(shape, -1, dtype=torch.int16, device=device)
        self._step_EB = torch.full(shape, -1, dtype=torch.int32, device=device)
        self._linf_EB = torch.zeros(shape, device=device)
        self._l2_EB = torch.zeros(shape, device=device)
        self._examples = None
        if saved := min(save, count):
            first = whole.origin.movedim(guards.batch_axis(whole.space), 0)[:saved]
            self._examples = first.expand(radii, *first.shape).clone()

    def add(
        self,
        candidate: Candidate,
        member: Member,
        place: int,
        points: tuple[Part, Part],
        right_B: Tensor,
    ) -> None:
        """Take in what was judged.

        Args:
            candidate: what was proposed.
            member: by which attack.
            place: its position in the suite.
            points: the samples' origins, and the points that were judged.
            right_B: whether they are classified correctly.
        """
        origin, judged = points
        at = (candidate.epsilon, origin.rows_B)
        stood_B = self.standing_EB[at]
        if self._examples is not None:
            self._keep_examples(candidate.epsilon, judged, stood_B)
        if not isinstance(member, Blind) and not (place and isinstance(member, Transfer)):
            # a suite's transfer would tell of the source, the others tell of this network
            self._looked = True
            self._seen_EB[at] |= stood_B & ~candidate.zero_gradient_B
        broke_B = stood_B & ~right_B
        self.standing_EB[at] = stood_B & right_B
        rows = guards.per_sample(judged.origin - origin.origin, origin.space)
        found: dict[Tensor, Tensor | int] = {
            self._member_EB: place,
            self._step_EB: candidate.steps_B,
            self._linf_EB: rows.abs().amax(1).float(),
            self._l2_EB: rows.norm(dim=1).float(),
        }
        for known_EB, value in found.items():
            value_B = torch.as_tensor(value, device=rows.device).to(known_EB.dtype)
            known_EB[at] = torch.where(broke_B, value_B, known_EB[at])

    def _keep_examples(self, index: int, judged: Part, stood_B: Tensor) -> None:
        assert self._examples is not None, "asked for"
        z = judged.origin.movedim(guards.batch_axis(judged.space), 0)
        chosen_B = stood_B & (judged.rows_B < self._examples.shape[1])
        self._examples[index, judged.rows_B[chosen_B]] = z[chosen_B]

    def outcome(self, count: int) -> BatchOutcome:
        """All of it, without the padding."""
        zero_EB = ~self._seen_EB if self._looked else torch.zeros_like(self._seen_EB)
        return BatchOutcome(
            correct_EB=self.standing_EB[:, :count],
            zero_gradient_EB=zero_EB[:, :count],
            member_EB=self._member_EB[:, :count],
            step_EB=self._step_EB[:, :count],
            linf_EB=self._linf_EB[:, :count],
            l2_EB=self._l2_EB[:, :count],
            examples=self._examples,
        )


def batches(total: int, size: int) -> list[range]:
    """Consecutive ranges of `size` positions that cover 0..total-1; the last may be shorter."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def shard(chosen: Sequence[Item], rank: int, world: int) -> list[Item]:
    """The items of one process: every one belongs to exactly one, none is counted twice."""
    return list(chosen[rank::world])
