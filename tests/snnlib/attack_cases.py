"""One short attack of every name."""

from snnlib.attacks.transfer import Loaded
from snnlib.spec.attack import (
    APGD,
    BIM,
    FAB,
    FGSM,
    MIFGSM,
    PGD,
    RFGSM,
    SAPGD,
    AttackName,
    Member,
    RandomNoise,
    Square,
)
from tests.snnlib import networks

CASES: dict[AttackName, Member] = {
    "fgsm": FGSM(),
    "rfgsm": RFGSM(),
    "bim": BIM(steps=3),
    "pgd": PGD(steps=2, restarts=3),
    "mifgsm": MIFGSM(steps=3),
    "apgd": APGD(steps=5, restarts=2),
    "fab": FAB(steps=5, targets=2),
    "square": Square(queries=12, restarts=2),
    "sapgd": SAPGD(steps=3, restarts=2),
    "noise": RandomNoise(draws=6),
    "transfer": Loaded(
        source="0" * 16,
        attack=APGD(steps=2, restarts=2),
        network=networks.small(seed=1).double(),
    ),
}
