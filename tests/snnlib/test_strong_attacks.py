"""The stronger attacks on a linear float64 network, where plain computations say what is right."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlib import encoders, models, noise
from snnlib.attacks import ATTACKS, guards, search
from snnlib.attacks.apgd import checks
from snnlib.attacks.ball import Ball
from snnlib.attacks.fab import onto
from snnlib.attacks.gradient import rivals
from snnlib.classifier import Readout, SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.evaluate import attack_batch
from snnlib.losses import LOSSES, dlr, dlr_targeted, margin
from snnlib.response import Response
from snnlib.spec.attack import (
    APGD,
    BIM,
    FAB,
    FGSM,
    MIFGSM,
    PGD,
    RFGSM,
    SAPGD,
    Member,
    RandomNoise,
    Space,
    Square,
    ThreatModel,
)
from snnlib.spec.encoder import Direct, Poisson
from snnlib.spec.model import Small, Ties
from tests.snnlib import networks

BATCH = networks.batch(16, (3, 2, 2), classes=5)
X = BATCH.images_BCHW.double()
KEY = noise.Key(seed=0, stream="test", samples_B=BATCH.samples_B)
MODEL = networks.linear()
Y = MODEL(X).argmax(1)
EPSILONS = (Fraction(1, 50), Fraction(1, 10))
ALL: tuple[Member, ...] = (
    FGSM(),
    RFGSM(),
    BIM(steps=3),
    PGD(steps=3),
    MIFGSM(steps=3),
    APGD(steps=8),
    APGD(steps=8, targets=2),
    FAB(steps=4, targets=2),
    Square(queries=12),
    SAPGD(steps=8),
    RandomNoise(draws=3),
)
IN_L2: tuple[Member, ...] = (
    FGSM(norm="l2"),
    BIM(norm="l2", steps=3),
    PGD(norm="l2", steps=3),
    MIFGSM(norm="l2", steps=3),
    APGD(norm="l2", steps=8),
    RandomNoise(norm="l2", draws=3),
)


class Applied(nn.Module):
    """A function as layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = function


def points(
    attack: Member, x: Tensor, y: Tensor, key: noise.Key, model: SpikingClassifier = MODEL
) -> list[Tensor]:
    with frozen(model):
        run = ATTACKS[attack.name]
        found = run(model, x, y, attack=attack, epsilons=EPSILONS, key=key)
        return [candidate.z for candidate in found]


def loss(z: Tensor, how: Callable[[Response, Tensor], Tensor] = LOSSES["cross_entropy"]) -> Tensor:
    return how(MODEL.response(z, "pixel"), Y)


def of(logits: list[float]) -> Response:
    current_TBK = torch.tensor(logits)[None, None]
    return Response(current_TBK=current_TBK, readout_TBK=current_TBK)


def ball(norm: str = "linf", epsilon: float = 0.2, clip: bool = True) -> Ball:
    threat = ThreatModel(norm="l2" if norm == "l2" else "linf", clip=clip)
    return Ball.around(MODEL, X, epsilon, threat)


@pytest.mark.parametrize("attack", [*ALL, *IN_L2], ids=repr)
def test_points_stay_in_ball_and_range_and_are_each_samples_own(attack: Member) -> None:
    together = points(attack, X, Y, KEY)
    alone = points(attack, X[3:5], Y[3:5], replace(KEY, samples_B=KEY.samples_B[3:5]))
    for one, few in zip(together, alone, strict=True):
        guards.check(
            one,
            X,
            epsilon=float(EPSILONS[-1]),
            threat=attack.threat,
            bounds=(0.0, 1.0),
            samples_B=KEY.samples_B,
        )
        torch.testing.assert_close(few, one[3:5], rtol=0, atol=1e-12)
    torch.testing.assert_close(points(attack, X, Y, KEY), together, rtol=0, atol=0)


@pytest.mark.parametrize("space", ["repeated", "encoded"])
@pytest.mark.parametrize("attack", ALL, ids=repr)
def test_every_attack_works_in_every_space(attack: Any, space: Space) -> None:
    model, batch = networks.small(), networks.batch(3)
    attack = replace(attack, space=space)
    with frozen(model), model.keyed(KEY):
        origin = model.lift(batch.images_BCHW, space)
        key = replace(KEY, samples_B=batch.samples_B)
        run = ATTACKS[attack.name]
        found = run(model, origin, batch.labels_B, attack=attack, epsilons=EPSILONS, key=key)
        assert {candidate.epsilon for candidate in found} == {0, 1}


@pytest.mark.parametrize("attack", ALL, ids=repr)
def test_every_attack_works_on_channels_that_are_normalised_apart(attack: Any) -> None:
    thirds = tuple(Decimal(n) / 4 for n in (1, 2, 3))
    spec = Small(neuron=networks.HALF, encoder=Direct(mean=thirds, std=thirds), time_steps=2)
    model, batch = models.build(spec, shape=(3, 8, 8), classes=10, seed=0), networks.batch(3)
    images_BCHW = batch.images_BCHW.expand(-1, 3, -1, -1)
    attack = replace(attack, space="encoded")
    origin = model.lift(images_BCHW, "encoded")
    key = replace(KEY, samples_B=batch.samples_B)
    found = points(attack, origin, batch.labels_B, key, model)
    assert {z.dtype for z in found} == {torch.float32}


@pytest.mark.parametrize("exponent", [-100, 100])
@pytest.mark.parametrize(
    "attack",
    [
        FGSM(norm="l2", loss="margin"),
        PGD(norm="l2", steps=3, loss="margin"),
        APGD(norm="l2", steps=4, loss="margin"),
        SAPGD(steps=4, loss="margin"),
    ],
    ids=lambda a: a.name,
)
def test_the_size_of_a_gradient_does_not_matter(attack: Member, exponent: int) -> None:
    """In float32 its square would be 0 or infinite."""
    usual, scaled = networks.linear().float(), networks.linear().float()
    with torch.no_grad():
        for parameter in scaled.parameters():
            parameter.mul_(2.0**exponent)
    found = points(attack, X.float(), Y, KEY, scaled)
    assert all(map(torch.equal, found, points(attack, X.float(), Y, KEY, usual)))


@pytest.mark.parametrize("place", [0, 2, 4])
def test_every_other_class_is_a_rival_wherever_the_label_ranks(place: int) -> None:
    ranked_BK = MODEL(X).argsort(dim=1, descending=True)
    others_BK = rivals(MODEL, X, ranked_BK[:, place], "pixel")
    expected = torch.cat((ranked_BK[:, :place], ranked_BK[:, place + 1 :]), 1)
    assert torch.equal(others_BK, expected)


def grey(count: int, label: int) -> Batch:
    """Images half way between black and white, of one class."""
    batch = networks.batch(count)
    images_BCHW = torch.full_like(batch.images_BCHW, 0.5)
    return replace(batch, images_BCHW=images_BCHW, labels_B=torch.full((count,), label))


class Sure(nn.Module):
    """Neurons that spike above one half, with the gradient of their current."""

    def forward(self, current_TBK: Tensor) -> Tensor:
        return (current_TBK > 0.5).to(current_TBK) + current_TBK - current_TBK.detach()


@pytest.mark.parametrize(
    ("ties", "label", "silent", "slope"),
    [("current", 1, (0.9, 1.0), 0.5), ("first", 0, (0.6, 0.9), -5)],
)
def test_fab_leaves_a_tie(
    ties: Ties, label: int, silent: tuple[float, float], slope: float
) -> None:
    """Both classes spike; the current of class 0 follows the mean of all pixels."""

    def currents(x_TBCHW: Tensor) -> Tensor:
        mean_TB1 = x_TBCHW.flatten(2).mean(2, keepdim=True) - 0.5
        return torch.cat((silent[0] + slope * mean_TB1, silent[1] + 0 * mean_TB1), 2)

    readout = Readout(Sure(), ties=ties)
    encode = encoders.build(networks.DIRECT)
    model = SpikingClassifier(Applied(currents), encode=encode, time_steps=1, readout=readout)
    found = attack_batch(model, FAB(steps=12), (Fraction(1, 4),), grey(2, label), seed=0)
    assert not found.correct_EB.any()


def test_square_outlives_a_lucky_draw() -> None:
    """Every second pixel spikes; the network is fooled where three of four do on average."""

    def currents(x_TBCHW: Tensor) -> Tensor:
        more_TB1 = x_TBCHW.flatten(2).mean(2, keepdim=True) - 0.75
        return torch.cat((-more_TB1, more_TB1), 2)

    encode = encoders.build(Poisson())
    model = SpikingClassifier(Applied(currents), encode=encode, time_steps=1)
    model.decision_draws = 5
    found = attack_batch(model, Square(queries=100), (Fraction(2, 5),), grey(8, label=0), seed=0)
    assert found.correct_EB.sum() <= 1


def test_mifgsm_is_its_equation() -> None:
    z, m = X, torch.zeros_like(X)
    for _ in range(3):
        x = z.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss(x).sum(), x)
        m = 0.5 * m + g / g.abs().mean((1, 2, 3), keepdim=True)
        z = (X + (z + 0.02 * m.sign() - X).clamp(-0.1, 0.1)).clamp(0, 1)
    attack = MIFGSM(steps=3, step_size="eps/5", decay=Decimal("0.5"))
    torch.testing.assert_close(points(attack, X, Y, KEY)[1], z)


def test_sapgd_is_its_equation() -> None:
    z, m, v, length = X, torch.zeros_like(X), torch.zeros_like(X), 0.1
    for step in range(1, 9):
        x = z.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss(x).sum(), x)
        m = 0.5 * m + g / g.abs().mean((1, 2, 3), keepdim=True)
        v = 0.8 * v + g**2 / (g**2).mean((1, 2, 3), keepdim=True)
        z = (z + (length * m / v.sqrt()).clamp(-length, length) - X).clamp(-0.1, 0.1) + X
        z = z.clamp(0, 1)
        length /= 2 if step in checks(8) else 1
    found = points(SAPGD(steps=8, random_start=False), X, Y, KEY)[1]
    torch.testing.assert_close(found, z)


def test_a_vanished_gradient_leaves_sapgd_at_its_start() -> None:
    with torch.no_grad():
        model = networks.linear()
        for parameter in model.parameters():
            parameter.zero_()
    attack = SAPGD(steps=4, random_start=False)
    with frozen(model):
        found = list(ATTACKS["sapgd"](model, X, Y, attack=attack, epsilons=EPSILONS, key=KEY))
    assert all(torch.equal(candidate.z, X) for candidate in found)
    assert all(bool(candidate.zero_gradient_B.all()) for candidate in found)


@pytest.mark.parametrize(
    ("steps", "expected"), [(100, [22, 41, 57, 70, 80, 87, 93, 99]), (4, [1, 2, 3, 4])]
)
def test_apgd_checks_at_the_published_steps(steps: int, expected: list[int]) -> None:
    assert sorted(checks(steps)) == expected


def test_apgd_finds_more_loss_than_pgd() -> None:
    weak, strong = (points(a, X, Y, KEY)[1] for a in (PGD(steps=20), APGD(steps=20, loss="margin")))
    right = loss(strong, margin) < 0
    assert 0 < right.sum() < len(X)
    assert bool((loss(strong, margin) >= loss(weak, margin) - 1e-9)[right].all())


def test_apgd_towards_classes_gives_one_point_for_each() -> None:
    found = points(APGD(steps=8, targets=9), X, Y, KEY)
    assert len(found) == 2 * 4  # five classes leave four targets


@pytest.mark.parametrize(
    ("logits", "label", "expected"),
    [
        ([4.0, 3.0, 1.0, 0.0], 0, -1 / 3),
        ([4.0, 3.0, 1.0, 0.0], 2, 3 / 3),
        ([2.0, 2.0, 2.0, 0.0], 0, 0.0),
        ([2.0, 2.0, 2.0, 0.5], 3, 1.5),  # no divisor: the margin itself
    ],
)
def test_dlr_by_hand(logits: list[float], label: int, expected: float) -> None:
    assert dlr(of(logits), torch.tensor([label])).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([4.0, 3.0, 1.0, 0.0], (1 - 4) / (4 - 0.5)), ([2.0, 2.0, 2.0, 2.0], 0.0)],
)
def test_targeted_dlr_by_hand(logits: list[float], expected: float) -> None:
    found = dlr_targeted(of(logits), torch.tensor([0]), torch.tensor([2]))
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("clip", [False, True])
def test_the_step_onto_a_plane_is_the_shortest(*, clip: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    g = torch.randn(X.shape, generator=generator, dtype=torch.float64)
    lead_B = torch.linspace(-3, 3, len(X), dtype=torch.float64)
    step = onto(ball(clip=clip), X, g, lead_B, X)
    reached_B = lead_B + (g * step).flatten(1).sum(1)
    length_B = step.abs().flatten(1).amax(1)
    way = -g.sign() * lead_B.sign().view(-1, 1, 1, 1)
    fits = reached_B.abs() < 1e-9
    assert fits.sum() >= len(X) // 2
    # the most that a shorter length can do falls short of the plane
    most = way * (0.99 * length_B).view(-1, 1, 1, 1)
    most = (X + most).clamp(0, 1) - X if clip else most
    left_B = lead_B + (g * most).flatten(1).sum(1)
    assert bool((left_B * lead_B > 0)[fits].all())
    # and where bounds keep it from the plane, it goes as near as they allow
    corner = torch.where(way > 0, 1 - X, -X)
    nearest_B = lead_B + (g * corner).flatten(1).sum(1)
    torch.testing.assert_close(reached_B[~fits], nearest_B[~fits])


def test_fab_comes_as_near_as_the_boundary() -> None:
    """Without bounds the distance is known: |z_t - z_y| / |w_t - w_y|_1 for the nearest class."""
    weight, bias = (parameter.detach() for parameter in MODEL.parameters())
    logits = X.flatten(1) @ weight.T + bias
    lead = logits.gather(1, Y[:, None]) - logits
    norm = (weight[Y][:, None] - weight[None]).abs().sum(2)
    least_B = torch.where(lead > 0, lead / norm.clamp(min=1e-9), torch.inf).amin(1)
    grid = tuple(Fraction(round(float(d) * 1.02 * 10**6), 10**6) for d in least_B)
    attack = FAB(steps=60, targets=4, clip=False)
    with frozen(MODEL):
        found = list(ATTACKS["fab"](MODEL, X, Y, attack=attack, epsilons=grid, key=KEY))
    for row in range(len(X)):
        moved = [c.z[row : row + 1] for c in found if c.epsilon == row]
        assert any(int(MODEL(z).argmax(1)) != int(Y[row]) for z in moved)


def test_square_never_lowers_the_margin_and_beats_noise() -> None:
    before, after = (points(Square(queries=q), X, Y, KEY)[1] for q in (2, 60))
    assert bool((loss(after, margin) >= loss(before, margin) - 1e-12).all())
    drawn = torch.stack([loss(z, margin) for z in points(RandomNoise(draws=60), X, Y, KEY)[60:]])
    assert (loss(after, margin) > 0).sum() > (drawn.amax(0) > 0).sum()


def test_squares_reach_every_pixel_and_have_their_side() -> None:
    inside = torch.full((400, 1, 5, 6), 0.5, dtype=torch.float64)
    whole = replace(ball(), origin=inside, epsilon=0.25)
    key = replace(KEY, samples_B=torch.arange(400))
    moved, _ = search._patched(inside, whole, [2] * 400, key, [1] * 400)
    changed = moved != 0.5
    assert changed.flatten(1).sum(1).tolist() == [4] * 400
    assert bool(changed.any(0).all())


def test_l2_projects_to_the_sphere_and_climbs_along_the_gradient() -> None:
    sphere = ball("l2", clip=False)
    far = X + torch.randn(X.shape, generator=torch.Generator().manual_seed(1)).double()
    step = sphere.project(far) - X
    norm = (far - X).flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(step, (far - X) / norm * norm.clamp(max=0.2))
    torch.testing.assert_close(
        sphere.lengths(sphere.steepest(far)).flatten(), torch.ones(16).double()
    )
    assert torch.equal(sphere.steepest(torch.zeros_like(X)), torch.zeros_like(X))


def test_noise_in_l2_fills_the_ball_evenly() -> None:
    inside = torch.zeros(4000, 1, 1, 3, dtype=torch.float64)
    whole = Ball(origin=inside, epsilon=2.0, threat=ThreatModel(norm="l2"), bounds=None)
    key = replace(KEY, samples_B=torch.arange(4000))
    drawn = whole.scattered(key).flatten(1)
    volume = (drawn.norm(dim=1) / 2) ** 3
    assert volume.max() <= 1 + 1e-12
    assert volume.mean().item() == pytest.approx(0.5, abs=0.02)
    assert drawn.mean(0).abs().max() < 0.06
