"""How far an attack may go: radii within the range of its space, classes that there are."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, prod

from snnlib.spec.attack import APGD, FAB, AnyAttack, AttackLoss, Clean, Transfer
from snnlib.spec.data import CLASSES, SHAPES, Dataset
from snnlib.spec.encoder import Direct
from snnlib.spec.model import Model

Misfit = tuple[str, str]
"""(dotted key below the attack, message)."""

_RATIO = {"plain": 3, "targeted": 4}
"""Classes that the ratio of logits compares (Croce and Hein 2020, eq. 6 and 7)."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The longest change that leaves an input within its range.

    Attributes:
        norm: how changes are measured.
        square: of its length, exactly.
        where: the inputs, in words.
    """

    norm: str
    square: Fraction
    where: str

    @property
    def limit(self) -> str:
        """Its length, rounded down to three decimals."""
        return f"{isqrt(int(self.square * 10**6)) / 1000:g}"

    def misfit(self, epsilon: Fraction) -> str:
        """Why a radius is too large, or nothing."""
        if epsilon**2 <= self.square:
            return ""
        return f"outside 0..{self.limit} for {self.norm} on {self.where}"


def reach(attack: AnyAttack, model: Model, dataset: Dataset) -> Reach | None:
    """How far an attack's radius may go; None for no attack."""
    if isinstance(attack, Clean):
        return None
    threat = attack.threat
    encoded = threat.space == "encoded"
    width, noun, tail = _encoded(model) if encoded else (Fraction(1), "images", "")
    if threat.norm == "linf":
        return Reach(norm="linf", square=width**2, where=f"{noun} in [0, 1]{tail}")
    steps = 1 if threat.space == "pixel" else model.time_steps
    values = prod(SHAPES[dataset.name]) * steps
    where = f"{noun} of {values:,} values in [0, 1]{tail}"
    return Reach(norm=threat.norm, square=values * width**2, where=where)


def _encoded(model: Model) -> tuple[Fraction, str, str]:
    """Length of the range of an encoded value; what is encoded, in words before and behind it."""
    encoder = model.encoder
    if isinstance(encoder, Direct) and encoder.std:
        return 1 / Fraction(min(encoder.std)), "images", ", normalised by encoder.std"
    return Fraction(1), f"what encoder '{encoder.name}' makes", ""


def classes(attack: AnyAttack, dataset: Dataset) -> Iterator[Misfit]:
    """What of an attack needs more classes than a dataset has."""
    if isinstance(attack, Transfer):
        for key, message in classes(attack.attack, dataset):
            yield f"attack.{key}", message
        return
    there = CLASSES[dataset.name]
    targets = attack.targets if isinstance(attack, APGD | FAB) else None
    if targets is not None and targets >= there:
        most = f"'{dataset.name}' has {there} classes, {there - 1} of them wrong"
        yield "targets", f"{targets} targets, but {most}; write targets: {there - 1} or less"
    if isinstance(attack, APGD) and targets is not None and there < _RATIO["targeted"]:
        needed = f"a ratio of {_RATIO['targeted']} logits, '{dataset.name}' has {there} classes"
        yield "targets", f"with 'targets' apgd climbs {needed}; leave 'targets' out"
    for message in ratio(getattr(attack, "loss", None), there, dataset.name):
        yield "loss", message


def ratio(loss: AttackLoss | None, there: int, name: str) -> Iterator[str]:
    """Why a loss is not defined over so many classes."""
    if loss == "dlr" and there < _RATIO["plain"]:
        needed = f"the third largest logit, '{name}' has {there} classes"
        yield f"loss 'dlr' divides by the distance to {needed}; write margin or cross_entropy"
