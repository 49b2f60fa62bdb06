"""Transfer: found on one network, judged on another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from snnlib.attacks.transfer import Loaded
from snnlib.classifier import SpikingClassifier
from snnlib.errors import NotFinite, SnnlibError
from snnlib.evaluate import attack_batch
from snnlib.spec.attack import APGD, BIM, FGSM, MIFGSM, PGD, RFGSM, SAPGD, Climb, Transfer
from snnlib.spec.encoder import Poisson
from tests.snnlib import networks
from tests.snnlib.test_evaluate import GRID

BATCH = networks.batch(24)
CLIMBS = [
    *(FGSM(), RFGSM(), BIM(steps=2), PGD(steps=2, restarts=2), MIFGSM(steps=2)),
    *(APGD(steps=3), SAPGD(steps=2)),
]
SOURCE = "0123456789abcdef"


def loaded(
    network: SpikingClassifier, climb: Climb, before_pass: Callable[[], object] | None = None
) -> Loaded:
    return Loaded(source=SOURCE, attack=climb, network=network, before_pass=before_pass)


@pytest.mark.parametrize("climb", CLIMBS, ids=lambda climb: climb.name)
def test_from_a_copy_it_is_the_attack_itself(climb: Any) -> None:
    model, copy = networks.small(), networks.small()
    own = attack_batch(model, climb, GRID, BATCH, seed=0)
    by_copy = attack_batch(model, loaded(copy, climb), GRID, BATCH, seed=0)
    assert torch.equal(by_copy.correct_EB, own.correct_EB)
    if climb.name != "apgd":  # there the last point counts on a source, not the first
        assert torch.equal(by_copy.linf_EB, own.linf_EB)


def test_no_gradient_of_the_target_is_asked_for() -> None:
    target, source = networks.small(encoder=Poisson()), networks.small(seed=1)
    seen: list[bool] = []
    target.layers.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    attack_batch(target, loaded(source, PGD(steps=2)), GRID, BATCH, seed=0)
    assert seen == [False] * len(GRID)


def test_the_source_is_left_as_it_was() -> None:
    target, source = networks.small(), networks.small(seed=1).train()
    before = networks.state_hash(source)
    attack_batch(target, loaded(source, APGD(steps=3)), GRID, BATCH, seed=0)
    assert networks.state_hash(source) == before
    assert source.training
    assert all(parameter.requires_grad for parameter in source.parameters())


def test_it_can_be_left_before_any_pass_through_the_source() -> None:
    target, source, seen = networks.small(), networks.small(seed=1), []
    watched = loaded(source, PGD(steps=3), lambda: seen.append(1))
    attack_batch(target, watched, GRID, BATCH, seed=0)
    assert len(seen) == 3 * len(GRID)

    def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_batch(target, loaded(source, PGD(steps=3), leave), GRID, BATCH, seed=0)
    source(BATCH.images_BCHW)
    assert source.training
    assert len(seen) == 3 * len(GRID)


def test_vanished_gradients_are_the_sources() -> None:
    target, source = networks.small(), networks.small(seed=1)
    with torch.no_grad():
        next(source.parameters()).zero_()
    found = attack_batch(target, loaded(source, PGD(steps=2)), GRID, BATCH, seed=0)
    assert found.zero_gradient_EB.all()


@pytest.mark.parametrize("climb", CLIMBS, ids=lambda climb: climb.name)
def test_a_sources_gradient_that_is_no_number_ends_it(climb: Any) -> None:
    target, source = networks.small(), networks.small(seed=1)

    def watch(_layers: object, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].requires_grad:
            inputs[0].register_hook(lambda grad: grad * float("nan"))  # type: ignore[no-untyped-call]

    source.layers.register_forward_pre_hook(watch)
    with pytest.raises(NotFinite, match="sample 100 has a gradient that is NaN"):
        attack_batch(target, loaded(source, climb), GRID, BATCH, seed=0)


def test_without_its_network_it_is_refused() -> None:
    with pytest.raises(SnnlibError, match=r"needs its source's network"):
        attack_batch(networks.small(), Transfer(source=SOURCE), GRID, BATCH, seed=0)
