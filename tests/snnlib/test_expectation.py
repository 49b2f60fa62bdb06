"""Expectation over noise: the mean of what single draws give, whatever the batches."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlib import noise
from snnlib.attacks.expectation import Objective, slope
from snnlib.attacks.gradient import gradient
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch
from snnlib.evaluate import attack_batch
from snnlib.layers import Folded
from snnlib.losses import LOSSES
from snnlib.spec.attack import APGD, FAB, FGSM, MIFGSM, PGD, SAPGD, Square
from snnlib.spec.encoder import Poisson
from tests.snnlib import networks
from tests.snnlib.test_evaluate import GRID, _double

BATCH = networks.batch(6)
KEY = noise.Key(seed=3, stream="test", samples_B=BATCH.samples_B)
PLAIN = Objective(lambda response: response.logits[:, 1])


def scaled(x_TBCHW: Tensor, key: noise.Key | None, draw: int) -> Tensor:
    """Each pixel times a random number between 0 and 2, the same at every step."""
    assert key is not None
    return x_TBCHW * 2 * noise.uniform(x_TBCHW.shape[2:], key, draw).double()


@pytest.fixture
def linear() -> tuple[SpikingClassifier, Tensor]:
    """Logits of a linear layer behind random scales, and the gradient of one for scale 1."""
    layer = nn.Linear(64, 10, bias=False, dtype=torch.float64)
    layers = Folded(nn.Sequential(nn.Flatten(), layer))
    model = SpikingClassifier(layers, encode=scaled, time_steps=2)
    return model, layer.weight.detach()[1].view(1, 8, 8)


def test_the_gradient_of_a_linear_random_net_is_the_analytic_mean(
    linear: tuple[SpikingClassifier, Tensor],
) -> None:
    model, weight_CHW = linear
    z = BATCH.images_BCHW.double()
    with model.keyed(KEY):
        _, g, response = slope(model, z, "pixel", replace(PLAIN, draws=7))
    scales = torch.stack([2 * noise.uniform((1, 8, 8), KEY, draw).double() for draw in range(7)])
    assert torch.allclose(g, weight_CHW * scales.mean(0), rtol=1e-12)
    assert torch.allclose(response.logits[:, 1], (z * g).sum((1, 2, 3)), rtol=1e-12)


def test_more_draws_come_closer_to_the_expectation(
    linear: tuple[SpikingClassifier, Tensor],
) -> None:
    model, weight_CHW = linear
    errors = []
    for draws in (1, 10, 100):
        with model.keyed(KEY):
            g = slope(model, BATCH.images_BCHW.double(), "pixel", replace(PLAIN, draws=draws))[1]
        errors.append(float((g - weight_CHW).norm()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("encoder", [Poisson(), networks.DIRECT])
def test_one_draw_is_the_plain_gradient_bit_for_bit(encoder: Any) -> None:
    model = networks.small(encoder=encoder)
    z = BATCH.images_BCHW.clone().requires_grad_()
    with model.keyed(KEY):
        loss = LOSSES["cross_entropy"](model.response(z, "pixel"), BATCH.labels_B).sum()
    with model.keyed(KEY):
        found = gradient(model, z, BATCH.labels_B, FGSM())
    assert torch.equal(found, torch.autograd.grad(loss, z)[0])


@pytest.mark.parametrize(
    "attack",
    [FGSM(draws=3), PGD(steps=2, draws=3), APGD(steps=3, draws=2, targets=2),
     MIFGSM(steps=2, draws=2), SAPGD(steps=2, draws=2), FAB(steps=2, targets=2),
     Square(queries=6)],
    ids=lambda a: a.name,
)  # fmt: skip
def test_draws_do_not_depend_on_batches(attack: Any) -> None:
    model = networks.small(encoder=Poisson()).double()
    model.decision_draws = 3
    whole = _outcome(model, attack, BATCH)
    parts = [_outcome(model, attack, networks.part(BATCH, *cut)) for cut in ((0, 1), (1, 6))]
    assert torch.equal(torch.cat(parts, 1), whole)


def _outcome(model: SpikingClassifier, attack: Any, batch: Batch) -> Tensor:
    return attack_batch(model, attack, GRID[:2], _double(batch), seed=5).correct_EB


def test_the_mean_of_the_logits_decides() -> None:
    model = networks.small(encoder=Poisson())
    with model.keyed(KEY), torch.no_grad():
        each = [model.logits(BATCH.images_BCHW, "pixel") for _ in range(5)]
    model.decision_draws = 5
    with model.keyed(KEY), torch.no_grad():
        decided_B, logits_BK = model.predicted(BATCH.images_BCHW, "pixel")
    assert torch.allclose(logits_BK, torch.stack(each).mean(0), atol=1e-6)
    assert torch.equal(decided_B, logits_BK.argmax(1))
