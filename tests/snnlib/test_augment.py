"""Shifts, crops and flips, keyed on seed, epoch and sample."""

import pytest
import torch
from torch.nn import functional

from snnlib import noise
from snnlib.augment import AUGMENTATIONS, CROP, Augment, crop, crop_flip, flip, shift

IMAGES = torch.rand(100, 2, 5, 6, generator=torch.Generator().manual_seed(0))
KEY = noise.Key(seed=1, stream="augment", samples_B=torch.arange(100))


def test_every_image_is_one_of_its_nine_shifts_and_all_occur() -> None:
    padded = functional.pad(IMAGES, (1, 1, 1, 1))
    shifts = [padded[:, :, r : r + 5, c : c + 6] for r in range(3) for c in range(3)]
    matches = torch.stack([(shift(IMAGES, KEY, 0) == s).all(dim=(1, 2, 3)) for s in shifts])
    assert torch.equal(matches.sum(0), torch.ones(100, dtype=torch.long))
    assert matches.any(1).all()


@pytest.mark.parametrize("augment", [shift, crop, flip, crop_flip])
def test_what_is_drawn_depends_on_epoch_and_sample_alone(augment: Augment) -> None:
    key = noise.Key(seed=1, stream="augment", samples_B=torch.arange(40, 60))
    assert torch.equal(augment(IMAGES[40:60], key, 3), augment(IMAGES, KEY, 3)[40:60])
    assert not torch.equal(augment(IMAGES, KEY, 3), augment(IMAGES, KEY, 4))


def test_every_image_is_one_of_its_crops() -> None:
    padded = functional.pad(IMAGES, (CROP,) * 4)
    places = [(r, c) for r in range(2 * CROP + 1) for c in range(2 * CROP + 1)]
    crops = torch.stack([padded[:, :, r : r + 5, c : c + 6] for r, c in places])
    found = (crops == crop(IMAGES, KEY, 0)).all(dim=(2, 3, 4))
    assert found.any(0).all()
    # 100 draws of 81 places: two at the least in every row and column of them
    assert (found.any(1).reshape(9, 9).sum(0) >= 2).all()
    assert (found.any(1).reshape(9, 9).sum(1) >= 2).all()


def test_about_half_of_the_images_are_mirrored() -> None:
    flipped = flip(IMAGES, KEY, 0)
    kept, mirrored = ((flipped == x).all(dim=(1, 2, 3)) for x in (IMAGES, IMAGES.flip(3)))
    assert torch.equal(kept, ~mirrored)
    assert 35 <= int(mirrored.sum()) <= 65


def test_crop_flip_is_a_crop_then_a_flip() -> None:
    assert torch.equal(crop_flip(IMAGES, KEY, 2), flip(crop(IMAGES, KEY, 2), KEY, 2))


@pytest.mark.parametrize("name", ["none", "shift", "flip", "crop", "crop_flip"])
def test_bytes_and_floats_are_treated_alike(name: str) -> None:
    augment = AUGMENTATIONS[name]  # type: ignore[index]
    pixels = (IMAGES * 255).to(torch.uint8)
    assert torch.equal(augment(pixels, KEY, 0).float(), augment(pixels.float(), KEY, 0))
