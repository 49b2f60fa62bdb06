"""What an attack did to a batch, as it is kept: counts, how samples fell, who broke them."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

from jobs.breaks import Breaks
from jobs.running.partial import Part, Parts, Points
from snnlib.evaluate import BatchOutcome
from snnlib.spec.attack import AnyAttack, Clean, Member, Suite
from snnlib.spec.suite import members

_ALIKE = frozenset({"name", "norm", "space", "clip", "steps", "queries", "source"})
"""What tells no member of a suite from another, or is the suite's own."""


def parts(
    attack: AnyAttack,
    radii: Sequence[Fraction],
    outcome: BatchOutcome,
    points: Sequence[Points | None],
    duration: float,
) -> list[Part]:
    """The outcome of one batch at each radius.

    Args:
        attack: what was done.
        radii: at which.
        outcome: what came of it.
        points: adversarial examples at each radius (`jobs.running.examples`).
        duration: seconds that it took at all of them.
    """
    correct, zero = outcome.correct_EB.cpu(), outcome.zero_gradient_EB.cpu()
    return [
        Part(
            epsilon=epsilon,
            correct=int(correct[place].sum()),
            total=correct.shape[1],
            mask=tuple(correct[place].tolist()),
            zero_gradient=int(zero[place].sum()),
            breaks=None if isinstance(attack, Clean) else _breaks(outcome, place),
            seconds=duration / len(radii),
            points=points[place],
        )
        for place, epsilon in enumerate(radii)
    ]


def _breaks(outcome: BatchOutcome, place: int) -> Breaks:
    """How samples fell at one radius."""
    broken_B = ~outcome.correct_EB[place]
    step, member, linf, l2 = (
        values_EB[place][broken_B].tolist()
        for values_EB in (outcome.step_EB, outcome.member_EB, outcome.linf_EB, outcome.l2_EB)
    )
    return Breaks(step=tuple(step), member=tuple(member), linf=math.fsum(linf), l2=math.fsum(l2))


def seconds(found: Parts, epsilons: Sequence[Fraction]) -> list[float]:
    """What each radius took, over all batches, ranks and attempts."""
    return [
        round(
            math.fsum(part.seconds for (_, radius), part in found.items() if radius == epsilon), 3
        )
        for epsilon in epsilons
    ]


def member_names(attack: AnyAttack) -> tuple[str, ...]:
    """Short names of a suite's members by what sets them apart; none for any other attack.

    Such as apgd, apgd/targets-9, apgd/atan-5/bptt, apgd/pdsg/bptt/100-steps.
    """
    if not isinstance(attack, Suite):
        return ()
    chain = members(attack)
    names = _distinct([_name(member) for member in chain], [_length(member) for member in chain])
    return tuple(_distinct(names, [f"number-{place}" for place in range(len(names))]))


def _distinct(names: Sequence[str], more: Sequence[str]) -> list[str]:
    """Names, with something more behind those that several share."""
    shared = Counter(names)
    pairs = zip(names, more, strict=True)
    return [f"{name}/{word}" if shared[name] > 1 and word else name for name, word in pairs]


def _length(member: Member) -> str:
    steps = getattr(member, "steps", None)
    return "" if steps is None else f"{steps}-steps"


def _name(member: Member) -> str:
    return "/".join([member.name, *(_word(*option) for option in _options(member))])


def _options(part: object) -> Iterator[tuple[str, object]]:
    """Fields of a specification that have no usual value, but for those of `_ALIKE`."""
    assert dataclasses.is_dataclass(part)
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name not in _ALIKE and value != field.default:
            yield field.name, value


def _word(name: str, value: object) -> str:
    if not dataclasses.is_dataclass(value):
        return value if isinstance(value, str) else f"{name}-{value}"
    own = [str(option) for _, option in _options(value)]
    return "-".join([getattr(value, "name", name), *own])
