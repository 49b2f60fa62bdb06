"""Encoders: what they send, and the gradient that goes back."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlib import encoders, noise, surrogates
from snnlib.doors import spikingjelly
from snnlib.encoders import Encode
from snnlib.errors import SnnlibError
from snnlib.layers import Folded
from snnlib.neurons.spiking import if_node
from snnlib.spec.encoder import Direct, Encoder, Latency, Phase, Poisson
from snnlib.spec.neuron import IF, ATan

KEY = noise.Key(seed=0, stream="test", samples_B=torch.arange(50))
LEVELS = torch.arange(256.0).reshape(1, 1, 16, 16)
CODES: list[Encoder] = [Poisson(), Latency(), Phase(), Phase(weighted=True)]
SOFT: list[Callable[[Tensor], Tensor]] = [
    encoders.soft_poisson,
    encoders.soft_latency,
    encoders.soft_phase,
    partial(encoders.soft_phase, weighted=True),
]


def images(steps: int) -> Tensor:
    x = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return x.expand(steps, *x.shape).contiguous()


def unlike(steps: int) -> Tensor:
    """Another image at every step, with 8-bit and other values, 0 and 1 among them."""
    x = torch.rand(steps, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    x[:, 0] = (x[:, 0] * 255).round() / 255
    x[:, 1, 0, 0, :2] = torch.tensor([0.0, 1.0])
    return x


def test_direct_is_the_image() -> None:
    assert torch.equal(encoders.build(Direct())(images(3), None, 0), images(3))


@pytest.mark.parametrize("constant", [False, True])
def test_direct_normalises_each_channel(*, constant: bool) -> None:
    spec = Direct(mean=(Decimal("0.5"), Decimal(0)), std=(Decimal("0.25"), Decimal(2)))
    x = torch.rand(3, 4, 2, 5, 5)
    x = x[:1].expand(3, -1, -1, -1, -1) if constant else x
    found = encoders.build(spec)(x, None, 0)
    assert torch.equal(found[:, :, 0], (x[:, :, 0] - 0.5) / 0.25)
    assert torch.equal(found[:, :, 1], x[:, :, 1] / 2)
    assert (found.stride(0) == 0) == constant  # what is the same at every step is computed once


def test_bounds_are_the_images_of_black_and_white() -> None:
    half, one, two = Decimal("0.5"), Decimal(1), Decimal(2)
    apart = encoders.bounds(Direct(mean=(Decimal(0), one), std=(one, two)), channels=2)
    assert [torch.as_tensor(end).flatten().tolist() for end in apart] == [[0, -0.5], [1, 0]]
    assert encoders.bounds(Direct(mean=(half,), std=(half,)), channels=3) == (-1, 1)
    assert encoders.bounds(Phase(), channels=3) == (0, 1)


def test_poisson_spikes_with_the_pixel_as_its_rate() -> None:
    spikes = encoders.poisson(images(400), KEY, 0)
    assert set(spikes.flatten().tolist()) == {0, 1}
    assert (spikes.mean(0) - images(1)[0]).abs().max() < 0.12  # 4.8 sigma of 400 spikes at 1/2


def test_black_never_spikes_and_white_always_does() -> None:
    black_and_white = torch.stack([torch.zeros(50, 9), torch.ones(50, 9)], dim=-1)[None]
    assert torch.equal(encoders.poisson(black_and_white, KEY, 0), black_and_white)


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


def test_codes_by_hand() -> None:
    x = torch.tensor([0.0, 1 / 255, 170 / 255, 1.0]).expand(10, -1)
    assert encoders.phase(x)[:, 1].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    assert encoders.phase(x)[:, 2].tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert encoders.phase(x, weighted=True)[:, 3].tolist() == [
        2.0 ** -(t % 8 + 1) for t in range(10)
    ]
    assert encoders.latency(x).argmax(0).tolist() == [9, 9, 3, 0]  # 9(1 - 2/3) = 3


@pytest.mark.parametrize("steps", [1, 4, 8, 10, 20])
def test_phase_and_latency_are_spikingjellys(steps: int) -> None:
    encoding: Any = spikingjelly("encoding")
    phases, times = encoding.WeightedPhaseEncoder(K=8), encoding.LatencyEncoder(T=steps)
    expected = [
        torch.stack([e(LEVELS / n) for _ in range(steps)]) for e, n in ((phases, 256), (times, 255))
    ]
    x = (LEVELS / 255).expand(steps, *LEVELS.shape)
    assert torch.equal(encoders.phase(x), expected[0])
    assert torch.equal(encoders.latency(x), expected[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_step_codes_its_own_image(dtype: torch.dtype) -> None:
    encoding: Any = spikingjelly("encoding")
    x, steps = unlike(10).to(dtype), range(10)
    for t in steps:
        phases, times = encoding.WeightedPhaseEncoder(K=8), encoding.LatencyEncoder(T=10)
        level = (255 * x[t] + 2**-10).clamp(max=255).float()
        planes, spikes = (
            [e(y) for _ in steps][t] for e, y in ((phases, level / 256), (times, x[t]))
        )
        assert torch.equal(encoders.phase(x)[t], planes.to(dtype))
        assert torch.equal(encoders.latency(x)[t], spikes)


@pytest.mark.parametrize("code", [encoders.phase, encoders.latency])
def test_beyond_the_range_is_coded_as_its_end(code: Callable[[Tensor], Tensor]) -> None:
    beyond = torch.tensor([-0.3, 1.7]).expand(8, -1)
    assert torch.equal(code(beyond), code(beyond.clamp(0, 1)))


@pytest.mark.parametrize("soft", SOFT)
def test_twins_differentiate_as_finite_differences(soft: Callable[[Tensor], Tensor]) -> None:
    x = unlike(10).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: soft(z).sum((1, 2, 3, 4)), x, fast_mode=True)


@pytest.mark.parametrize(("spec", "soft"), list(zip(CODES, SOFT, strict=True)))
def test_a_code_is_exact_with_its_twins_gradient(
    spec: Encoder, soft: Callable[[Tensor], Tensor]
) -> None:
    encode, x = encoders.build(spec), images(10).requires_grad_()
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    coded = encode(x, KEY, 0)
    found, expected = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (coded, soft(x)))
    assert torch.equal(coded, encode(x.detach(), KEY, 0))
    assert torch.equal(found, expected)


def stripes(count: int) -> tuple[Tensor, Tensor]:
    """Images [N, 1, 6, 6], faintly striped across (class 0) or along (class 1), with noise."""
    generator = torch.Generator().manual_seed(2)
    labels_N = torch.arange(count) % 2
    stripe = 0.12 * (-1.0) ** torch.arange(6)
    both = torch.stack((stripe[:, None].expand(6, 6), stripe.expand(6, 6)))
    grey = 0.2 + 0.6 * torch.rand(count, 1, 1, 1, generator=generator)
    shift = 0.1 * torch.randn(count, 1, 6, 6, generator=generator)
    return (grey + both[labels_N][:, None] + shift).clamp(0, 1), labels_N


def trained(encode: Encode, x: Tensor, labels_B: Tensor) -> Callable[[Tensor], Tensor]:
    """Logits of 36 inputs, 32 IF neurons and 2 classes over 8 steps, fitted without a defence."""
    key = noise.Key(seed=0, stream="test", samples_B=torch.arange(len(x)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, last = nn.Linear(36, 32), nn.Linear(32, 2)
    node: Any = if_node(IF(), surrogates.build(ATan()))
    layers = nn.Sequential(Folded(nn.Sequential(nn.Flatten(), first)), node, Folded(last))

    def logits(z_BCHW: Tensor) -> Tensor:
        node.reset()
        coded = encode(z_BCHW.expand(8, *z_BCHW.shape), key, 0)
        mean: Tensor = layers(coded).mean(0)
        return mean

    adam = torch.optim.Adam(layers.parameters(), lr=0.01)
    for _ in range(40):
        adam.zero_grad()
        functional.cross_entropy(logits(x), labels_B).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return logits


@pytest.mark.parametrize("spec", CODES)
@pytest.mark.parametrize("steps", [1, 7])
def test_twins_lead_attacks_where_noise_does_not_get(spec: Encoder, steps: int) -> None:
    x, labels_B = stripes(200)
    logits, epsilon = trained(encoders.build(spec), x, labels_B), 0.1

    def correct(z: Tensor) -> float:
        with torch.no_grad():
            return (logits(z).argmax(1) == labels_B).float().mean().item()

    z = x
    for _ in range(steps):
        z = z.detach().requires_grad_()
        (g,) = torch.autograd.grad(functional.cross_entropy(logits(z), labels_B), z)
        z = z + (epsilon if steps == 1 else epsilon / 3) * g.sign()
        z = z.clamp(x - epsilon, x + epsilon).clamp(0, 1)
    signs = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)).sub(0.5).sign()
    noisy = correct((x + epsilon * signs).clamp(0, 1))
    assert correct(x) > 0.9
    assert correct(z) < noisy - 0.1
