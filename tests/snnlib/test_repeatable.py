"""Pinning and promises."""

import random

import numpy as np
import pytest
import torch

from snnlib import repeatable


def test_pin_resets_every_global_generator() -> None:
    draws = []
    for _ in range(2):
        repeatable.pin(threads=1, seed=3)
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert draws[0] == draws[1]
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("device", "machines", "expected"),
    [
        ("cpu", 1, "bitwise"),
        ("cuda", 1, "deterministic"),
        ("cpu", 2, "statistical"),
        ("cuda", 2, "statistical"),
    ],
)
def test_promise(device: str, machines: int, expected: str) -> None:
    assert repeatable.promise(torch.device(device), machines=machines) == expected


@pytest.mark.parametrize("count", [1, 2, 5, 8, 1000])
@pytest.mark.parametrize("dim", [0, 1])
def test_prefix_sums_are_those_of_cumsum(count: int, dim: int) -> None:
    shape = [3, 3]
    shape[dim] = count
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(repeatable.prefix_sums(values, dim), values.cumsum(dim))
    exact = values.double().cumsum(dim)
    assert torch.allclose(repeatable.doubled_sums(values, dim).double(), exact, atol=1e-4)
    whole = values.mul(100).round()  # whole numbers are added without rounding
    assert torch.equal(repeatable.doubled_sums(whole, dim), whole.cumsum(dim))


def test_no_other_device_is_asked_for_a_cumsum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "cumsum", None)
    found = repeatable.prefix_sums(torch.empty(3, 7, device="meta"), 1)
    assert (found.shape, found.device.type) == ((3, 7), "meta")


def test_versions_name_what_results_rest_on() -> None:
    assert {"python", "torch", "spikingjelly", "numpy"} <= repeatable.versions().keys()
