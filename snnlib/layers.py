"""Layers without memory, applied to all time steps in one call."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from snnlib import noise
from snnlib.errors import SnnlibError


class Folded(nn.Module):
    """A layer for [B, ...] applied to [T, B, ...] with time folded into the batch."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x_TB: Tensor) -> Tensor:
        """Apply the layer at every step.

        An input expanded in time (stride 0) is the same at every step: computed once.
        """
        if x_TB.stride(0) == 0:
            once: Tensor = self.layer(x_TB[0])
            return once.expand(len(x_TB), *once.shape)
        y: Tensor = self.layer(x_TB.flatten(0, 1))
        return y.reshape(*x_TB.shape[:2], *y.shape[1:])


def misread(conv: nn.Conv2d, x_BCHW: Tensor) -> bool:
    """Whether PyTorch's gradient of a kernel would hold memory that nobody wrote.

    It does so in bfloat16 on a CPU, for taps that meet nothing but padding wherever the kernel is
    applied, such as all but the middle one of a strided 3x3 over a map of 1x1.
    """
    if x_BCHW.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    if isinstance(conv.padding, str) or conv.dilation != (1, 1):
        return False
    axes = zip(x_BCHW.shape[2:], conv.kernel_size, conv.stride, conv.padding, strict=True)
    return any(_idle_taps(*axis) for axis in axes)


def _idle_taps(size: int, kernel: int, stride: int, padding: int) -> bool:
    """Whether some place of a kernel meets the image nowhere along one axis."""
    begins = range(-padding, size + padding - kernel + 1, stride)
    return not all(any(0 <= begin + tap < size for begin in begins) for tap in range(kernel))


class ImageConv2d(nn.Conv2d):
    """The convolution of an image: on a CPU several times as fast in its input gradient.

    oneDNN pads a few input channels to many. From few of them to many kernels, a product with all
    kernels and a sum over where their windows lie (col2im) costs a third; equal up to rounding.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """As nn.Conv2d, but for kernels in float32 that it would get wrong in bfloat16."""
        if misread(self, x_BCHW):
            with torch.autocast("cpu", enabled=False):
                return self.forward(x_BCHW.to(self.weight.dtype))
        few = self.in_channels == 1 or 16 * self.in_channels <= min(self.out_channels, 64)
        plain = self.groups == 1 and self.bias is None and self.dilation == (1, 1)
        plain = plain and not torch.is_autocast_enabled("cpu")  # backward would meet two dtypes
        if not (few and plain and x_BCHW.requires_grad and x_BCHW.device.type == "cpu"):
            return super().forward(x_BCHW)
        y: Tensor = _ImageConv2d.apply(x_BCHW, self.weight, self.stride, self.padding)  # type: ignore[no-untyped-call]
        return y


class _ImageConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (x, weight), where = ctx.saved_tensors, {"stride": ctx.stride, "padding": ctx.padding}
        windows = weight.flatten(1).t() @ grad.flatten(2)
        grad_x = functional.fold(windows, x.shape[2:], weight.shape[2:], **where)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = conv2d_weight(x, weight.shape, grad, **where)  # type: ignore[no-untyped-call]
        return grad_x, grad_weight, None, None


class WindowSum(nn.Module):
    """weight x sum over windows of k x k that tile the input: the pooling of HoSNN.

    Like a convolution with equal weights, hence the weight is rounded to float32 in networks of
    any type: 1.1 is 1.10000002384185791.

    Attributes:
        kernel_size: k.
        weight: of every input.
    """

    def __init__(self, kernel_size: int, weight: float) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = torch.tensor(weight, dtype=torch.float32, device="cpu").item()

    def forward(self, x_HW: Tensor) -> Tensor:
        """Sum windows of the last two axes, [..., H, W] to [..., H/k, W/k].

        Raises:
            SnnlibError: k does not divide H or W; no window may reach beyond its image.
        """
        height, width = x_HW.shape[-2:]
        if height % self.kernel_size or width % self.kernel_size:
            raise SnnlibError(
                f"pooling windows of {self.kernel_size}x{self.kernel_size} do not tile "
                f"{height}x{width}: choose a kernel_size that divides both"
            )
        y: Tensor = _WindowSum.apply(x_HW, self.kernel_size, self.weight)  # type: ignore[no-untyped-call]
        return y

    def extra_repr(self) -> str:
        """What print shows."""
        return f"{self.kernel_size}, weight={self.weight:.6g}"


class _WindowSum(torch.autograd.Function):
    """Sums of slices: on a CPU several times as fast as a convolution or avg_pool2d."""

    @staticmethod
    def forward(ctx: Any, x_HW: Tensor, k: int, weight: float) -> Tensor:
        ctx.k, ctx.weight = k, weight
        rows = sum((x_HW[..., i::k, :] for i in range(1, k)), x_HW[..., ::k, :])
        return sum((rows[..., j::k] for j in range(1, k)), rows[..., ::k]) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        k, (*leading, height, width) = ctx.k, grad.shape
        grad_x = grad.new_empty(*leading, height * k, width * k)
        rows = grad_x[..., ::k, :]  # written in place: faster than copies of expanded views
        torch.mul(grad, ctx.weight, out=rows[..., ::k])
        for j in range(1, k):
            rows[..., j::k] = rows[..., ::k]
        for i in range(1, k):
            grad_x[..., i::k, :] = rows
        return grad_x, None, None


class AveragePool2(WindowSum):
    """Mean over windows of 2x2."""

    def __init__(self) -> None:
        super().__init__(2, 0.25)


class KeyedDropout(nn.Module):
    """Zero inputs with probability p in training, each step and element independently.

    What is zeroed is a function of the key, the layer's name and the draw, for each sample by
    itself: it depends neither on the batch nor on the device.

    Attributes:
        p: probability, a multiple of 2^-16.
        name: of the layer, so that several do not share their noise.
        key: seed, stream and samples of the forward pass; set before it.
        draw: how often the key was used before.
    """

    def __init__(self, p: float, name: str) -> None:
        """Dropout.

        Args:
            p: probability, rounded to a multiple of 2^-16 other than 1.
            name: of the layer.
        """
        super().__init__()
        self.p = min(round(p * noise.STEPS), noise.STEPS - 1) / noise.STEPS
        self.name = name
        self.key: noise.Key | None = None
        self.draw = 0

    def forward(self, x_TB: Tensor) -> Tensor:
        """[T, B, ...] with elements zeroed and the others times 1/(1 - p); in evaluation x itself.

        Raises:
            SnnlibError: in training without a key.
        """
        if not self.training or self.p == 0:
            return x_TB
        if self.key is None:
            raise SnnlibError(
                f"layer {self.name}: dropout has no key in training; call the network inside "
                "`with classifier.keyed(Key(seed=..., stream=..., samples_B=...)):`, or in evaluation"
            )
        own = replace(self.key, stream=f"{self.key.stream}/{self.name}")
        steps, batch, *shape = x_TB.shape
        assert len(own.samples_B) == batch, "one key for each sample"
        kept_BT = noise.bernoulli((steps, *shape), 1 - self.p, own, self.draw)
        return x_TB * kept_BT.transpose(0, 1).to(x_TB.dtype).mul_(1 / (1 - self.p))

    def extra_repr(self) -> str:
        """What print shows."""
        return f"p={self.p:.6g}, name={self.name!r}"
