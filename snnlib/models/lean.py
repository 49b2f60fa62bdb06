"""Convolution, batch norm and max pool of residual networks, made lean on a CPU.

Deep layers of ImageNet networks see 32x32 images as feature maps of 1x1, where all taps of a kernel
but the middle one meet padding; a strided first layer spends most of its time on the gradient of
three channels; a normalisation with fixed statistics is a product; a max pool is vectorised over
channels only. Everything going forward and all gradients that training needs keep PyTorch's bits.
Only where the weights need no gradient, in attacks, does the input's gradient differ, by rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

from snnlib.doors import layer
from snnlib.layers import misread

_FEW_CHANNELS = 4
"""Up to so many input channels PyTorch's input gradient is slower than a product and a fold."""
_AT_ONCE = 8
"""Images folded at once: their products with all taps stay in the cache."""


class LeanConv2d(layer.Conv2d):  # type: ignore[misc]
    """SpikingJelly's Conv2d, [T, B, C, H, W] to [T, B, C', H', W'], lean on a CPU."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        if misread(self, input):
            with torch.autocast("cpu", enabled=False):
                return self._conv_forward(input.to(weight.dtype), weight, bias)
        if self._lean(input, weight):
            y: Tensor = _LeanConv2d.apply(input, weight, self.stride, self.padding)  # type: ignore[no-untyped-call]
            return y
        plain: Tensor = super()._conv_forward(input, weight, bias)
        return plain

    def _lean(self, x_BCHW: Tensor, weight: Tensor) -> bool:
        plain = self.bias is None and self.groups == 1 and self.dilation == (1, 1)
        if not plain or self.padding == (0, 0) or x_BCHW.device.type != "cpu":
            return False
        if torch.is_autocast_enabled("cpu"):  # the backward pass would meet two dtypes
            return False
        sizes = zip(x_BCHW.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)
        single = all((size + 2 * pad - k) // s == 0 for size, k, s, pad in sizes)
        return single or (not weight.requires_grad and self.in_channels <= _FEW_CHANNELS)


class _LeanConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        grad_x = grad_weight = None
        if needs_x and not needs_weight and x.shape[1] <= _FEW_CHANNELS:
            grad_x = _folded_input_gradient(x, weight, grad, ctx.stride, ctx.padding)
        elif needs_x and not needs_weight and x.shape[2:] == (1, 1):
            top, left = ctx.padding
            grad_x = (grad.flatten(1) @ weight[:, :, top, left]).view_as(x)
        elif needs_x:
            grad_x = conv2d_input(x.shape, weight, grad, ctx.stride, ctx.padding)  # type: ignore[no-untyped-call]
        if needs_weight:
            grad_weight = _single_weight_gradient(x, weight, grad, ctx.padding)
        return grad_x, grad_weight, None, None


def _folded_input_gradient(
    x: Tensor, weight: Tensor, grad: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Gradient of the input as what each tap gets of it, summed where taps overlap."""
    taps = weight.flatten(1).t()
    size = {"output_size": x.shape[2:], "kernel_size": weight.shape[2:]}
    parts: tuple[Tensor, ...] = torch.split(grad.flatten(2), _AT_ONCE)
    folded = [functional.fold(taps @ g, **size, padding=padding, stride=stride) for g in parts]
    return torch.cat(folded)


def _single_weight_gradient(
    x: Tensor, weight: Tensor, grad: Tensor, padding: tuple[int, int]
) -> Tensor:
    """Gradient of a kernel that is applied at one position: 0 where its taps meet padding."""
    (top, left), (height, width) = padding, weight.shape[2:]
    seen = x[:, :, : height - top, : width - left]
    product = grad.flatten(1).t() @ seen.flatten(1)
    grad_weight = torch.zeros_like(weight)
    met = grad_weight[:, :, top : top + seen.shape[2], left : left + seen.shape[3]]
    met.copy_(product.view_as(met))
    return grad_weight


class LeanBatchNorm2d(layer.BatchNorm2d):  # type: ignore[misc]
    """SpikingJelly's BatchNorm2d, [T, B, C, H, W] to the same shape, lean on a CPU."""

    def super_forward(self, x: Tensor) -> Tensor:
        """Normalise [T B, C, H, W]."""
        fixed = not self.training and not self.weight.requires_grad
        if not (fixed and x.requires_grad and x.device.type == "cpu"):
            plain: Tensor = super().super_forward(x)
            return plain
        y: Tensor = _FixedNorm.apply(x, super().super_forward, self)  # type: ignore[no-untyped-call]
        return y


class _FixedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, normalise: Callable[[Tensor], Tensor], norm: Any) -> Tensor:
        ctx.save_for_backward(norm.weight, norm.running_var)
        ctx.eps = norm.eps
        return normalise(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        weight_C, variance_C = ctx.saved_tensors
        scale_C = weight_C * (variance_C + ctx.eps).rsqrt()
        return grad * scale_C[:, None, None], None, None


class LeanMaxPool2d(layer.MaxPool2d):  # type: ignore[misc]
    """SpikingJelly's MaxPool2d, [T, B, C, H, W] to [T, B, C, H', W'], lean on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """The largest value of each window; the gradient goes to the first of equals."""
        if x.device.type != "cpu":
            plain: Tensor = super().forward(x)
            return plain
        window = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        y: Tensor = _MaxPool.apply(x.flatten(0, 1), window)  # type: ignore[no-untyped-call]
        return y.reshape(*x.shape[:2], *y.shape[1:])


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[Any, ...]) -> Tensor:
        y: Tensor
        last = x.contiguous(memory_format=torch.channels_last)
        y, indices = torch.ops.aten.max_pool2d_with_indices(last, *window)
        ctx.save_for_backward(x, indices)
        ctx.window = window
        return y.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, indices = ctx.saved_tensors
        grad_x: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            grad, x, *ctx.window, indices.contiguous()
        )
        return grad_x, None


_LEAN: dict[Any, Any] = {
    layer.Conv2d: LeanConv2d,
    layer.BatchNorm2d: LeanBatchNorm2d,
    layer.MaxPool2d: LeanMaxPool2d,
}


def make_lean(network: nn.Module) -> None:
    """Exchange the convolutions, batch norms and max pools of SpikingJelly in a network.

    Parameters, their names and everything computed going forward stay.
    """
    for module in network.modules():
        if type(module) in _LEAN:
            module.__class__ = _LEAN[type(module)]  # it has no state of its own
