"""Encoders: what they send, and the gradient that goes back."""

from dataclasses import replace

import pytest
import torch

from snnlib import encoders, noise
from snnlib.errors import SnnlibError

KEY = noise.Key(seed=0, stream="test", samples_B=torch.arange(50))


def images(steps: int) -> torch.Tensor:
    x = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return x.expand(steps, *x.shape).contiguous()


def test_direct_is_the_image() -> None:
    assert torch.equal(encoders.direct(images(3), None, 0), images(3))


def test_poisson_spikes_with_the_pixel_as_its_rate() -> None:
    spikes = encoders.poisson(images(400), KEY, 0)
    assert set(spikes.flatten().tolist()) == {0, 1}
    assert (spikes.mean(0) - images(1)[0]).abs().max() < 0.12  # 4.8 sigma of 400 spikes at 1/2


def test_black_never_spikes_and_white_always_does() -> None:
    black_and_white = torch.stack([torch.zeros(50, 9), torch.ones(50, 9)], dim=-1)[None]
    assert torch.equal(encoders.poisson(black_and_white, KEY, 0), black_and_white)


def test_poisson_gradient_is_straight_through() -> None:
    x = images(4).requires_grad_()
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    total = (encoders.poisson(x, KEY, 0) * weights).sum()
    assert torch.equal(torch.autograd.grad(total, x)[0], weights)


def test_poisson_depends_on_sample_and_draw_alone() -> None:
    whole = encoders.poisson(images(4), KEY, 3)
    part = replace(KEY, samples_B=KEY.samples_B[10:20])
    assert torch.equal(encoders.poisson(images(4)[:, 10:20], part, 3), whole[:, 10:20])
    assert not torch.equal(encoders.poisson(images(4), KEY, 4), whole)


@pytest.mark.parametrize(
    ("key", "message"),
    [(None, "keyed noise"), (replace(KEY, samples_B=torch.arange(3)), "names 3 samples")],
)
def test_poisson_without_a_fitting_key_is_refused(key: noise.Key | None, message: str) -> None:
    with pytest.raises(SnnlibError, match=message):
        encoders.poisson(images(2), key, 0)
