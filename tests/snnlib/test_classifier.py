"""The classifier: no state survives a call, spaces agree, and its contexts leave no trace."""

import gc
import weakref
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlib import classifier, encoders, models, noise
from snnlib.classifier import SpikingClassifier
from snnlib.errors import NoGradient
from snnlib.spec.attack import Space
from snnlib.spec.encoder import Direct, Poisson
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF, Sigmoid
from tests.snnlib import networks

BATCH = networks.batch(6)
KEY = noise.Key(seed=0, stream="test", samples_B=BATCH.samples_B)


def gradient(model: SpikingClassifier) -> Tensor:
    x = BATCH.images_BCHW.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


@pytest.mark.parametrize("readout", ["current", "spikes"])
def test_two_calls_agree_whatever_came_between(readout: Any) -> None:
    model = networks.small(readout=readout)
    first = model(BATCH.images_BCHW)
    model(1 - BATCH.images_BCHW)
    assert torch.equal(model(BATCH.images_BCHW), first)
    assert first.shape == (6, 10)


def test_an_interrupted_call_leaves_no_state() -> None:
    model = networks.small()
    first = model(BATCH.images_BCHW)
    last: Any = list(model.spiking_layers.values())[-1]
    hook = last.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(BATCH.images_BCHW)
    hook.remove()
    assert torch.equal(model(BATCH.images_BCHW), first)


def test_no_graph_outlives_its_logits() -> None:
    model = networks.small()
    x = BATCH.images_BCHW.clone().requires_grad_()
    logits = model(x)
    image = weakref.ref(x)
    del x, logits
    gc.collect()
    assert image() is None


@pytest.mark.parametrize("encoder", [Direct(), Poisson()])
@pytest.mark.parametrize("space", ["repeated", "encoded"])
def test_every_space_gives_the_logits_of_the_image(encoder: Any, space: Space) -> None:
    model = networks.small(encoder=encoder)
    with model.keyed(KEY):
        direct = model(BATCH.images_BCHW)
    with model.keyed(KEY):
        z = model.lift(BATCH.images_BCHW, space)
    with model.keyed(KEY):
        lifted = model.logits(z, space)
    assert z.shape == (3, *BATCH.images_BCHW.shape)
    assert torch.allclose(lifted, direct, atol=1e-6)


def test_noise_counts_calls_since_the_key() -> None:
    model = networks.small(encoder=Poisson())
    runs = []
    for _ in range(2):
        with model.keyed(KEY):
            runs.append([model(BATCH.images_BCHW) for _ in range(2)])
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[0][1])


def test_attackers_surrogate_changes_the_gradient_only_inside() -> None:
    model = networks.small()
    own = gradient(model)
    with model.surrogate(Sigmoid(alpha=Decimal(1))):
        assert not torch.allclose(gradient(model), own)
    with model.surrogate("own"):
        assert torch.equal(gradient(model), own)
    assert torch.equal(gradient(model), own)


def test_gradient_is_the_same_in_evaluation_mode() -> None:
    model = networks.small()
    trained = gradient(model.train())
    assert torch.equal(gradient(model.eval()), trained)


def test_frozen_gives_modes_and_flags_back() -> None:
    model = networks.small().train()
    model.layers.eval()
    next(model.parameters()).requires_grad = False

    def seen() -> list[bool]:
        return [m.training for m in model.modules()] + [p.requires_grad for p in model.parameters()]

    before = seen()
    with classifier.frozen(model):
        assert not any(seen())
    assert seen() == before


class _Cut(nn.Module):
    def __init__(self, cut: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return self.cut(x_TBCHW).flatten(2)


@pytest.mark.parametrize(
    "cut", [lambda x: x.detach(), lambda x: (x > 0.5).float(), lambda x: torch.ones_like(x)]
)
def test_probe_finds_a_cut_graph(cut: Callable[[Tensor], Tensor]) -> None:
    model = SpikingClassifier(_Cut(cut), encode=encoders.build(Direct()), time_steps=2)
    with pytest.raises(NoGradient, match="no gradient reaches from the logits"):
        classifier.probe(model, BATCH.images_BCHW)


def test_probe_lets_a_gradient_of_zero_pass() -> None:
    model = SpikingClassifier(_Cut(lambda x: x * 0), encode=encoders.build(Direct()), time_steps=2)
    classifier.probe(model, BATCH.images_BCHW)


def test_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    hashes = [networks.state_hash(networks.small(seed=seed)) for seed in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert hashes[0] == hashes[1] != hashes[2]


def test_small_has_the_layers_it_says() -> None:
    spec = Small(neuron=LIF())
    model = models.build(spec, shape=(1, 8, 8), classes=10, seed=0)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes[::2] == [(16, 1, 3, 3), (32, 16, 3, 3), (64, 128), (10, 64)]
    assert len(model.spiking_layers) == 3
