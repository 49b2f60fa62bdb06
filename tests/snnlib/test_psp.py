"""The synapse filter against the published one, by hand, and against autograd."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlib.psp import kernel, psp

GOLDEN = Path(__file__).parent.parent / "data" / "psp.npz"
CASES = ("T5_tau3", "T10_tau3", "T10_tau2")
TOLERANCE = {"f32": 1e-6, "f64": 1e-12}


def time_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(array, -1, 0).copy())


def pattern(time_steps: int) -> Tensor:
    """0,1,1,1,1 for five steps, 0,1,0,1,... for a multiple of ten."""
    steps = torch.arange(time_steps, dtype=torch.float64)
    return (steps > 0).double() if time_steps == 5 else steps % 2


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_filter(case: str, dtype: str) -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        y, grad_x = (time_first(golden[f"{case}/{dtype}/{name}"]) for name in ("y", "grad_x"))
        x, grad_y = (time_first(golden[f"{case}/{name}"]).to(y.dtype) for name in ("x", "grad_out"))
    found = psp(x.requires_grad_(), float(case[-1]))
    (found_grad,) = torch.autograd.grad(found, x, grad_y)
    assert torch.allclose(found, y, rtol=0, atol=TOLERANCE[dtype])
    assert torch.allclose(found_grad, grad_x, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("case", CASES)
def test_filters_targets_once_and_twice(case: str) -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        once, twice = (
            time_first(golden[f"{case}/desired_psp_{n}"]).flatten() for n in ("once", "twice")
        )
    filtered = psp(pattern(len(once)), float(case[-1]))
    assert torch.allclose(filtered, once.double(), rtol=0, atol=1e-6)
    assert torch.allclose(psp(filtered, float(case[-1])), twice.double(), rtol=0, atol=1e-6)


def test_kernel_is_the_response_to_a_constant() -> None:
    assert kernel(5, 3.0).tolist() == pytest.approx([1 / 3, 5 / 9, 19 / 27, 65 / 81, 211 / 243])
    image_BN = torch.rand(2, 7, dtype=torch.float64)
    expected = kernel(6, 2.5, torch.float64)[:, None, None] * image_BN
    assert torch.allclose(psp(image_BN.expand(6, 2, 7), 2.5), expected, rtol=1e-14)


@pytest.mark.parametrize("time_steps", [1, 2, 5])
@pytest.mark.parametrize("tau_s", [1.0, 1.5, 3.0])
def test_gradient_is_right(time_steps: int, tau_s: float) -> None:
    x = torch.rand(time_steps, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: psp(x, tau_s), x)


def test_strided_input() -> None:
    x = torch.rand(3, 2, 5, dtype=torch.float64).permute(2, 1, 0)
    assert torch.equal(psp(x, 3.0), psp(x.contiguous(), 3.0))
    assert psp(x, 3.0).is_contiguous()
