"""The reference AutoAttack on HoSNN's published network, a worker of `alternate`.

`PYTHON -m tests.bench.engine_reference FOLDER CHECKOUT`, by an interpreter of the original's own.
FOLDER holds work.json as `hosnn_original` has it, and published.pt of `engine_autoattack`: the
network for MNIST of LIF neurons, read by traces, and samples. CHECKOUT is one of github
fra31/auto-attack. Both originals are used as they are.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tests.bench import alternate
from tests.bench.hosnn_original import Original

SHAPE = (1, 28, 28)
EPSILON = "0.1"


def standard(model: nn.Module, images_BCHW: Tensor, labels_B: Tensor, checkout: str) -> float:
    """Samples that withstand AutoAttack, version="standard", of the reference."""
    sys.path.insert(0, checkout)
    program: Any = importlib.import_module("autoattack")
    run = program.AutoAttack(
        model, norm="Linf", eps=float(EPSILON), seed=0, verbose=False, device="cpu"
    )
    z = run.run_standard_evaluation(images_BCHW, labels_B, bs=len(labels_B))
    return float((model(z).argmax(1) == labels_B).sum())


class Published(nn.Module):
    """HoSNN's network as a classifier of images that are neither normalised nor repeated."""

    def __init__(self, original: Original) -> None:
        super().__init__()
        self.network: Any = original.net.module
        self.steps = original.settings["n_steps"]
        for parameter in self.network.parameters():
            parameter.requires_grad = False

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Traces of the output layer summed over time, as its test does."""
        traces, _ = self.network(x_BCHW[..., None].repeat(1, 1, 1, 1, self.steps), False)
        logits_BK: Tensor = traces.sum(4).flatten(1)
        return logits_BK


def main() -> None:
    """Serve."""
    folder, checkout = map(Path, sys.argv[1:])
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    answers, sys.stdout = sys.stdout, sys.stderr  # it prints its layers
    meeting = f"file://{folder.resolve()}/group-{os.getpid()}"
    distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    original, kept = Original(work), torch.load(folder / "published.pt", weights_only=True)
    model = Published(original)
    names = ("conv_1", "conv_2", "FC_1", "output")
    weighted = [layer for layer in model.network.layers if layer.type != "pooling"]
    for name, layer in zip(names, weighted, strict=True):
        weight = kept["net"][f"layers.{name}.synapse.weight"]
        layer.weight.copy_(weight.view_as(layer.weight))
    sys.stdout = answers
    given = model, kept["images"], kept["labels"], str(checkout)
    alternate.serve({"autoattack": lambda: standard(*given)})


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
