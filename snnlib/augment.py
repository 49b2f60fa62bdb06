"""Random transformations of training images, keyed on (seed, epoch, sample)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snnlib import noise
from snnlib.spec.data import Augmentation
from snnlib.trivial import trivial

Augment = Callable[[Tensor, noise.Key, int], Tensor]

CROP = 4
"""Pixels of black around an image that is cropped, as usual for CIFAR (He et al. 2016, 4.2)."""


def _none(images_BCHW: Tensor, _key: noise.Key, _epoch: int) -> Tensor:
    return images_BCHW


def shift(images_BCHW: Tensor, key: noise.Key, epoch: int) -> Tensor:
    """Move each image by -1, 0 or 1 pixels along each axis; zeros come in at the border."""
    return _moved(images_BCHW, noise.uniform((2,), key, epoch), 1)


def crop(images_BCHW: Tensor, key: noise.Key, epoch: int) -> Tensor:
    """Move each image by up to CROP pixels along each axis; zeros come in at the border."""
    return _moved(images_BCHW, noise.uniform((2,), key, epoch), CROP)


def flip(images_BCHW: Tensor, key: noise.Key, epoch: int) -> Tensor:
    """Mirror every other image, left to right."""
    drawn_B3 = noise.uniform((3,), key, epoch)
    return _moved(images_BCHW, drawn_B3[:, :2], 0, mirrored_B=drawn_B3[:, 2] < 0.5)


def crop_flip(images_BCHW: Tensor, key: noise.Key, epoch: int) -> Tensor:
    """`crop`, then `flip`."""
    drawn_B3 = noise.uniform((3,), key, epoch)
    return _moved(images_BCHW, drawn_B3[:, :2], CROP, mirrored_B=drawn_B3[:, 2] < 0.5)


def crop_flip_trivial(images_BCHW: Tensor, key: noise.Key, epoch: int) -> Tensor:
    """`crop_flip`, then TrivialAugmentWide."""
    return trivial(crop_flip(images_BCHW, key, epoch), key, epoch)


def _moved(
    images_BCHW: Tensor, drawn_B2: Tensor, padding: int, mirrored_B: Tensor | None = None
) -> Tensor:
    """A window of each image's own size out of the image with zeros around it.

    Args:
        images_BCHW: images.
        drawn_B2: uniform in [0, 1): how far down and to the right the window lies.
        padding: zeros on every side.
        mirrored_B: whose window is mirrored, left to right; none if not given.
    """
    height, width = images_BCHW.shape[-2:]
    device = images_BCHW.device
    offset_B2 = (drawn_B2 * (2 * padding + 1)).long()
    columns_BW = torch.arange(width, device=device).expand(len(images_BCHW), -1)
    if mirrored_B is not None:
        columns_BW = torch.where(mirrored_B[:, None], width - 1 - columns_BW, columns_BW)
    rows_BH = offset_B2[:, :1] + torch.arange(height, device=device)
    columns_BW = offset_B2[:, 1:] + columns_BW
    padded = functional.pad(images_BCHW, (padding,) * 4).permute(0, 2, 3, 1)
    batch = torch.arange(len(images_BCHW), device=device)[:, None, None]
    moved = padded[batch, rows_BH[:, :, None], columns_BW[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: dict[Augmentation, Augment] = {
    "none": _none,
    "shift": shift,
    "flip": flip,
    "crop": crop,
    "crop_flip": crop_flip,
    "trivial": trivial,
    "crop_flip_trivial": crop_flip_trivial,
}
