"""How much a network spikes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from snnlib.classifier import SpikingClassifier


@contextmanager
def counting(model: SpikingClassifier) -> Iterator[dict[str, Tensor]]:
    """Count spikes while the network is used.

    Yields:
        For each spiking layer [spikes, neurons x steps x samples], float64 on the CPU, summed over
        all calls so far.
    """
    layers = model.spiking_layers
    counts = {name: torch.zeros(2, dtype=torch.float64) for name in layers}

    def count(name: str, module: Any, _inputs: Any, output_TBN: Tensor) -> None:
        output_TBN = output_TBN.detach()
        if hasattr(module, "spike_counts"):
            total = module.spike_counts(output_TBN).double().cpu()
        else:
            total = output_TBN.sum(dtype=torch.float64).cpu()
        counts[name] += torch.stack((total, torch.tensor(float(output_TBN.numel()))))

    hooks = [module.register_forward_hook(partial(count, name)) for name, module in layers.items()]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()
