"""The regimes' objectives against closed forms on a linear network; what each does on digits."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from snnlib import datasets, models, noise, regimes, repeatable
from snnlib.attacks.inner import adversarial, divergent
from snnlib.classifier import SpikingClassifier
from snnlib.distributed import World
from snnlib.evaluate import attack_batch
from snnlib.neurons import TraceLIFNode
from snnlib.regimes import REGIMES, Objective, TrainingBatch
from snnlib.spec.attack import FGSM, PGD, Space
from snnlib.spec.data import Dataset
from snnlib.spec.layers import Conv, Dropout, Layer
from snnlib.spec.model import LayerTable, Small
from snnlib.spec.neuron import IF
from snnlib.spec.training import (
    AdversarialRegime,
    Adversary,
    AttackMode,
    CleanRegime,
    RATRegime,
    Regime,
    SRRegime,
    TradesRegime,
    TrainingSpec,
)
from snnlib.train import Training
from tests.snnlib import networks

EPSILON = Fraction(1, 10)
DIGITS = networks.batch(20, (3, 2, 2), classes=5)
KEY = noise.Key(seed=0, stream="training/0", samples_B=DIGITS.samples_B)
BATCH = TrainingBatch(
    images_BCHW=0.5 + 0.1 * DIGITS.images_BCHW.double(), labels_B=DIGITS.labels_B, key=KEY
)
ONE_STEP = PGD(steps=1, step_size="eps/2", random_start=False)


def objective(module: SpikingClassifier, regime: Regime, batch: TrainingBatch = BATCH) -> Objective:
    return REGIMES[regime.name](module, regime, batch)


def affine(module: nn.Module) -> tuple[Tensor, Tensor]:
    """W [K, n] and b [K] of the linear network."""
    weight, bias = module.parameters()
    return weight.detach(), bias.detach()


def logits(module: nn.Module, x: Tensor) -> Tensor:
    weight, bias = affine(module)
    return x.flatten(1) @ weight.t() + bias


def test_clean_and_adversarial_are_the_loss_at_their_points() -> None:
    module, (x, y) = networks.linear(), (BATCH.images_BCHW, BATCH.labels_B)
    plain = objective(module, CleanRegime())
    assert torch.allclose(
        plain.loss_B, functional.cross_entropy(logits(module, x), y, reduction="none")
    )
    attacked = objective(module, AdversarialRegime(epsilon=EPSILON))
    chance = logits(module, x).softmax(1) - functional.one_hot(y, 5)
    z = x.flatten(1) + 0.1 * (chance @ affine(module)[0]).sign()
    wanted = functional.cross_entropy(logits(module, z), y, reduction="none")
    assert torch.allclose(attacked.loss_B, wanted)


def test_one_step_of_the_divergent_ascent_by_hand() -> None:
    module, x = networks.linear(), BATCH.images_BCHW
    regime = TradesRegime(epsilon=EPSILON, attack=ONE_STEP)
    own = replace(KEY, stream="a")
    z = divergent(module, x, regime=regime, key=own)
    unit = noise.uniform(x.shape[1:], replace(KEY, stream="a/start"))
    begin = x + 0.001 * (2 * unit - 1)
    # dKL(p || q) / d logits of q is q - p
    push = logits(module, begin).softmax(1) - logits(module, x).softmax(1)
    wanted = begin + 0.05 * (push @ affine(module)[0]).sign().view_as(x)
    assert torch.allclose(z, wanted)


@pytest.mark.parametrize(("random_start", "farthest"), [(False, 0.001), (True, 0.1)])
def test_where_the_divergent_ascent_starts(random_start: bool, farthest: float) -> None:
    attack = PGD(steps=1, step_size="1/100000000", random_start=random_start)
    regime = TradesRegime(epsilon=EPSILON, attack=attack)
    z = divergent(networks.linear(), BATCH.images_BCHW, regime=regime, key=KEY)
    distance = (z - BATCH.images_BCHW).abs().max().item()
    assert 0.9 * farthest < distance <= farthest + 1e-7


@pytest.mark.parametrize("space", ["pixel", "repeated", "encoded"])
def test_the_divergent_ascent_stays_in_the_ball_and_raises_the_divergence(space: Space) -> None:
    module, batch = networks.small(), networks.batch(20)
    x = batch.images_BCHW
    attack = PGD(steps=5, random_start=False, space=space)
    regime = TradesRegime(epsilon=EPSILON, attack=attack)
    z = divergent(module, x, regime=regime, key=replace(KEY, samples_B=batch.samples_B))
    assert 0 < (z - module.lift(x, space)).abs().max() <= 0.1 + 1e-6
    clean = Categorical(logits=module.logits(x, "pixel"))
    moved = Categorical(logits=module.logits(z, space))
    assert kl_divergence(clean, moved).mean() > 0.01


def test_a_start_depends_on_its_sample_alone() -> None:
    module, regime = networks.linear(), TradesRegime(epsilon=EPSILON, attack=ONE_STEP)
    both = divergent(module, BATCH.images_BCHW, regime=regime, key=KEY)
    last = replace(KEY, samples_B=KEY.samples_B[15:])
    part = divergent(module, BATCH.images_BCHW[15:], regime=regime, key=last)
    assert torch.equal(both[15:], part)


def test_trades_is_cross_entropy_and_divergence() -> None:
    module = networks.linear()
    regime = TradesRegime(epsilon=EPSILON, attack=ONE_STEP, beta=Decimal(3))
    found = objective(module, regime)
    attack_key = replace(KEY, stream="training/0/attack")
    z = divergent(module, BATCH.images_BCHW, regime=regime, key=attack_key)
    natural, moved = logits(module, BATCH.images_BCHW), logits(module, z)
    apart = kl_divergence(Categorical(logits=natural), Categorical(logits=moved))
    plain = functional.cross_entropy(natural, BATCH.labels_B, reduction="none")
    assert torch.allclose(found.loss_B, plain + 3 * apart)
    assert torch.allclose(found.logits_BK, natural)


def test_the_gradient_of_trades_flows_through_both_answers() -> None:
    module = networks.linear()
    regime = TradesRegime(epsilon=EPSILON, attack=ONE_STEP, beta=Decimal(3))
    torch.autograd.backward(objective(module, regime).loss_B.sum())
    weight, _ = module.parameters()
    attack_key = replace(KEY, stream="training/0/attack")
    z = divergent(module, BATCH.images_BCHW, regime=regime, key=attack_key).flatten(1)
    x = BATCH.images_BCHW.flatten(1)
    p, q = logits(module, x).softmax(1), logits(module, z).softmax(1)
    apart = (p * (p.log() - q.log())).sum(1, keepdim=True)
    through_p = p * (p.log() - q.log() - apart)
    own = p - functional.one_hot(BATCH.labels_B, 5)
    wanted = (own + 3 * through_p).t() @ x + 3 * (q - p).t() @ z
    assert weight.grad is not None
    assert torch.allclose(weight.grad, wanted)


def test_weights_of_rat_are_drawn_to_orthogonal_rows() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    regimes.settle(layer, RATRegime(epsilon=EPSILON, beta=Decimal("0.1")))
    # s (1 + beta (1 - s^2)) for s = 2 and 1/2
    assert torch.allclose(layer.weight, torch.tensor([[1.4, 0.0], [0.0, 0.5375]]))


def test_rat_takes_a_gradient_step_on_the_distance_from_orthogonality() -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Linear(7, 4)).double()
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    regimes.settle(module, RATRegime(epsilon=EPSILON, beta=Decimal("0.01")))
    for name, value in module.named_parameters():
        old = before[name].requires_grad_()
        if old.ndim > 1:
            rows = old.flatten(1)
            distance = (rows @ rows.t() - torch.eye(len(rows))).square().sum() / 4
            (g,) = torch.autograd.grad(distance, old)
            old = old - 0.01 * g
        assert torch.allclose(value, old), name


@pytest.mark.parametrize("regime", [CleanRegime(), AdversarialRegime(epsilon=EPSILON)])
def test_other_regimes_leave_weights_alone(regime: Regime) -> None:
    module = networks.small()
    before = networks.state_hash(module)
    regimes.settle(module, regime)
    assert networks.state_hash(module) == before


def gap(module: nn.Module) -> tuple[Tensor, Tensor]:
    """z_y - z_m, and the l1 norm of its gradient W_y - W_m, m the strongest class besides y."""
    z, y = logits(module, BATCH.images_BCHW), BATCH.labels_B
    others = z.masked_fill(functional.one_hot(y, 5).bool(), -torch.inf)
    weight, _ = affine(module)
    return z.gather(1, y[:, None])[:, 0] - others.amax(1), (
        weight[y] - weight[others.argmax(1)]
    ).abs().sum(1)


@pytest.mark.parametrize(("squared", "power"), [(False, 1), (True, 2)])
def test_sr_on_a_linear_network(squared: bool, power: int) -> None:
    module = networks.linear()
    regime = SRRegime(coefficient=Decimal("0.3"), step=Decimal("0.1"), squared=squared)
    margin, norm = gap(module)
    quotient = (torch.sigmoid(margin + 0.1 * norm) - torch.sigmoid(margin)) / 0.1
    plain = objective(module, CleanRegime()).loss_B
    assert torch.allclose(objective(module, regime).loss_B, plain + 0.3 * quotient**power)


def test_sr_nears_the_norm_of_the_gradient() -> None:
    module = networks.linear()
    regime = SRRegime(coefficient=Decimal(1), step=Decimal("0.000001"))
    margin, norm = gap(module)
    chance = torch.sigmoid(margin)
    added = objective(module, regime).loss_B - objective(module, CleanRegime()).loss_B
    assert torch.allclose(added, chance * (1 - chance) * norm, atol=1e-6)


def test_sr_with_an_attack_looks_around_the_attacked_images() -> None:
    module = networks.linear()
    regime = SRRegime(coefficient=Decimal(1), epsilon=EPSILON, attack=FGSM())
    z = adversarial(
        module,
        BATCH.images_BCHW,
        BATCH.labels_B,
        adversary=Adversary(FGSM(), EPSILON),
        key=replace(KEY, stream="training/0/attack"),
    )
    there = replace(BATCH, images_BCHW=z)
    wanted = objective(module, SRRegime(coefficient=Decimal(1)), there)
    assert torch.allclose(objective(module, regime).loss_B, wanted.loss_B)


def traces(*layers: Layer, dtype: torch.dtype = torch.float64) -> SpikingClassifier:
    spec = LayerTable(
        layers=(Conv(out_channels=4, kernel_size=3, batch_norm=True), *layers), time_steps=3
    )
    return models.build(spec, shape=(1, 8, 8), classes=10, seed=0).to(dtype)


def eight(dtype: torch.dtype = torch.float64) -> TrainingBatch:
    batch = networks.batch(8)
    key = replace(KEY, samples_B=batch.samples_B)
    return TrainingBatch(images_BCHW=batch.images_BCHW.to(dtype), labels_B=batch.labels_B, key=key)


def test_sr_differentiates_fused_neurons_twice() -> None:
    """Two backward passes through one graph: no saved state may be overwritten by the first."""
    found = []
    for plain in (False, True):
        module = traces().train()
        for layer in module.modules():
            if isinstance(layer, TraceLIFNode):
                layer.plain = plain
        found_B = objective(module, SRRegime(coefficient=Decimal(1)), eight()).loss_B
        torch.autograd.backward(found_B.sum())
        found.append([p.grad for p in module.parameters()])
    for one, two in zip(*found, strict=True):
        assert one is not None
        assert two is not None
        assert torch.allclose(one, two, atol=1e-9)


@pytest.mark.parametrize(("mode", "share"), [("eval", 0.0), ("train", 0.1)])
def test_only_an_attack_in_training_mode_moves_running_statistics(
    mode: AttackMode, share: float
) -> None:
    module, batch = traces(), eight()
    norm: Any = module.get_submodule("layers.conv_1.norm")
    seen = []
    norm.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].detach()))
    adversary = Adversary(FGSM(), EPSILON, mode)
    adversarial(module, batch.images_BCHW, batch.labels_B, adversary=adversary, key=batch.key)
    (current,) = seen  # one forward pass
    assert torch.allclose(norm.running_mean, share * current.mean((0, 2, 3)))
    assert not norm.weight.grad


def test_an_attack_in_training_mode_sees_its_batch_and_no_dropout() -> None:
    module, batch = traces(Dropout(p=Decimal("0.5"))), eight()
    x, y = batch.images_BCHW, batch.labels_B
    adversary = Adversary(FGSM(), EPSILON, "train")
    z = adversarial(module, x, y, adversary=adversary, key=batch.key)
    bare = traces().train()  # the same weights
    origin = x.clone().requires_grad_()
    torch.autograd.backward(functional.cross_entropy(bare(origin), y, reduction="sum"))
    assert origin.grad is not None
    wanted = (x + 0.1 * origin.grad.sign()).clamp(0, 1)
    assert torch.allclose(z, wanted)
    assert all(layer.training for layer in module.modules())


BASE: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 40,
    "lr": Decimal("0.01"),
    "select": "last",
}
RADIUS = Fraction(32, 255)


def withstood(regime: Regime) -> int:
    """Test digits of 400 that a network trained so classifies correctly under PGD."""
    repeatable.pin(threads=1, seed=0)
    spec = TrainingSpec(
        dataset=Dataset(name="digits"),
        model=Small(neuron=IF(v_threshold=Decimal("0.5")), time_steps=3),
        regime=regime,
        seed=1,
    )
    data = datasets.load(spec.dataset)
    training = Training(spec, data, world=World.single())
    while not training.done:
        if training.epoch_complete:
            training.finish_epoch()
        else:
            training.advance()
    test = data.test.batch(range(400), 400)
    found = attack_batch(training.module, PGD(steps=10), (RADIUS,), test, seed=0)
    return int(found.correct_EB.sum())


@pytest.fixture(scope="module")
def clean_withstood() -> int:
    return withstood(CleanRegime(**BASE))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("regime", "more"),
    [
        (AdversarialRegime(epsilon=RADIUS, **BASE), 40),
        (TradesRegime(epsilon=RADIUS, attack=PGD(steps=2, random_start=False), **BASE), 40),
        (RATRegime(epsilon=RADIUS, **BASE), 60),
        (SRRegime(coefficient=Decimal("0.03"), **BASE), 20),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_makes_networks_of_digits_more_robust(
    clean_withstood: int, regime: Regime, more: int
) -> None:
    assert withstood(regime) > clean_withstood + more
