"""A network of two convolutions and two linear layers for small grey images."""

import math

import torch
from torch import nn

from snnlib import neurons
from snnlib.layers import AveragePool2, Folded
from snnlib.spec.model import Small


def small(spec: Small, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Conv3x3(16) spike pool2 conv3x3(32) spike pool2 linear(64) spike linear(K).

    No batch normalisation and no dropout: samples never meet, so a result does not depend on its
    batch.

    Weights follow the seed of the default generator.

    Args:
        spec: neuron and surrogate.
        shape: [C, H, W]; H and W divisible by 4.
        classes: K.
    """
    channels, height, width = shape

    def spikes() -> nn.Module:
        return neurons.build(spec.neuron, spec.surrogate)

    layers = nn.Sequential(
        Folded(nn.Conv2d(channels, 16, 3, padding=1)),
        spikes(),
        Folded(nn.Sequential(AveragePool2(), nn.Conv2d(16, 32, 3, padding=1))),
        spikes(),
        Folded(
            nn.Sequential(
                AveragePool2(),
                nn.Flatten(),
                nn.Linear(32 * (height // 4) * (width // 4), 64),
            )
        ),
        spikes(),
        Folded(nn.Linear(64, classes)),
    )
    initialise(layers, torch.initial_seed())
    return layers


def initialise(layers: nn.Module, seed: int) -> None:
    """Draw weights from U(-b, b) with b = 2 sqrt(3/n), n inputs of a neuron; biases are 0.

    That is a standard deviation of 2/sqrt(n) instead of the sqrt(2/n) that suits rectifiers (He et
    al. 2015, eq. 10): spikes are sparse and a leak halves currents, so that with the smaller one
    the deeper layers of an untrained network stay silent and give no gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in layers.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 2 * math.sqrt(3 / module.weight[0].numel())
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
