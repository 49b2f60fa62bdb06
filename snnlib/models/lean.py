"""A convolution for a CPU whose backward pass leaves out products with zeros.

Deep layers of ImageNet networks see 32x32 images as feature maps of 1x1, where all taps of a kernel
but the middle one meet padding, and a strided first layer spends most of its time on the gradient
of three channels. The forward pass and all gradients that training needs keep PyTorch's bits. Only
where the weights need no gradient, in attacks, does the input's gradient differ, by rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

from snnlib.doors import layer

_FEW_CHANNELS = 4
"""Up to so many input channels PyTorch's input gradient is slower than a product and a fold."""


class LeanConv2d(layer.Conv2d):  # type: ignore[misc]
    """SpikingJelly's Conv2d, [T, B, C, H, W] to [T, B, C', H', W'], lean on a CPU."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        if self._lean(input, weight):
            y: Tensor = _LeanConv2d.apply(input, weight, self.stride, self.padding)  # type: ignore[no-untyped-call]
            return y
        plain: Tensor = super()._conv_forward(input, weight, bias)
        return plain

    def _lean(self, x_BCHW: Tensor, weight: Tensor) -> bool:
        plain = self.bias is None and self.groups == 1 and self.dilation == (1, 1)
        if not plain or self.padding == (0, 0) or x_BCHW.device.type != "cpu":
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
        single = grad.shape[2:] == (1, 1)
        grad_x = grad_weight = None
        if needs_x and needs_weight:  # training: PyTorch's own bits
            grad_x = conv2d_input(x.shape, weight, grad, ctx.stride, ctx.padding)  # type: ignore[no-untyped-call]
        elif needs_x and single:
            grad_x = _single_input_gradient(x, weight, grad, ctx.padding)
        elif needs_x:
            onto_taps = weight.flatten(1).t() @ grad.flatten(2)
            grad_x = functional.fold(
                onto_taps, x.shape[2:], weight.shape[2:], padding=ctx.padding, stride=ctx.stride
            )
        if needs_weight and single:
            grad_weight = _single_weight_gradient(x, weight, grad, ctx.padding)
        return grad_x, grad_weight, None, None


def _single_input_gradient(
    x: Tensor, weight: Tensor, grad: Tensor, padding: tuple[int, int]
) -> Tensor:
    """Gradient of the input of a kernel that is applied at one position."""
    grad_x = torch.zeros_like(x)
    seen, met = _overlap(grad_x, weight, padding)
    seen.copy_((grad.flatten(1) @ met.flatten(1)).view_as(seen))
    return grad_x


def _single_weight_gradient(
    x: Tensor, weight: Tensor, grad: Tensor, padding: tuple[int, int]
) -> Tensor:
    """Gradient of a kernel that is applied at one position: 0 where its taps meet padding."""
    grad_weight = torch.zeros_like(weight)
    seen, met = _overlap(x, grad_weight, padding)
    met.copy_((grad.flatten(1).t() @ seen.flatten(1)).view_as(met))
    return grad_weight


def _overlap(x: Tensor, weight: Tensor, padding: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The part of an image that a kernel's first position covers, and of the kernel."""
    (top, left), (height, width) = padding, weight.shape[2:]
    seen = x[:, :, : height - top, : width - left]
    met = weight[:, :, top : top + seen.shape[2], left : left + seen.shape[3]]
    return seen, met


def make_lean(network: nn.Module) -> None:
    """Give every convolution of SpikingJelly in a network the lean backward pass.

    Parameters, their names and everything computed going forward stay.
    """
    for module in network.modules():
        if type(module) is layer.Conv2d:
            module.__class__ = LeanConv2d  # it has no state of its own
