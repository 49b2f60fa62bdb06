"""TrivialAugmentWide (Mueller and Hutter 2021, arXiv 2103.10158, table 1), a batch at a time.

Each image gets one operation of 14, at one of 31 strengths. Images are 8-bit here, as the method
defines its operations: `levels` are whole numbers 0..255 in float32. With the same operation and
strength an image becomes what torchvision's TrivialAugmentWide makes of it, to the byte; a rotation
may take the other of two pixels that are equally near.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from snnlib import noise

BINS = 31
"""Strengths of an operation."""
_WHITE = 255

Change = Callable[[Tensor, Tensor], Tensor]
"""(levels [B, C, H, W], strengths float64 [B]) -> levels."""


class Operation(NamedTuple):
    """One operation.

    Attributes:
        change: what it does.
        strengths: float64 [BINS]; whatever they are, unless `change` looks at them.
        signed: whether every other image gets the negative strength.
    """

    change: Change
    strengths: Tensor
    signed: bool = False


def trivial(images_BCHW: Tensor, key: noise.Key, epoch: int) -> Tensor:
    """Change each image by one operation, drawn by seed, epoch and sample.

    Args:
        images_BCHW: in [0, 1], rounded to 8 bits here; 1 or 3 channels.
        key: seed, stream and samples.
        epoch: from 0.
    """
    own = replace(key, stream=f"{key.stream}/trivial")
    drawn_B3 = noise.uniform((3,), own, epoch)
    chosen_B = (drawn_B3[:, 0] * len(OPERATIONS)).long()
    bins_B, negative_B = (drawn_B3[:, 1] * BINS).long(), drawn_B3[:, 2] < 0.5
    # sorted, each operation meets its images together, and a device is waited for only once
    order_B = torch.argsort(chosen_B, stable=True)
    counts = torch.bincount(chosen_B, minlength=len(OPERATIONS)).tolist()
    levels_BCHW = (images_BCHW * _WHITE).round()
    changed_BCHW = torch.empty_like(levels_BCHW)
    parts = torch.split(order_B, counts)
    for operation, rows in zip(OPERATIONS.values(), parts, strict=True):
        if len(rows):
            strengths_B = operation.strengths.to(rows.device)[bins_B[rows]]
            if operation.signed:
                strengths_B = torch.where(negative_B[rows], -strengths_B, strengths_B)
            changed_BCHW[rows] = operation.change(levels_BCHW[rows], strengths_B)
    # a number would make a GPU multiply by its rounded inverse
    return changed_BCHW / torch.full_like(changed_BCHW[:1, :1, :1, :1], _WHITE)


def _identity(levels_BCHW: Tensor, _strengths_B: Tensor) -> Tensor:
    return levels_BCHW


def _warped(
    levels_BCHW: Tensor, matrix: tuple[Tensor, Tensor, Tensor, Tensor], *, about: float
) -> Tensor:
    """The nearest pixel to where a matrix sends each place, black outside the image.

    Args:
        levels_BCHW: images.
        matrix: xx, xy, yx, yy, each float64 [B].
        about: fixed point of the matrix, in heights and widths from the upper left corner.
    """
    height, width = levels_BCHW.shape[-2:]
    device = levels_BCHW.device
    y_H1 = torch.arange(height, device=device).double()[:, None] + 0.5 - about * height
    x_W = torch.arange(width, device=device).double() + 0.5 - about * width
    xx, xy, yx, yy = (entry_B[:, None, None] for entry_B in matrix)
    columns_BHW = xx * x_W + xy * y_H1 + (about * width - 0.5)
    rows_BHW = yx * x_W + yy * y_H1 + (about * height - 0.5)
    return _picked(levels_BCHW, rows_BHW.round().long(), columns_BHW.round().long())


def _picked(levels_BCHW: Tensor, rows_BHW: Tensor, columns_BHW: Tensor) -> Tensor:
    """Pixels at some places, black outside the image."""
    height, width = levels_BCHW.shape[-2:]
    inside_BHW = (rows_BHW >= 0) & (rows_BHW < height) & (columns_BHW >= 0) & (columns_BHW < width)
    places_BHW = rows_BHW.clamp(0, height - 1) * width + columns_BHW.clamp(0, width - 1)
    channels = levels_BCHW.shape[1]
    places_BCN = places_BHW.flatten(1)[:, None].expand(-1, channels, -1)
    picked_BCHW = levels_BCHW.flatten(2).gather(2, places_BCN).view_as(levels_BCHW)
    return torch.where(inside_BHW[:, None], picked_BCHW, torch.zeros_like(picked_BCHW))


def _shear_x(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    one, zero = torch.ones_like(strengths_B), torch.zeros_like(strengths_B)
    return _warped(levels_BCHW, (one, strengths_B, zero, one), about=0.0)


def _shear_y(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    one, zero = torch.ones_like(strengths_B), torch.zeros_like(strengths_B)
    return _warped(levels_BCHW, (one, zero, strengths_B, one), about=0.0)


def _rotate(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    """Turn counter-clockwise about the middle, by degrees."""
    radians_B = strengths_B * (math.pi / 180)
    cos, sin = radians_B.cos(), radians_B.sin()
    return _warped(levels_BCHW, (cos, -sin, sin, cos), about=0.5)


def _translate_x(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    return _shifted(levels_BCHW, torch.zeros_like(strengths_B), strengths_B)


def _translate_y(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    return _shifted(levels_BCHW, strengths_B, torch.zeros_like(strengths_B))


def _shifted(levels_BCHW: Tensor, down_B: Tensor, right_B: Tensor) -> Tensor:
    """Move by whole pixels, what is left of them after the point cut off."""
    height, width = levels_BCHW.shape[-2:]
    rows_H1 = torch.arange(height, device=levels_BCHW.device)[:, None].expand(-1, width)
    columns_W = torch.arange(width, device=levels_BCHW.device).expand(height, -1)
    down, right = (moved_B.long()[:, None, None] for moved_B in (down_B, right_B))
    return _picked(levels_BCHW, rows_H1 - down, columns_W - right)


def _blend(levels_BCHW: Tensor, other_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    """(1 + strength) times an image minus strength times another, cut to whole levels."""
    ratio = 1 + strengths_B[:, None, None, None]
    mixed_BCHW = ratio.float() * levels_BCHW + (1 - ratio).float() * other_BCHW
    return mixed_BCHW.clamp(0, _WHITE).floor()


def _grey(levels_BCHW: Tensor) -> Tensor:
    """Luminance (ITU-R BT.601), one channel."""
    if levels_BCHW.shape[1] == 1:
        return levels_BCHW
    red, green, blue = torch.split(levels_BCHW, 1, dim=1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor()


def _brightness(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    return _blend(levels_BCHW, torch.zeros_like(levels_BCHW), strengths_B)


def _colour(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    if levels_BCHW.shape[1] == 1:
        return levels_BCHW
    return _blend(levels_BCHW, _grey(levels_BCHW), strengths_B)


def _contrast(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    grey_BCHW = _grey(levels_BCHW)
    # a sum of up to 65,793 levels is exact in float32, in whatever order
    sums = grey_BCHW.sum((1, 2, 3), keepdim=True)
    return _blend(levels_BCHW, sums / torch.full_like(sums, grey_BCHW[0].numel()), strengths_B)


def _sharpness(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    """Against the image smoothed by 3 x 3 weights of 1 and 5 in the middle, but for its border."""
    if min(levels_BCHW.shape[-2:]) <= 2:
        return levels_BCHW
    inner_BCHW = levels_BCHW[:, :, 1:-1, 1:-1]
    sums_BCHW = functional.avg_pool2d(levels_BCHW, 3, 1, divisor_override=1) + 4 * inner_BCHW
    smooth_BCHW = levels_BCHW.clone()
    smooth_BCHW[:, :, 1:-1, 1:-1] = (sums_BCHW / 13).round()
    return _blend(levels_BCHW, smooth_BCHW, strengths_B)


def _posterize(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    """Keep the upper bits, as many as the strength says."""
    unit = torch.exp2(8 - strengths_B).float()[:, None, None, None]
    return (levels_BCHW / unit).floor() * unit


def _solarize(levels_BCHW: Tensor, strengths_B: Tensor) -> Tensor:
    """Invert levels from a threshold on."""
    threshold = strengths_B.float()[:, None, None, None]
    return torch.where(levels_BCHW >= threshold, _WHITE - levels_BCHW, levels_BCHW)


def _autocontrast(levels_BCHW: Tensor, _strengths_B: Tensor) -> Tensor:
    """Stretch each channel to 0..255; a channel of one level stays."""
    low, high = levels_BCHW.amin((2, 3), keepdim=True), levels_BCHW.amax((2, 3), keepdim=True)
    stretched_BCHW = ((levels_BCHW - low) * (_WHITE / (high - low))).clamp(0, _WHITE).floor()
    return torch.where(high > low, stretched_BCHW, levels_BCHW)


def _equalize(levels_BCHW: Tensor, _strengths_B: Tensor) -> Tensor:
    """Make all levels of a channel equally frequent, as far as its histogram can be cut."""
    flat_NP = levels_BCHW.flatten(2).flatten(0, 1)
    sorted_NP = flat_NP.sort(dim=1).values
    values_NV = torch.arange(_WHITE + 1.0, device=flat_NP.device).expand(len(flat_NP), -1)
    upto_NV = torch.searchsorted(sorted_NP, values_NV.contiguous(), right=True)
    below_top_N1 = torch.searchsorted(sorted_NP, sorted_NP[:, -1:].contiguous())
    step_N1 = below_top_N1 // _WHITE
    table_NV = (upto_NV + step_N1 // 2) // step_N1.clamp(min=1)
    table_NV = functional.pad(table_NV, (1, 0))[:, :-1].clamp(0, _WHITE)
    equal_NP = table_NV.gather(1, flat_NP.long()).to(flat_NP.dtype)
    return torch.where(step_N1 > 0, equal_NP, flat_NP).view_as(levels_BCHW)


def _up_to(most: float) -> Tensor:
    return torch.linspace(0.0, most, BINS).double()


_NONE = torch.zeros(BINS, dtype=torch.float64)
_BITS = (8 - (torch.arange(BINS) / ((BINS - 1) / 6)).round()).double()
OPERATIONS: dict[str, Operation] = {
    "Identity": Operation(_identity, _NONE),
    "ShearX": Operation(_shear_x, _up_to(0.99), signed=True),
    "ShearY": Operation(_shear_y, _up_to(0.99), signed=True),
    "TranslateX": Operation(_translate_x, _up_to(32.0), signed=True),
    "TranslateY": Operation(_translate_y, _up_to(32.0), signed=True),
    "Rotate": Operation(_rotate, _up_to(135.0), signed=True),
    "Brightness": Operation(_brightness, _up_to(0.99), signed=True),
    "Color": Operation(_colour, _up_to(0.99), signed=True),
    "Contrast": Operation(_contrast, _up_to(0.99), signed=True),
    "Sharpness": Operation(_sharpness, _up_to(0.99), signed=True),
    "Posterize": Operation(_posterize, _BITS),
    "Solarize": Operation(_solarize, _up_to(255.0).flip(0)),
    "AutoContrast": Operation(_autocontrast, _NONE),
    "Equalize": Operation(_equalize, _NONE),
}
"""By the names that the paper and torchvision give them."""
