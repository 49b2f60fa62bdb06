"""Attacks by name. A new one: a function, a line in ATTACKS, a class in spec.attack."""

from collections.abc import Callable

from snnlib.attacks.apgd import apgd
from snnlib.attacks.fab import fab
from snnlib.attacks.gradient import Candidates, bim, fgsm, pgd, rfgsm
from snnlib.attacks.momentum import mifgsm, sapgd
from snnlib.attacks.search import random_noise, square
from snnlib.attacks.transfer import transfer
from snnlib.spec.attack import AttackName

AttackFunction = Callable[..., Candidates]
"""(model, origin, labels_B, *, attack, epsilons, key) to candidates, at least one per epsilon.

Whoever runs it may raise at any pass through the network (`before_pass` of `evaluate.attack_batch`),
so that a job can end between two steps; an attack need not do anything for that.
"""

ATTACKS: dict[AttackName, AttackFunction] = {
    "fgsm": fgsm,
    "rfgsm": rfgsm,
    "bim": bim,
    "pgd": pgd,
    "mifgsm": mifgsm,
    "apgd": apgd,
    "fab": fab,
    "square": square,
    "sapgd": sapgd,
    "noise": random_noise,
    "transfer": transfer,
}

FILLS_PASSES: frozenset[AttackName] = frozenset({"apgd", "fab", "square"})
"""Those that take `room`, how many points a pass may hold, and fill passes when samples are few."""

SHARES_RADII: frozenset[str] = frozenset({"fgsm", "fab"})
"""Those that share most of their work over all radii, so that they are worth running in one go.

`bim`, `mifgsm` and `pgd` without a random start share their first step alone.
"""
