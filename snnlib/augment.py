"""Random transformations of training images, keyed on (seed, epoch, sample)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snnlib import noise
from snnlib.spec.data import Augmentation

Augment = Callable[[Tensor, noise.Key, int], Tensor]


def _none(images_BCHW: Tensor, _key: noise.Key, _epoch: int) -> Tensor:
    return images_BCHW


def shift(images_BCHW: Tensor, key: noise.Key, epoch: int) -> Tensor:
    """Move each image by -1, 0 or 1 pixels along each axis; zeros come in at the border."""
    height, width = images_BCHW.shape[-2:]
    device = images_BCHW.device
    offset_B2 = (noise.uniform((2,), key, epoch) * 3).long()
    rows_BH = offset_B2[:, :1] + torch.arange(height, device=device)
    columns_BW = offset_B2[:, 1:] + torch.arange(width, device=device)
    padded = functional.pad(images_BCHW, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    batch = torch.arange(len(images_BCHW), device=device)[:, None, None]
    moved = padded[batch, rows_BH[:, :, None], columns_BW[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: dict[Augmentation, Augment] = {"none": _none, "shift": shift}
