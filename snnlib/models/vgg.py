"""Spiking VGG-11 of SpikingJelly's model zoo."""

from typing import Any

from torch import Tensor, nn

from snnlib import neurons
from snnlib.doors import layer, spikingjelly
from snnlib.layers import KeyedDropout
from snnlib.spec.model import SpikingVGG


class _CellMeans(layer.AdaptiveAvgPool2d):  # type: ignore[misc]
    """SpikingJelly's AdaptiveAvgPool2d; a map of 1x1 is repeated, whose gradient is a plain sum.

    On a GPU PyTorch has no repeatable gradient for it, and refuses it in jobs. Images of 32x32
    arrive here as 1x1.
    """

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Means of cells, [T, B, C, H, W] to [T, B, C, 7, 7]."""
        if x_TBCHW.shape[3:] == (1, 1):
            return x_TBCHW.expand(*x_TBCHW.shape[:3], *self.output_size)
        means: Tensor = super().forward(x_TBCHW)
        return means


def spiking_vgg(spec: SpikingVGG, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """VGG-11 (Simonyan and Zisserman 2015, table 1 A) with neurons for rectifiers.

    Dropout is the classifier's, a new mask for every step and sample. Weights are drawn from the
    CPU's default generator, as the zoo does.

    Args:
        spec: architecture (with or without batch normalisation), neuron and surrogate.
        shape: [C, H, W] of one image; H and W of at least 32.
        classes: K.

    Returns:
        A module from inputs [T, B, C, H, W] to currents [T, B, K].
    """
    zoo: Any = spikingjelly("model.spiking_vgg")
    network: nn.Module = getattr(zoo, spec.name)(
        spiking_neuron=lambda: neurons.build(spec.neuron, spec.surrogate), num_classes=classes
    )
    parts: Any = network
    if shape[0] != parts.features[0].in_channels:
        parts.features[0] = _first(shape[0], parts.features[0])
    parts.avgpool = _CellMeans(parts.avgpool.output_size)
    for place, module in enumerate(parts.classifier):
        if isinstance(module, layer.Dropout):
            parts.classifier[place] = KeyedDropout(module.p, f"classifier.{place}")
    spikingjelly("functional").set_step_mode(network, "m")
    return network


def _first(channels: int, like: Any) -> nn.Module:
    """The first convolution for another number of channels, initialised by the same rule."""
    first: Any = layer.Conv2d(channels, like.out_channels, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(first.bias)
    module: nn.Module = first
    return module
