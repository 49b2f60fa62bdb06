"""Layer tables: networks written out layer by layer, with the arithmetic of their shapes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from snnlib.spec.values import Bool, PositiveInt, PositiveReal, Spec

Shape = tuple[int, ...]
"""[C, H, W] of a feature map, or [F] of a vector."""


@dataclass(frozen=True, kw_only=True)
class Conv(Spec):
    """Convolution without bias, then neurons.

    Attributes:
        out_channels: kernels.
        kernel_size: height and width of each.
        padding: zeros around the input.
        stride: step of the kernel.
        batch_norm: normalise currents over batch, time and space together.
        weight_scale: factor of the initial weights.
        in_channels: checked against the layer before, if given.
    """

    type: Literal["conv"] = "conv"
    out_channels: PositiveInt
    kernel_size: PositiveInt
    padding: Annotated[int, Field(strict=True, ge=0)] = 0
    stride: PositiveInt = 1
    batch_norm: Bool = False
    weight_scale: PositiveReal = Decimal(1)
    in_channels: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class Pool(Spec):
    """weight x sum over windows of k x k that tile the input; HoSNN's weight is 1.1."""

    type: Literal["pool"] = "pool"
    kernel_size: PositiveInt = 2
    weight: PositiveReal = Decimal("1.1")


@dataclass(frozen=True, kw_only=True)
class Dropout(Spec):
    """Zero inputs with probability p in training, each step and element independently."""

    type: Literal["dropout"] = "dropout"
    p: Annotated[PositiveReal, Field(lt=1)] = Decimal("0.5")


@dataclass(frozen=True, kw_only=True)
class Linear(Spec):
    """Linear layer without bias, then neurons; attributes as of `Conv`."""

    type: Literal["linear"] = "linear"
    out_features: PositiveInt
    batch_norm: Bool = False
    weight_scale: PositiveReal = Decimal(1)
    in_features: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class Output(Spec):
    """The last layer: linear, to as many outputs as there are classes; implied when absent."""

    type: Literal["output"] = "output"
    batch_norm: Bool = False
    weight_scale: PositiveReal = Decimal(1)
    in_features: PositiveInt | None = None


Layer = Annotated[Conv | Pool | Dropout | Linear | Output, Field(discriminator="type")]


class LayerError(ValueError):
    """A layer does not fit what comes before it.

    Attributes:
        place: its position in the table.
        key: the key that is wrong, or "".
    """

    def __init__(self, place: int, key: str, message: str) -> None:
        super().__init__(message)
        self.place, self.key = place, key


@dataclass(frozen=True)
class Placed:
    """A layer in its network.

    Attributes:
        name: as HoSNN names it: conv_1, pooling_1, dropout_1, FC_1, output.
        layer: what it is.
        before: shape of its input.
        after: shape of its output.
    """

    name: str
    layer: Conv | Pool | Dropout | Linear | Output
    before: Shape
    after: Shape


_WORDS = {"conv": "conv", "pool": "pooling", "dropout": "dropout", "linear": "FC"}


def place(
    table: Sequence[Conv | Pool | Dropout | Linear | Output], shape: Shape, classes: int
) -> list[Placed]:
    """Names and shapes of all layers; an implied output is added.

    Args:
        table: the layers.
        shape: of an image, [C, H, W].
        classes: outputs K.

    Raises:
        LayerError: if one does not fit.
    """
    if not table or table[-1].type != "output":
        table = (*table, Output())
    counts: dict[str, int] = {}
    placed: list[Placed] = []
    for position, layer in enumerate(table):
        counts[layer.type] = counts.get(layer.type, 0) + 1
        name = layer.type if layer.type == "output" else _name(layer.type, counts)
        try:
            after = _after(layer, shape, classes)
            if layer.type == "output" and position < len(table) - 1:
                raise _Unfit("type", "the output layer comes last")
        except _Unfit as error:
            raise LayerError(position, error.key, f"layer {name}: {error}") from None
        placed.append(Placed(name, layer, shape, after))
        shape = after
    return placed


def _name(kind: str, counts: dict[str, int]) -> str:
    return f"{_WORDS[kind]}_{counts[kind]}"


class _Unfit(ValueError):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _after(layer: Conv | Pool | Dropout | Linear | Output, shape: Shape, classes: int) -> Shape:
    match layer:
        case Conv():
            return _convolved(layer, shape)
        case Pool():
            return _pooled(layer, shape)
        case Dropout():
            return shape
        case Linear() | Output():
            return _connected(layer, shape, classes)


def _connected(layer: Linear | Output, shape: Shape, classes: int) -> Shape:
    inputs = math.prod(shape)
    if layer.in_features not in (None, inputs):
        raise _Unfit("in_features", f"{layer.in_features} inputs expected, there are {inputs}")
    return (classes,) if isinstance(layer, Output) else (layer.out_features,)


def _convolved(layer: Conv, shape: Shape) -> Shape:
    if len(shape) == 1:
        raise _Unfit("type", f"a convolution cannot follow a vector of {shape[0]}; put it earlier")
    channels, height, width = shape
    if layer.in_channels not in (None, channels):
        raise _Unfit(
            "in_channels", f"{layer.in_channels} channels expected, the input has {channels}"
        )
    room = min(height, width) + 2 * layer.padding
    if layer.kernel_size > room:
        raise _Unfit(
            "kernel_size",
            f"a kernel of {layer.kernel_size} does not fit into {height}x{width}"
            f" with padding {layer.padding}",
        )
    sizes = [
        (s + 2 * layer.padding - layer.kernel_size) // layer.stride + 1 for s in (height, width)
    ]
    return (layer.out_channels, *sizes)


def _pooled(layer: Pool, shape: Shape) -> Shape:
    if len(shape) == 1:
        raise _Unfit("type", f"a pool cannot follow a vector of {shape[0]}; put it earlier")
    channels, height, width = shape
    k = layer.kernel_size
    if height % k or width % k:
        raise _Unfit("kernel_size", f"windows of {k}x{k} do not tile {height}x{width}")
    return (channels, height // k, width // k)
