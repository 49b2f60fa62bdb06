"""Which attacks an audit makes on a network.

The judged attacker's own come first: one step, several, twice as many, and as many starts as there
are other attacks, so that no one finds more by trying more often. The others try what it may
have missed: other losses, surrogates and gradient rules, points drawn at random, and a search that
sees no gradient. All others perturb the pixels, whatever space the judged attacker chose: that is
what an attacker has in hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from snnlib.spec.attack import FGSM, PGD, Own, RandomNoise, Square
from snnlib.spec.model import Model
from snnlib.spec.neuron import ASSG, PDSG, ATan, AttackSurrogate, Triangle
from snnlib.spec.stage import AuditStage

STEP_SIZE = "eps/8"
"""Of PGD: 20 steps cross the ball, and the last ones are small enough to settle."""
DRAWS = 30
"""Points drawn at random for each radius."""
NOISE_DRAWS = (4, 16)
"""Draws of a random encoder's noise that a gradient is the mean over, for the curve."""
SURROGATES: tuple[Own | AttackSurrogate, ...] = (
    "own",
    Triangle(gamma=Decimal(1)),
    Triangle(gamma=Decimal(3)),
    ATan(alpha=Decimal(2)),
    PDSG(),
    ASSG(),
)
"""Of the attacker: the network's, narrow and wide ones, and two that adapt to the potentials."""


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """The attacks of an audit.

    Attributes:
        one_step: the judged attacker's FGSM.
        steps: its PGD.
        longer: the same of twice as many steps.
        restarts: the same, from as many starts as there are `others`.
        noise: points drawn at random.
        black_box: a search without gradients.
        others: PGD under other losses, surrogates and gradient rules.
        draws: the judged attacker's PGD, whose gradient is the mean over so many draws of the
            encoder's noise; empty where nothing is random.
    """

    one_step: FGSM
    steps: PGD
    longer: PGD
    restarts: PGD
    noise: RandomNoise
    black_box: Square
    others: tuple[PGD, ...]
    draws: tuple[PGD, ...]


def judged(stage: AuditStage) -> PGD:
    """The judged attacker's PGD."""
    return PGD(
        steps=stage.steps,
        step_size=STEP_SIZE,
        loss=stage.loss,
        surrogate=stage.surrogate,
        gradient=stage.gradient,
        space=stage.space,
    )


def attacks(stage: AuditStage, model: Model) -> Attacks:
    """The attacks of an audit of a network."""
    own, others = judged(stage), tuple(_others(stage.steps, model))
    random = model.encoder.name == "poisson"
    return Attacks(
        one_step=FGSM(
            loss=stage.loss,
            surrogate=stage.surrogate,
            gradient=stage.gradient,
            space=stage.space,
        ),
        steps=own,
        longer=replace(own, steps=2 * stage.steps),
        restarts=replace(own, restarts=1 + len(others)),  # the first start is that of `steps`
        noise=RandomNoise(draws=DRAWS),
        black_box=Square(queries=stage.queries),
        others=others,
        draws=tuple(replace(own, draws=n) for n in NOISE_DRAWS) if random else (),
    )


def _others(steps: int, model: Model) -> Iterator[PGD]:
    """Through leak, reset and threshold, on losses that neither saturate nor tie."""
    pgd = partial(PGD, steps=steps, step_size=STEP_SIZE)
    if model.neuron.name == "relu":
        yield pgd(loss="margin")
        return
    yield pgd(loss="margin", gradient="bptt")
    for surrogate in SURROGATES:
        yield pgd(loss="current_cross_entropy", surrogate=surrogate, gradient="bptt")
    yield pgd(loss="current_cross_entropy", gradient="bptr")
