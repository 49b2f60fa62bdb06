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
    ("device", "changed", "expected"),
    [
        ("cpu", False, "bitwise"),
        ("cuda", False, "deterministic"),
        ("cpu", True, "statistical"),
        ("cuda", True, "statistical"),
    ],
)
def test_promise(device: str, *, changed: bool, expected: str) -> None:
    assert repeatable.promise(torch.device(device), world_size_changed=changed) == expected


def test_versions_name_what_results_rest_on() -> None:
    assert {"python", "torch", "spikingjelly", "numpy"} <= repeatable.versions().keys()
