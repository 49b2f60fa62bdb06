"""HoSNN as published, a worker of `alternate`: `PYTHON -m tests.bench.hosnn_original FOLDER [save]`.

Run by an interpreter of the original's own. FOLDER holds work.json: `checkout`, the original's
source; `config`, one of its configuration files; `shape`, `batch` and `epsilon` of the work. With
`save` it only writes start.pt to the folder: first weights, images and labels, for the other worker.

The source is used as it is, but for the device: its modules say CUDA and are told CPU here; wandb
is replaced by nothing. Like its main.py this joins a process group, here of one, and wraps the
network for it.
"""

import importlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from tests.bench import alternate


class Original:
    """Network, optimiser and one batch of random images, set up as its main.py does."""

    def __init__(self, work: dict[str, Any]) -> None:
        os.chdir(work["checkout"])  # its configuration names files relative to it
        sys.path.insert(0, work["checkout"])
        sys.modules["wandb"] = types.ModuleType("wandb")
        known: Any = importlib.import_module("tools.global_v")
        known.device = torch.device("cpu")
        self.program: Any = importlib.import_module("tools.helpfunc")
        network: Any = importlib.import_module("tools.cnns").Network
        self.settings, layers = work["config"]["Network"], work["config"]["Layers"]
        known.init(self.settings["n_steps"], self.settings["tau_s"])
        torch.manual_seed(0)
        self.net = DistributedDataParallel(network(self.settings, layers, work["shape"]))
        self.error: Any = importlib.import_module("functions.loss_f").SpikeLoss(self.settings)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=self.settings["lr"], betas=(0.9, 0.999)
        )
        self.images = torch.rand(work["batch"], *work["shape"])
        self.labels = torch.arange(work["batch"]) % self.settings["n_class"]
        self.epsilon = work["epsilon"] / self.settings["std"]

    def save(self, path: Path) -> None:
        """Keep what the other worker starts from."""
        state = {"net": self.net.state_dict(), "images": self.images, "labels": self.labels}
        torch.save(state, path)

    def _loader(self) -> list[tuple[Tensor, Tensor]]:
        images = (self.images - self.settings["mean"]) / self.settings["std"]
        return [(images, self.labels)]

    def train(self) -> float:
        """One step: the loss per sample."""
        _, loss, _ = self.program.train(
            self.net,
            self._loader(),
            self.optimiser,
            0,
            self.settings,
            None,
            self.error,
            "clean",
            0,
        )
        return float(loss)

    def pgd(self) -> float:
        """PGD7 on the batch, and its judgement: the share still classified correctly."""
        correct, _ = self.program.test(
            self.net, self._loader(), 0, self.settings, "pgd", self.epsilon
        )
        return float(correct) / 100


def main() -> None:
    """Serve, or save."""
    folder = Path(sys.argv[1])
    answers, sys.stdout = sys.stdout, sys.stderr  # it prints its layers
    meeting = f"file://{folder.resolve()}/group-{os.getpid()}"
    distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    original = Original(json.loads((folder / "work.json").read_text(encoding="utf-8")))
    sys.stdout = answers
    if sys.argv[2:] == ["save"]:
        original.save(folder / "start.pt")
    else:
        alternate.serve({"train": original.train, "pgd": original.pgd})


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
