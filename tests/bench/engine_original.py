"""HoSNN's evaluation at a grid of radii, a worker of `alternate`; arguments as `hosnn_original`."""

import json
import os
import sys
from pathlib import Path

from torch import distributed

from tests.bench import alternate
from tests.bench.hosnn_original import Original


class Grid(Original):
    """One evaluation after the other, as its main.py does."""

    def attacked(self, method: str, radii: list[float]) -> float:
        """The mean share still classified correctly."""
        shares = [
            self.program.test(
                self.net, self._loader(), 0, self.settings, method, e / self.settings["std"]
            )[0]
            for e in radii
        ]
        return float(sum(shares)) / 100 / len(shares)


def main() -> None:
    """Serve, or save."""
    folder = Path(sys.argv[1])
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    answers, sys.stdout = sys.stdout, sys.stderr  # it prints its layers
    meeting = f"file://{folder.resolve()}/group-{os.getpid()}"
    distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    grid = Grid(work)
    sys.stdout = answers
    if sys.argv[2:] == ["save"]:
        grid.save(folder / "start.pt")
    else:
        alternate.serve(
            {
                "fgsm": lambda: grid.attacked("fgm", work["radii"]),
                "pgd": lambda: grid.attacked("pgd", work["radii"]),
            }
        )


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
