"""The verdict of a masking audit, a pure function of what was measured.

Gradient masking lets a network look robust because the attack is weak (Athalye, Carlini and Wagner
2018, arXiv 1802.00420, section 3.1; Carlini et al. 2019, arXiv 1902.06705, section 5). What is judged
is an evaluation: a network under one attacker's loss, surrogate, gradient rule and space.

Where two attacks are compared, it is on the same samples: those that one alone fooled against those
that the other alone fooled. A difference counts only if it matters, and if fair coins would hardly
ever show it (exact McNemar test). `LIMITS` were set beside what plain adversarially trained networks
of rectifiers and of LIF neurons show on digits.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Comparison = Literal["one_step", "black_box", "noise", "rising", "steps", "masking_gap", "eot"]
Item = Literal[Comparison, "unbounded", "zero_gradient", "finite_difference"]
Verdict = Literal["pass", "suspicious", "fail"]
VERDICTS: tuple[Verdict, ...] = ("pass", "suspicious", "fail")
"""Ascending."""

EPSILONS = (Fraction(8, 255), Fraction(32, 255))
"""Radii unless others are given, 1/32 and 1/8 of the range: where photographs and where handwritten
digits are usually attacked. One of them lies where attacks fool some samples and not all."""
ALPHA = 0.005
"""Chance that one comparison of two equally strong attacks accuses a network. An audit makes about
20, but in most of them the judged attack is the stronger one, unless it is masked."""
Z_ALPHA = 2.576
"""The one-sided normal quantile of ALPHA."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """From which value on an item is suspicious, and from which it fails."""

    suspicious: float
    fail: float


LIMITS: dict[Item, Limit] = {
    # other surrogates find a few samples more even where nothing is masked: up to 0.06 seen
    "masking_gap": Limit(suspicious=0.08, fail=0.2),
    # surrogate gradients are coarse at small radii: up to 0.045 seen of honest spiking networks
    "black_box": Limit(suspicious=0.06, fail=0.12),
    # shares of all samples that a weaker attack finds beyond a stronger one: none, but for chance
    "one_step": Limit(suspicious=0.02, fail=0.1),
    "noise": Limit(suspicious=0.02, fail=0.1),
    "rising": Limit(suspicious=0.02, fail=0.1),
    # shares of all samples: an attacker without bounds can show any image
    "unbounded": Limit(suspicious=0.01, fail=0.1),
    # a gradient of exactly zero is an accident of rounding where a network is not built for it
    "zero_gradient": Limit(suspicious=0.01, fail=0.1),
    # cosine, lower is worse: 1 for a linear network, 0.9 seen of rectifiers, 0.4 to 0.6 of spikes
    "finite_difference": Limit(suspicious=0.2, fail=0.05),
    # the attack is too weak, which more steps or draws would mend
    "steps": Limit(suspicious=0.05, fail=0.2),
    "eot": Limit(suspicious=0.05, fail=0.2),
}
"""Of every item of the checklist, the most telling first."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two attacks on the same samples.

    Attributes:
        epsilon: radius of the judged attack.
        judged: samples that withstand the judged attack.
        other: samples that withstand the other one.
        found: fooled by the other alone.
        missed: fooled by the judged one alone.
    """

    epsilon: Fraction
    judged: int
    other: int
    found: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured, in samples.

    Attributes:
        total: attacked.
        clean: classified correctly without an attack.
        pairs: judged attack and others, by item; none where an item has no meaning.
        survivors: classified correctly whatever the judged attacker did within the whole range.
        zero_gradient: whose judged gradient is exactly zero.
        cosine: between the judged gradient of the margin and finite differences, mean of samples.
        cosine_error: its standard error.
    """

    total: int
    clean: int
    pairs: Mapping[Comparison, Sequence[Pair]]
    survivors: int
    zero_gradient: int
    cosine: float
    cosine_error: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One item of the checklist.

    Attributes:
        item: its name.
        verdict: of this item alone.
        value: share of samples, or cosine, that was compared with the limit.
        limit: of this item.
        text: what it means, in one sentence.
        pair: the comparison that it rests on, at the radius where it is worst; None for items that
            compare no attacks.
    """

    item: Item
    verdict: Verdict
    value: float
    limit: Limit
    text: str
    pair: Pair | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict, that of the worst item, and all items, worst first."""

    verdict: Verdict
    findings: tuple[Finding, ...]


_SENTENCES: dict[Comparison, str] = {
    "one_step": "one step finds {points} points more than many",
    "black_box": "a search without gradients finds {points} points more",
    "noise": "points drawn at random find {points} points more",
    "rising": "a larger radius leaves {points} points more correct than a smaller one",
    "steps": "twice as many steps find {points} points more",
    "masking_gap": "the attacker's own surrogate and loss find {points} points more",
    "eot": "gradients averaged over the encoder's noise find {points} points more",
}


def judge(figures: Figures) -> Judgement:
    """The verdict on what was measured."""
    findings = [
        _compared(item, pairs, figures.total) for item, pairs in figures.pairs.items() if pairs
    ]
    findings += _alone(figures)
    order = list(LIMITS)
    findings.sort(key=lambda f: (-VERDICTS.index(f.verdict), order.index(f.item)))
    return Judgement(verdict=findings[0].verdict, findings=tuple(findings))


def beyond_chance(found: int, missed: int) -> bool:
    """Whether fair coins would show so many heads, or more, with a chance below ALPHA."""
    tosses = found + missed
    ways = sum(math.comb(tosses, heads) for heads in range(found, tosses + 1))
    return ways / (1 << tosses) < ALPHA


def least_share(count: int, total: int) -> float:
    """The least share that a count can stand for (Wilson 1927, one-sided at ALPHA)."""
    share, z2 = count / total, Z_ALPHA**2
    half = Z_ALPHA * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, (share + z2 / (2 * total) - half) / (1 + z2 / total))


def _compared(item: Comparison, pairs: Sequence[Pair], total: int) -> Finding:
    """The radius at which an item is worst."""
    findings = [_pair(item, pair, total) for pair in pairs]
    return max(findings, key=lambda found: (VERDICTS.index(found.verdict), found.value))


def _pair(item: Comparison, pair: Pair, total: int) -> Finding:
    value = (pair.found - pair.missed) / total
    real = beyond_chance(pair.found, pair.missed)
    points = f"{100 * max(value, 0):.1f}"
    where = f"at {_radius(pair.epsilon)}"
    return Finding(
        item=item,
        verdict=_verdict(value, LIMITS[item]) if real else "pass",
        value=value,
        limit=LIMITS[item],
        text=f"{_SENTENCES[item].format(points=points)} {where}",
        pair=pair,
    )


def _alone(figures: Figures) -> Iterator[Finding]:
    total = figures.total
    shares: tuple[tuple[Item, int, str], ...] = (
        ("unbounded", figures.survivors, "withstand changes of the whole range"),
        ("zero_gradient", figures.zero_gradient, "have a gradient of exactly zero"),
    )
    for item, count, what in shares:
        # the count must be too large for the limit by more than chance
        real = least_share(count, total) > LIMITS[item].suspicious
        yield Finding(
            item=item,
            verdict=_verdict(count / total, LIMITS[item]) if real else "pass",
            value=count / total,
            limit=LIMITS[item],
            text=f"{count} of {total} images {what}",
        )
    limit = LIMITS["finite_difference"]
    highest = figures.cosine + Z_ALPHA * figures.cosine_error
    # so that what is no number passes nothing
    verdict: Verdict = "suspicious" if highest >= limit.fail else "fail"
    yield Finding(
        item="finite_difference",
        verdict="pass" if highest >= limit.suspicious else verdict,
        value=figures.cosine,
        limit=limit,
        text=f"the gradient's cosine with finite differences is {figures.cosine:.2f}",
    )


def _verdict(value: float, limit: Limit) -> Verdict:
    if value >= limit.fail:
        return "fail"
    return "suspicious" if value >= limit.suspicious else "pass"


def _radius(epsilon: Fraction) -> str:
    """A radius in 255ths where that is exact."""
    in_255 = epsilon * 255
    return f"{in_255.numerator}/255" if in_255.denominator == 1 else str(epsilon)
