"""Networks: architecture, neuron, encoder, surrogate gradient and readout."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal, get_args

from pydantic import Field

from snnlib.spec.encoder import Direct, Encoder
from snnlib.spec.layers import Conv, Dropout, Layer, Linear, Output, Pool
from snnlib.spec.neuron import (
    HOSNN_SURROGATE,
    ATan,
    SpikeNeuron,
    Surrogate,
    TraceLIF,
    TraceNeuron,
)
from snnlib.spec.values import PositiveInt, Spec

SEWName = Literal[
    "sew_resnet18",
    "sew_resnet34",
    "sew_resnet50",
    "sew_resnet101",
    "sew_resnet152",
    "sew_resnext50_32x4d",
    "sew_resnext101_32x8d",
    "sew_wide_resnet50_2",
    "sew_wide_resnet101_2",
]
SpikingResNetName = Literal[
    "spiking_resnet18",
    "spiking_resnet34",
    "spiking_resnet50",
    "spiking_resnet101",
    "spiking_resnet152",
]
VGGName = Literal["spiking_vgg11", "spiking_vgg11_bn"]
HoSNNName = Literal["hosnn_mnist", "hosnn_cifar10", "hosnn_cifar100"]
ModelName = Literal["small", SEWName, SpikingResNetName, VGGName, HoSNNName, "layers"]
SpikeReadout = Literal["current", "spikes"]
TraceReadout = Literal["current", "trace"]
Ties = Literal["current", "first"]


@dataclass(frozen=True, kw_only=True)
class _SpikeNetwork(Spec):
    """A network whose layers exchange spikes.

    Attributes:
        name: the architecture.
        neuron: of every spiking layer.
        time_steps: T.
        encoder: from image to T inputs.
        surrogate: used in training, and by attacks that bring none of their own.
        readout: logits are the time mean of the output layer's `current` or of its `spikes`.
    """

    neuron: SpikeNeuron
    time_steps: PositiveInt = 4
    encoder: Encoder = Direct()
    surrogate: Surrogate = ATan()
    readout: SpikeReadout = "current"


@dataclass(frozen=True, kw_only=True)
class Small(_SpikeNetwork):
    """Two convolutions and two linear layers for small grey images."""

    name: Literal["small"] = "small"


@dataclass(frozen=True, kw_only=True)
class SEWResNet(_SpikeNetwork):
    """Spike-element-wise ResNet, ADD connections (Fang et al. 2021, arXiv 2102.04159).

    Attributes:
        stem_pool: pooling behind the first spiking layer.
    """

    name: SEWName
    stem_pool: Literal["max", "avg"] = "max"


@dataclass(frozen=True, kw_only=True)
class SpikingResNet(_SpikeNetwork):
    """ResNet with neurons behind its sums (He et al. 2016, with spikes for rectifiers)."""

    name: SpikingResNetName


@dataclass(frozen=True, kw_only=True)
class SpikingVGG(_SpikeNetwork):
    """VGG-11 (Simonyan and Zisserman 2015, table 1 A) with spikes for rectifiers."""

    name: VGGName


@dataclass(frozen=True, kw_only=True)
class _TraceNetwork(Spec):
    """A network whose layers exchange traces of spikes, as HoSNN (Geng and Li 2023).

    Attributes:
        name: the architecture.
        neuron: of every spiking layer; the output's is always a `lif`.
        time_steps: T.
        encoder: from image to T inputs, which a synapse filters like the traces.
        surrogate: used in training, and by attacks that bring none of their own.
        readout: logits are the time mean of the output layer's `current` or of its neurons'
            `trace`; unset: trace, but for hosnn_cifar100 and relu current.
        ties: between classes of equal trace decides the larger `current`, or the `first` wins.
    """

    neuron: TraceNeuron = TraceLIF()
    time_steps: PositiveInt = 5
    encoder: Encoder = Direct()
    surrogate: Surrogate = HOSNN_SURROGATE
    readout: TraceReadout | None = None
    ties: Ties = "current"


@dataclass(frozen=True, kw_only=True)
class HoSNN(_TraceNetwork):
    """The published networks of HoSNN; with neuron relu their ANN twins."""

    name: HoSNNName


@dataclass(frozen=True, kw_only=True)
class LayerTable(_TraceNetwork):
    """A network of its own, written out layer by layer.

    Attributes:
        layers: from image to output.
    """

    name: Literal["layers"] = "layers"
    layers: tuple[Layer, ...]


SpikeNetwork = Small | SEWResNet | SpikingResNet | SpikingVGG
TraceNetwork = HoSNN | LayerTable
Model = Annotated[
    Small | SEWResNet | SpikingResNet | SpikingVGG | HoSNN | LayerTable,
    Field(discriminator="name"),
]

PUBLISHED: dict[HoSNNName, tuple[tuple[int, int, int], int]] = {
    "hosnn_mnist": ((1, 28, 28), 10),
    "hosnn_cifar10": ((3, 32, 32), 10),
    "hosnn_cifar100": ((3, 32, 32), 100),
}
"""Image shape and number of classes that each network was published for."""
SMALLEST: dict[str, int] = {"small": 4, **dict.fromkeys(get_args(VGGName), 32)}
"""Least height and width of images, where a network needs any."""

_MNIST = (
    Conv(out_channels=15, kernel_size=5),
    Pool(),
    Conv(out_channels=40, kernel_size=5),
    Pool(),
    Linear(out_features=300),
)


def _cifar(features: tuple[int, ...], *, output_norm: bool) -> tuple[Layer, ...]:
    """Convolutions of 128 to 1024 kernels, dropout behind every layer but the pooled ones."""
    drop = Dropout(p=Decimal("0.2"))

    def conv(channels: int) -> Conv:
        return Conv(
            out_channels=channels,
            kernel_size=3,
            padding=1,
            batch_norm=True,
            weight_scale=Decimal(5),
        )

    body: list[Layer] = [conv(128), drop, conv(256), Pool(), drop, conv(512), Pool(), drop]
    body += [conv(1024), drop, conv(512), drop]
    for count in features:
        body += [Linear(out_features=count, batch_norm=True), drop]
    return (*body, Output(batch_norm=output_norm))


def table(model: HoSNN | LayerTable) -> tuple[Layer, ...]:
    """The layers of a network of traces.

    The published CIFAR-10 network normalises its output layer unless its neurons are TA-LIF.
    """
    if isinstance(model, LayerTable):
        return model.layers
    if model.name == "hosnn_mnist":
        return _MNIST
    if model.name == "hosnn_cifar10":
        return _cifar((1024, 512), output_norm=model.neuron.name != "ta_lif")
    return _cifar((1024, 1024), output_norm=False)


def readout(model: SpikeNetwork | TraceNetwork) -> Literal["current", "spikes", "trace"]:
    """Where the logits of a network are read, with unset resolved."""
    if model.readout is not None:
        return model.readout
    published_current = model.name == "hosnn_cifar100" or model.neuron.name == "relu"
    return "current" if published_current else "trace"
