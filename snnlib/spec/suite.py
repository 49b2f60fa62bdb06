"""What a suite is made of: attacks in the order in which they run.

The members follow from the suite's own fields alone, so its id says them all; a change of what
stands here needs a new `revision` of the suite.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from snnlib.spec.attack import (
    APGD,
    FAB,
    FGSM,
    MIFGSM,
    SAPGD,
    Attack,
    AttackLoss,
    AutoAttack,
    Member,
    Own,
    SpikingSuite,
    Square,
    Transfer,
)
from snnlib.spec.neuron import (
    ASSG,
    PDSG,
    ATan,
    AttackSurrogate,
    Exponential,
    Rectangle,
    Sigmoid,
    StraightThrough,
    Triangle,
)

TARGETS = 9
"""Classes that AutoAttack's members go towards."""
SWEEP: tuple[AttackSurrogate, ...] = (
    PDSG(),
    *(ASSG(half_area=Decimal(a)) for a in ("0.42", "0.35", "0.49")),
    StraightThrough(),
    *(ATan(alpha=Decimal(alpha)) for alpha in (2, 5, 10, 20)),
    *(Triangle(gamma=Decimal(gamma)) for gamma in ("0.25", "0.5", "1", "2", "3")),
    *(Rectangle(gamma=Decimal(gamma)) for gamma in ("0.25", "0.5", "1", "2", "4")),
    *(Sigmoid(alpha=Decimal(alpha)) for alpha in (2, 5, 10)),
    *(Exponential(alpha=Decimal(alpha)) for alpha in (1, 2, 5)),
)
"""Shapes and widths of the attacker's surrogate; those that adapt to the potentials first."""
STRONG: tuple[Own | AttackSurrogate, ...] = ("own", PDSG(), ASSG())
"""Surrogates of the long ascents: the network's, and those that adapt to the potentials."""
LOSSES: tuple[AttackLoss, ...] = ("current_cross_entropy", "margin")
"""What the long ascents raise: by the currents no readout masks anything, the margin decides."""


def members(attack: Attack) -> tuple[Member, ...]:
    """The attacks that a suite runs, in order; an attack that is no suite is its only member."""
    match attack:
        case AutoAttack():
            return tuple(_autoattack(attack))
        case SpikingSuite():
            return tuple(_snn(attack))
        case _:
            return (attack,)


def _autoattack(suite: AutoAttack) -> Iterator[Member]:
    """The standard version and its order (github fra31/auto-attack, version="standard")."""
    ascent = APGD(
        space=suite.space,
        clip=suite.clip,
        steps=suite.steps,
        surrogate=suite.surrogate,
        gradient=suite.gradient,
        draws=suite.draws,
    )
    yield ascent
    yield replace(ascent, targets=TARGETS)
    yield FAB(
        space=suite.space,
        clip=suite.clip,
        steps=suite.steps,
        targets=TARGETS,
        surrogate=suite.surrogate,
        gradient=suite.gradient,
    )
    yield Square(space=suite.space, clip=suite.clip, queries=suite.queries)


def _snn(suite: SpikingSuite) -> Iterator[Member]:
    """As published first, then by the gradient through all dynamics, whatever the network's rule."""
    space, clip, draws = suite.space, suite.clip, suite.draws
    yield FGSM(space=space, clip=clip, draws=draws)
    short = APGD(space=space, clip=clip, steps=suite.sweep_steps, draws=draws)
    yield short
    short = replace(short, loss="current_cross_entropy")
    yield replace(short, gradient="bptr")
    for surrogate in SWEEP:
        yield replace(short, surrogate=surrogate, gradient="bptt")
    for strong in STRONG:
        for loss in LOSSES:
            yield replace(short, steps=suite.steps, loss=loss, surrogate=strong, gradient="bptt")
    stable = SAPGD(space=space, clip=clip, steps=suite.steps, gradient="bptt", draws=draws)
    yield stable
    yield replace(stable, surrogate=ASSG())
    if suite.source is not None:
        # what climbs with momentum carries over best (Dong et al. 2018, table 1)
        yield Transfer(source=suite.source, attack=MIFGSM(clip=clip, steps=suite.steps))
        yield Transfer(source=suite.source, attack=APGD(clip=clip, steps=suite.steps))
    yield Square(space=space, clip=clip, queries=suite.queries)
