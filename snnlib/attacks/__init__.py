"""Attacks by name. A new one: a function, a line in ATTACKS, a class in spec.attack."""

from collections.abc import Callable, Iterator

from snnlib.attacks.gradient import Candidate, bim, fgsm, pgd, rfgsm
from snnlib.spec.attack import AttackName

AttackFunction = Callable[..., Iterator[Candidate]]
"""(model, origin, labels_B, *, attack, epsilons, key) to candidates, at least one per epsilon."""

ATTACKS: dict[AttackName, AttackFunction] = {
    "fgsm": fgsm,
    "rfgsm": rfgsm,
    "bim": bim,
    "pgd": pgd,
}
