"""A network of two convolutions and two linear layers for small grey images."""

from torch import nn

from snnlib import neurons
from snnlib.layers import AveragePool2, Folded
from snnlib.spec.model import Model


def small(spec: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Conv3x3(16) spike pool2 conv3x3(32) spike pool2 linear(64) spike linear(K).

    No batch normalisation and no dropout: samples never meet, so a result does not depend on its
    batch.

    Args:
        spec: neuron and surrogate.
        shape: [C, H, W]; H and W divisible by 4.
        classes: K.
    """
    channels, height, width = shape

    def spikes() -> nn.Module:
        return neurons.build(spec.neuron, spec.surrogate)

    return nn.Sequential(
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
