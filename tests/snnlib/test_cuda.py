"""Attacks and surrogates where repeatable results are asked for: on CUDA, and imitated on a CPU."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlib import repeatable
from snnlib.attacks.transfer import Loaded
from snnlib.datasets import Batch
from snnlib.evaluate import BatchOutcome, attack_batch
from snnlib.spec.attack import FGSM, AnyAttack, AutoAttack, SpikingSuite
from snnlib.spec.neuron import ASSG, PDSG, AttackSurrogate
from tests.snnlib import networks
from tests.snnlib.attack_cases import CASES
from tests.snnlib.test_surrogates import SPECS

SURROGATES: tuple[AttackSurrogate, ...] = (*SPECS, PDSG(), ASSG())
ATTACKS: tuple[AnyAttack, ...] = (
    *CASES.values(),
    AutoAttack(steps=2, queries=4),
    SpikingSuite(sweep_steps=1, steps=2, queries=4),
    *(FGSM(surrogate=one) for one in SURROGATES),
)
EPSILONS = (Fraction(1, 100), Fraction(1, 10))


def name(attack: AnyAttack) -> str:
    surrogate = getattr(getattr(attack, "surrogate", None), "name", "")
    return f"{attack.name} {surrogate}".rstrip()


@pytest.fixture(autouse=True)
def pinned() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    repeatable.pin(threads=1, seed=0)
    yield
    torch.use_deterministic_algorithms(before)


def attacked(attack: AnyAttack, device: str) -> BatchOutcome:
    model, few = networks.small().to(device), networks.batch(4)
    if isinstance(attack, Loaded):
        attack = replace(attack, network=copy.deepcopy(attack.network).float().to(device))
    moved = Batch(
        images_BCHW=few.images_BCHW.to(device),
        labels_B=few.labels_B.to(device),
        samples_B=few.samples_B.to(device),
        count=few.count,
    )
    return attack_batch(model, attack, EPSILONS, moved, seed=0)


@pytest.mark.gpu
@pytest.mark.parametrize("attack", ATTACKS, ids=name)
def test_every_attack_runs_and_repeats_on_cuda(attack: AnyAttack) -> None:
    once, again = (attacked(attack, "cuda") for _ in range(2))
    assert once.correct_EB.device.type == "cuda"
    assert torch.equal(once.correct_EB, again.correct_EB)
    assert torch.equal(once.linf_EB, again.linf_EB)


@pytest.mark.parametrize("attack", ATTACKS, ids=name)
def test_no_attack_asks_for_what_cuda_refuses(
    attack: AnyAttack, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Tensor.cumsum

    def refused(self: Tensor, dim: int, **more: Any) -> Tensor:
        assert not self.is_floating_point(), "cumsum_cuda_kernel has no deterministic form"
        return whole(self, dim, **more)

    monkeypatch.setattr(repeatable, "prefix_sums", repeatable.doubled_sums)
    monkeypatch.setattr(Tensor, "cumsum", refused)
    assert attacked(attack, "cpu").correct_EB.shape == (2, 4)
