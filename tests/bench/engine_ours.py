"""The engine on a grid of radii, a worker of `alternate`: `-m tests.bench.engine_ours FOLDER`.

FOLDER is as in `hosnn_ours`, which builds the network. With the name of a work behind it, it does
that once and ends.
"""

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import torch

from snnlib.classifier import frozen
from snnlib.evaluate import attack_batch
from snnlib.losses import LOSSES
from snnlib.spec.attack import FGSM, Member
from tests.bench import alternate
from tests.bench.hosnn_ours import ATTACK, Ours

ATTACKS: dict[str, Member] = {
    "fgsm": FGSM(space="repeated", clip=False, loss="trace_cross_entropy"),
    "pgd": ATTACK,
}


class Grid(Ours):
    """Evaluations at all radii at once, and the passes that they are made of."""

    def attacked(self, name: str, radii: list[float]) -> float:
        """The mean share still classified correctly."""
        grid = [Fraction(str(e)) for e in radii]
        found = attack_batch(self.training.module, ATTACKS[name], grid, self.batch, seed=0)
        return float(found.correct_EB.double().mean())

    def bare(self, radii: list[float]) -> None:
        """The passes of "pgd" and nothing else: gradients, and one judgement for each radius."""
        model = self.training.module
        with frozen(model):
            z = model.lift(self.batch.images_BCHW, "repeated")
            for _ in range(1 + (ATTACK.steps - 1) * len(radii)):
                z = z.detach().requires_grad_()
                response = model.response(z, "repeated")
                loss_B = LOSSES["trace_cross_entropy"](response, self.batch.labels_B)
                torch.autograd.grad(loss_B.sum(), z)
            with torch.no_grad():
                for _ in radii:
                    model.predicted(z, "repeated")


def main() -> None:
    """Serve."""
    folder = Path(sys.argv[1])
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    grid, radii = Grid(folder, work), work["radii"]
    works: dict[str, Callable[[], float | None]] = {
        "fgsm": lambda: grid.attacked("fgsm", radii),
        "pgd": lambda: grid.attacked("pgd", radii),
        "pgd_once": lambda: grid.attacked("pgd", radii[:1]),
        "bare": lambda: grid.bare(radii),
        "nothing": lambda: None,
    }
    if sys.argv[2:]:
        works[sys.argv[2]]()
    else:
        alternate.serve(works)


if __name__ == "__main__":
    main()
