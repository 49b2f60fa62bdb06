"""Evaluation: independent of batching, sharding, padding and of the rest of the grid."""

from fractions import Fraction
from typing import Any

import pytest
import torch

from snnlib import datasets
from snnlib.evaluate import BatchOutcome, attack_batch, batches, shard
from snnlib.spec.attack import FGSM, PGD, Clean
from snnlib.spec.data import Dataset
from snnlib.spec.encoder import Direct, Poisson
from tests.snnlib import networks

GRID = tuple(Fraction(k, 255) for k in (8, 16, 64))
BATCH = networks.batch(24)
ATTACKS = [Clean(), FGSM(), PGD(steps=3, restarts=2), FGSM(space="encoded")]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
@pytest.mark.parametrize("encoder", [Direct(), Poisson()])
def test_any_batching_gives_equal_outcomes(attack: Any, encoder: Any) -> None:
    model = networks.small(encoder=encoder).double()
    whole = attack_batch(model, attack, GRID, _double(BATCH), seed=5)
    pieces = [_double(networks.part(BATCH, *cut)) for cut in ((0, 1), (1, 9), (9, 24))]
    parts = [attack_batch(model, attack, GRID, piece, seed=5) for piece in pieces]
    for field in ("correct_EB", "zero_gradient_EB"):
        assert torch.equal(torch.cat([getattr(p, field) for p in parts], 1), getattr(whole, field))


def _double(batch: datasets.Batch) -> datasets.Batch:
    return datasets.Batch(
        images_BCHW=batch.images_BCHW.double(),
        labels_B=batch.labels_B,
        samples_B=batch.samples_B,
        count=batch.count,
    )


@pytest.mark.parametrize("attack", ATTACKS[1:], ids=lambda a: a.name)
@pytest.mark.parametrize("encoder", [Direct(), Poisson()])
def test_a_radius_gives_the_same_row_in_every_grid(attack: Any, encoder: Any) -> None:
    model = networks.small(encoder=encoder)
    whole = attack_batch(model, attack, GRID, BATCH, seed=0)
    alone = attack_batch(model, attack, GRID[2:], BATCH, seed=0)
    assert torch.equal(whole.correct_EB[2:], alone.correct_EB)


def test_padding_is_left_out() -> None:
    split = datasets.load(Dataset(name="digits")).test
    found = attack_batch(networks.small(), FGSM(), GRID, split.batch(range(398, 400), 8), seed=0)
    full = attack_batch(networks.small(), FGSM(), GRID, split.batch(range(392, 400), 8), seed=0)
    assert torch.equal(found.correct_EB, full.correct_EB[:, -2:])


def test_accuracy_falls_with_the_radius_and_restarts_only_help_the_attacker() -> None:
    model, images = networks.linear().float(), networks.batch(200, (3, 2, 2)).images_BCHW
    batch = datasets.Batch(
        images_BCHW=images,
        labels_B=model(images).argmax(1),
        samples_B=torch.arange(200),
        count=200,
    )
    one, five = (_correct(model, PGD(steps=2, restarts=n), batch) for n in (1, 5))
    assert _correct(model, Clean(), batch).all()
    assert 195 > one[0].sum() > one[1].sum() > one[2].sum() + 20
    assert five.sum() < one.sum()
    assert not (five & ~one).any()


def _correct(model: Any, attack: Any, batch: datasets.Batch) -> torch.Tensor:
    return attack_batch(model, attack, GRID, batch, seed=0).correct_EB


def test_one_gradient_serves_the_whole_fgsm_grid() -> None:
    model, passes = networks.small(), []
    model.layers.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    attack_batch(model, FGSM(), GRID, BATCH, seed=0)
    assert passes == [True, False, False, False]


@pytest.mark.parametrize(("attack", "passes"), [(FGSM(), 4), (PGD(steps=3, restarts=2), 24)])
def test_an_attack_can_be_left_before_any_pass(attack: Any, passes: int) -> None:
    model, seen = networks.small(), []
    attack_batch(model, attack, GRID, BATCH, seed=0, before_pass=lambda: seen.append(1))
    assert len(seen) == passes

    def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_batch(model, attack, GRID, BATCH, seed=0, before_pass=leave)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    attack_batch(model, attack, GRID, BATCH, seed=0)
    assert len(seen) == passes


def test_vanished_gradients_are_counted_not_raised() -> None:
    model = networks.small()
    with torch.no_grad():
        next(model.parameters()).zero_()
    outcome: BatchOutcome = attack_batch(model, PGD(steps=2), GRID, BATCH, seed=0)
    assert outcome.zero_gradient_EB.all()
    assert not attack_batch(networks.small(), FGSM(), GRID, BATCH, seed=0).zero_gradient_EB.all()


@pytest.mark.parametrize(("total", "size", "world"), [(400, 100, 3), (1, 8, 2), (17, 4, 2)])
def test_ranks_share_all_samples_and_count_none_twice(total: int, size: int, world: int) -> None:
    whole = batches(total, size)
    found = [i for rank in range(world) for chosen in shard(whole, rank, world) for i in chosen]
    assert sorted(found) == list(range(total))
