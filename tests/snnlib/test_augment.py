"""Shifts: by at most one pixel, keyed on seed, epoch and sample."""

import torch
from torch.nn import functional

from snnlib import noise
from snnlib.augment import shift

IMAGES = torch.rand(100, 2, 5, 6, generator=torch.Generator().manual_seed(0))
KEY = noise.Key(seed=1, stream="augment", samples_B=torch.arange(100))


def test_every_image_is_one_of_its_nine_shifts_and_all_occur() -> None:
    padded = functional.pad(IMAGES, (1, 1, 1, 1))
    shifts = [padded[:, :, r : r + 5, c : c + 6] for r in range(3) for c in range(3)]
    matches = torch.stack([(shift(IMAGES, KEY, 0) == s).all(dim=(1, 2, 3)) for s in shifts])
    assert torch.equal(matches.sum(0), torch.ones(100, dtype=torch.long))
    assert matches.any(1).all()


def test_shift_depends_on_epoch_and_sample_alone() -> None:
    key = noise.Key(seed=1, stream="augment", samples_B=torch.arange(40, 60))
    assert torch.equal(shift(IMAGES[40:60], key, 3), shift(IMAGES, KEY, 3)[40:60])
    assert not torch.equal(shift(IMAGES, KEY, 3), shift(IMAGES, KEY, 4))
