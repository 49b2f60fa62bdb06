"""Counter-based random numbers: their source, their independence, their quality."""

from dataclasses import replace

import pytest
import torch

from snnlib import noise

KEY = noise.Key(seed=7, stream="test", samples_B=torch.arange(64))


def test_generator_is_splitmix64() -> None:
    """First outputs for seed 1234567, as published with reference implementations."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    found = noise.splitmix64(torch.tensor([1234567]), 3)
    assert [value % 2**64 for value in found[0].tolist()] == expected


@pytest.mark.parametrize("sizes", [[64], [1] * 64, [30, 34], [63, 1]])
def test_any_batching_gives_equal_numbers(sizes: list[int]) -> None:
    whole = noise.uniform((3, 5), KEY, draw=2)
    parts = [
        noise.uniform((3, 5), replace(KEY, samples_B=samples), draw=2)
        for samples in torch.split(KEY.samples_B, sizes)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_order_of_samples_does_not_matter() -> None:
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    found = noise.uniform((4,), replace(KEY, samples_B=shuffled))
    assert torch.equal(found, noise.uniform((4,), KEY)[shuffled])


@pytest.mark.parametrize(
    "other",
    [replace(KEY, seed=8), replace(KEY, stream="x"), replace(KEY, samples_B=KEY.samples_B + 64)],
)
def test_every_part_of_the_key_counts(other: noise.Key) -> None:
    a, b = (noise.uniform((1000,), key).flatten() for key in (KEY, other))
    assert abs(torch.corrcoef(torch.stack((a, b)))[0, 1]) < 0.015  # 4 sigma of 64,000 pairs


def test_draws_are_independent() -> None:
    a, b = (noise.uniform((1000,), KEY, draw).flatten() for draw in (0, 1))
    assert abs(torch.corrcoef(torch.stack((a, b)))[0, 1]) < 0.015


def test_numbers_are_uniform() -> None:
    u = noise.uniform((4000,), KEY).flatten()
    counts = torch.histc(u, bins=100, min=0, max=1)
    chi_squared = float(((counts - 2560) ** 2 / 2560).sum())
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert 50 < chi_squared < 160  # 99 degrees of freedom; 0.01 % on each side


def test_neighbouring_samples_and_positions_do_not_correlate() -> None:
    u = noise.uniform((1000,), KEY) - 0.5
    along_samples, along_positions = (u[1:] * u[:-1]).mean(), (u[:, 1:] * u[:, :-1]).mean()
    assert abs(float(along_samples)) < 0.0014  # 4 sigma: 4 / 12 / sqrt(63,000)
    assert abs(float(along_positions)) < 0.0014


def test_permutation_is_one_and_changes_with_the_epoch() -> None:
    orders = [noise.permutation(3, epoch, 1000) for epoch in range(2)]
    assert all(torch.equal(order.sort().values, torch.arange(1000)) for order in orders)
    assert not torch.equal(*orders)
    assert torch.equal(noise.permutation(3, 1, 1000), orders[1])


@pytest.mark.parametrize(("p", "exact"), [(0.2, 13107 / 65536), (0.5, 0.5), (0.0, 0.0)])
def test_decisions_have_their_probability(p: float, exact: float) -> None:
    true = noise.bernoulli((4001,), p, KEY)  # not a multiple of the 4 from one number
    assert true.shape == (64, 4001)
    assert abs(true.double().mean().item() - exact) <= 4 * (exact * (1 - exact) / 256064) ** 0.5


def test_decisions_do_not_depend_on_the_batch() -> None:
    whole = noise.bernoulli((3, 5), 0.5, KEY, draw=2)
    single = noise.bernoulli((3, 5), 0.5, replace(KEY, samples_B=KEY.samples_B[9:10]), draw=2)
    assert torch.equal(single, whole[9:10])


def test_the_four_decisions_of_a_number_do_not_correlate() -> None:
    true = noise.bernoulli((4000,), 0.5, KEY).view(-1, 4).double()
    others = torch.corrcoef(true.T) - torch.eye(4)
    assert float(others.abs().max()) < 0.016  # 4 sigma of 64,000
