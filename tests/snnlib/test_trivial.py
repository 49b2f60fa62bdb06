"""TrivialAugmentWide, operation for operation against torchvision's."""

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlib import noise
from snnlib.augment import AUGMENTATIONS, crop_flip
from snnlib.doors import torchvision
from snnlib.trivial import BINS, OPERATIONS, trivial

KEY = noise.Key(seed=1, stream="augment", samples_B=torch.arange(600))


def images(channels: int) -> Tensor:
    """A ramp, one level alone, few levels, and noise; uint8 [B, C, 32, 32]."""
    generator = torch.Generator().manual_seed(channels)
    found = torch.randint(0, 256, (4, channels, 32, 32), generator=generator, dtype=torch.uint8)
    ramp = 3 * torch.arange(32)[:, None] + 5 * torch.arange(32)
    found[0] = ramp.clamp(max=255)
    found[1] = 17
    found[2] = found[2] // 64 * 50
    return found


def theirs(name: str) -> tuple[Any, list[float]]:
    """torchvision's operation, and its strengths, the negative ones too."""
    module = torchvision("torchvision.transforms.autoaugment")
    table, signed = module.TrivialAugmentWide()._augmentation_space(BINS)[name]
    strengths = table.tolist() if table.ndim else [0.0]
    nearest = torchvision("torchvision.transforms").InterpolationMode.NEAREST

    def change(image: Tensor, strength: float) -> Tensor:
        changed: Tensor = module._apply_op(image, name, strength, nearest, None)
        return changed

    return change, strengths + [-s for s in strengths if signed]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_that_of_torchvision(name: str, channels: int) -> None:
    change, strengths = theirs(name)
    found = images(channels)
    for strength in strengths[:: 1 if name == "Rotate" else 5]:
        wanted = torch.stack([change(image, strength) for image in found])
        strengths_B = torch.full((len(found),), strength, dtype=torch.float64)
        made = OPERATIONS[name].change(found.float(), strengths_B)
        assert torch.equal(made, wanted.float()), strength


def test_strengths_are_those_of_torchvision() -> None:
    for name, operation in OPERATIONS.items():
        _, strengths = theirs(name)
        if len(strengths) >= BINS:
            assert operation.strengths.tolist() == strengths[:BINS]
            assert operation.signed == (len(strengths) == 2 * BINS)


def test_each_image_gets_one_operation_and_all_occur() -> None:
    image = images(3)[3] // 2 + 20
    same = image.numpy().tobytes()
    changed = (trivial(image.expand(600, -1, -1, -1) / 255, KEY, 0) * 255).round()
    made = [one.tobytes() for one in changed.to(torch.uint8).numpy()]
    known = {same}
    for name in list(OPERATIONS)[1:]:
        change, strengths = theirs(name)
        answers = {change(image, strength).numpy().tobytes() for strength in strengths} - {same}
        assert 25 <= sum(one in answers for one in made) <= 65, name
        known |= answers
    assert known.issuperset(made)


def test_what_is_drawn_depends_on_epoch_and_sample_alone() -> None:
    found = torch.rand(600, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    part = noise.Key(seed=1, stream="augment", samples_B=torch.arange(40, 60))
    assert torch.equal(trivial(found[40:60], part, 3), trivial(found, KEY, 3)[40:60])
    assert not torch.equal(trivial(found, KEY, 3), trivial(found, KEY, 4))


def test_it_comes_after_crop_and_flip_and_draws_of_its_own() -> None:
    found = torch.rand(600, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    made = AUGMENTATIONS["crop_flip_trivial"](found, KEY, 2)
    assert torch.equal(made, trivial(crop_flip(found, KEY, 2), KEY, 2))
    assert made.min() >= 0
    assert made.max() <= 1
