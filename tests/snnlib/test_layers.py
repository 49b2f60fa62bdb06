"""Layers that are fast for a reason, against the plain ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from snnlib import layers, noise
from snnlib.errors import SnnlibError
from snnlib.layers import AveragePool2, Folded, ImageConv2d, KeyedDropout, WindowSum
from snnlib.models.lean import LeanConv2d

GENERATOR = torch.Generator().manual_seed(0)
POOL = Path(__file__).parent.parent / "data" / "pool.npz"
KEY = noise.Key(seed=7, stream="training/0", samples_B=torch.arange(100, 108))


def test_average_pool_is_the_mean_of_its_windows() -> None:
    x = torch.rand(3, 2, 6, 8, generator=GENERATOR, dtype=torch.float64).requires_grad_()
    upstream = torch.rand(3, 2, 3, 4, generator=GENERATOR, dtype=torch.float64)
    found, plain = AveragePool2()(x), functional.avg_pool2d(x, 2)
    gradients = [torch.autograd.grad(y, x, upstream)[0] for y in (found, plain)]
    assert torch.allclose(found, plain, atol=1e-15)
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("channels", "kernels", "stride", "padding"), [(1, 5, 1, 0), (3, 64, 2, 3), (3, 48, 1, 1)]
)
def test_image_convolution_is_the_plain_one(
    channels: int, kernels: int, stride: int, padding: int
) -> None:
    layer = ImageConv2d(channels, kernels, (5, 3), stride, padding, bias=False).double()
    x = torch.randn(2, channels, 9, 8, generator=GENERATOR, dtype=torch.float64).requires_grad_()
    found = layer(x)
    plain = functional.conv2d(x, layer.weight, None, stride, padding)
    upstream = torch.randn(found.shape, generator=GENERATOR, dtype=torch.float64)
    given = (x, layer.weight)
    gradients = [torch.autograd.grad(y, given, upstream) for y in (found, plain)]
    assert type(found.grad_fn).__name__ == "_ImageConv2dBackward"
    assert torch.equal(found, plain)
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("case", "size"), [("p0", 2), ("p1", 3)])
@pytest.mark.parametrize(("dtype", "atol"), [("f32", 1e-6), ("f64", 1e-12)])
def test_window_sum_is_the_pool_of_hosnn(case: str, size: int, dtype: str, atol: float) -> None:
    """Outputs and input gradients as HoSNN at 110eeca computes them, time last there."""
    with np.load(POOL, allow_pickle=False) as golden:
        x = torch.from_numpy(golden[f"{case}/x"])
        names = ("y", "grad_x", "grad_out")
        y, grad_x, up = (torch.from_numpy(golden[f"{case}/{dtype}/{n}"]) for n in names)
    x = x.to(y.dtype).movedim(-1, 0).requires_grad_()
    found = WindowSum(size, 1.1)(x)
    (grad,) = torch.autograd.grad(found, x, up.movedim(-1, 0))
    assert torch.allclose(found.movedim(0, -1), y, atol=atol)
    assert torch.allclose(grad.movedim(0, -1), grad_x, atol=atol)


def test_window_sum_refuses_what_its_windows_do_not_tile() -> None:
    """Where the published pool mixes channels."""
    with np.load(POOL, allow_pickle=False) as golden:
        x = torch.from_numpy(golden["p2/x"]).movedim(-1, 0)
    with pytest.raises(SnnlibError, match="windows of 3x3 do not tile 4x6: choose"):
        WindowSum(3, 1.1)(x)


@pytest.mark.parametrize("constant", [False, True])
def test_folded_is_the_layer_at_every_step(*, constant: bool) -> None:
    layer = nn.Conv2d(2, 3, 3, dtype=torch.float64)
    x_TBCHW = torch.rand(4, 5, 2, 6, 6, generator=GENERATOR, dtype=torch.float64)
    if constant:
        x_TBCHW = x_TBCHW[:1].expand(4, -1, -1, -1, -1)
    expected = torch.stack([layer(x_BCHW) for x_BCHW in x_TBCHW])
    assert torch.allclose(Folded(layer)(x_TBCHW), expected, atol=1e-12)


def test_a_constant_input_is_computed_once() -> None:
    layer, sizes = nn.Linear(3, 2), []
    layer.register_forward_hook(lambda _m, inputs, _y: sizes.append(len(inputs[0])))
    Folded(layer)(torch.rand(5, 3).expand(4, 5, 3))
    Folded(layer)(torch.rand(4, 5, 3))
    assert sizes == [5, 20]


def dropout(key: noise.Key | None = KEY, *, draw: int = 0, name: str = "dropout_1") -> KeyedDropout:
    layer = KeyedDropout(0.2, name)
    layer.key, layer.draw = key, draw
    return layer


def test_dropout_zeroes_a_share_and_keeps_the_mean() -> None:
    layer, x_TB = dropout(), torch.ones(5, 8, 10, 25)
    y_TB = layer(x_TB)
    assert layer.p == 13107 / 65536
    assert set(y_TB.unique().tolist()) == {0.0, torch.tensor(1 / (1 - layer.p)).item()}
    assert abs(float(y_TB.mean()) - 1) < 0.02  # 4 sigma: 4 sqrt(.25 / 10,000)


def test_dropout_depends_on_the_sample_alone_and_not_on_its_batch() -> None:
    x_TB = torch.rand(5, 8, 3, 7, generator=GENERATOR)
    whole = dropout()(x_TB)
    single = dropout(noise.Key(seed=7, stream="training/0", samples_B=KEY.samples_B[3:4]))
    assert torch.equal(single(x_TB[:, 3:4]), whole[:, 3:4])


@pytest.mark.parametrize("other", [dropout(draw=1), dropout(name="dropout_2")])
def test_draws_and_layers_drop_independently(other: KeyedDropout) -> None:
    x_TB = torch.ones(5, 8, 1000)
    dropped = torch.stack([(layer(x_TB) == 0).flatten() for layer in (dropout(), other)])
    assert abs(float(torch.corrcoef(dropped.float())[0, 1])) < 0.02  # 4 sigma of 40,000 pairs


def test_steps_and_samples_drop_independently() -> None:
    kept = (dropout()(torch.ones(5, 8, 1000)) > 0).flatten(0, 1).float()
    others = torch.corrcoef(kept) - torch.eye(40)
    assert float(others.abs().max()) < 0.17  # 5 sigma: 5 / sqrt(1,000)


def test_dropout_passes_all_in_evaluation_and_needs_a_key_in_training() -> None:
    x_TB, layer = torch.rand(5, 8, 3), dropout(None)
    assert layer.eval()(x_TB) is x_TB
    with pytest.raises(SnnlibError, match="dropout_1: dropout has no key in training; call"):
        layer.train()(x_TB)


@pytest.mark.parametrize(("p", "rounded"), [(1e-9, 0.0), (1 - 1e-9, 1 - 2**-16)])
def test_dropout_rounds_p_to_what_the_noise_can_do(p: float, rounded: float) -> None:
    layer = KeyedDropout(p, "dropout_1")
    layer.key = KEY
    assert layer.p == rounded
    assert bool(layer(torch.ones(5, 8, 3)).isfinite().all())


def test_the_convolution_of_an_image_can_be_trained_in_bf16() -> None:
    layer = ImageConv2d(1, 4, 3, bias=False)
    x = torch.rand(2, 1, 5, 5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    (grad,) = torch.autograd.grad(y.float().sum(), x)
    assert grad.shape == x.shape
    assert grad.isfinite().all()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "misread"),
    [(1, 3, 2, 1, True), (1, 5, 1, 2, True), (2, 2, 3, 1, True), (8, 3, 2, 1, False),
     (1, 1, 2, 0, False), (3, 3, 1, 1, False), (224, 7, 2, 3, False)],
)  # fmt: skip
def test_kernels_of_which_a_part_meets_padding_only(
    *, size: int, kernel: int, stride: int, padding: int, misread: bool
) -> None:
    conv, x = ImageConv2d(2, 3, kernel, stride, padding), torch.rand(1, 2, size, size)
    assert not layers.misread(conv, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layers.misread(conv, x) == misread


@pytest.mark.parametrize("kind", [ImageConv2d, LeanConv2d])
def test_bf16_leaves_such_a_kernel_its_gradient(kind: type[torch.nn.Conv2d]) -> None:
    """PyTorch's own differs from run to run here, by what happens to lie in memory."""
    torch.manual_seed(0)
    conv, x = kind(128, 256, 3, 2, 1, bias=False), torch.rand(3, 128, 1, 1)
    junk = torch.full_like(conv.weight, 7.0).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = conv(x.bfloat16())
    del junk
    (found,) = torch.autograd.grad(y.sin().sum(), conv.weight)
    exact = functional.conv2d(x.bfloat16().float(), conv.weight, None, 2, 1).sin().sum()
    (wanted,) = torch.autograd.grad(exact, conv.weight)
    assert torch.allclose(found, wanted, atol=1e-5)
