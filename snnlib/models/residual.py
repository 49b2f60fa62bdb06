"""Spiking residual networks of SpikingJelly's model zoo, with the ImageNet stem.

The builders draw weights from the CPU's default generator, by He's rule (fan_out), as the zoo does.
State-dict names are the zoo's, so weights of system A (grad-obf-snn) load once their prefix `snn.` is
taken off.
"""

from typing import Any

from torch import nn

from snnlib import neurons
from snnlib.doors import layer, spikingjelly
from snnlib.models.lean import make_lean
from snnlib.spec.model import SEWResNet, SpikingResNet

Shape = tuple[int, int, int]


def sew_resnet(spec: SEWResNet, shape: Shape, classes: int) -> nn.Module:
    """Spike-element-wise ResNet, joined by sums (Fang et al. 2021, arXiv 2102.04159, eq. 6).

    Stem of a convolution 7x7/2 and a pool 3x3/2. With neuron `relu` it is the ANN twin, whose
    blocks add after the rectifier.

    Args:
        spec: architecture, neuron, surrogate and stem pool.
        shape: [C, H, W] of one image.
        classes: K.

    Returns:
        A module from inputs [T, B, C, H, W] to currents [T, B, K].
    """
    network: Any = _from_zoo("model.sew_resnet", spec, shape, classes, cnf="ADD")
    if spec.stem_pool == "avg":
        network.maxpool = layer.AvgPool2d(kernel_size=3, stride=2, padding=1, step_mode="m")
    module: nn.Module = network
    return module


def spiking_resnet(spec: SpikingResNet, shape: Shape, classes: int) -> nn.Module:
    """ResNet whose rectifiers are neurons, behind the sums (He et al. 2016, figure 2).

    Args and result as of `sew_resnet`.
    """
    return _from_zoo("model.spiking_resnet", spec, shape, classes)


def _from_zoo(
    zoo: str, spec: SEWResNet | SpikingResNet, shape: Shape, classes: int, **options: str
) -> nn.Module:
    build = getattr(spikingjelly(zoo), spec.name)
    network: Any = build(
        spiking_neuron=lambda: neurons.build(spec.neuron, spec.surrogate),
        num_classes=classes,
        **options,
    )
    if shape[0] != network.conv1.in_channels:
        network.conv1 = _stem(shape[0], network.conv1)
    spikingjelly("functional").set_step_mode(network, "m")
    make_lean(network)
    module: nn.Module = network
    return module


def _stem(channels: int, like: Any) -> nn.Module:
    """The first convolution for another number of channels, initialised by the same rule."""
    stem: Any = layer.Conv2d(
        channels,
        like.out_channels,
        kernel_size=like.kernel_size,
        stride=like.stride,
        padding=like.padding,
        bias=False,
    )
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    module: nn.Module = stem
    return module
