"""Guards convict every planted fault, and name the sample."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlib.attacks import ATTACKS, guards
from snnlib.attacks.gradient import Candidate
from snnlib.classifier import SpikingClassifier
from snnlib.errors import GuardBroken, NotFinite, SnnlibError
from snnlib.evaluate import attack_batch
from snnlib.spec.attack import FGSM, AttackName, Clean, ThreatModel
from tests.snnlib import networks
from tests.snnlib.attack_cases import CASES

BATCH = networks.batch(4)
EPSILON = Fraction(8, 255)


def _shifted(by: float) -> Callable[[Tensor, SpikingClassifier], Tensor]:
    def fault(x: Tensor, _model: SpikingClassifier) -> Tensor:
        z = x.clone()
        z[2, 0, 0, 0] += by
        return z

    return fault


def _moved_weight(x: Tensor, model: SpikingClassifier) -> Tensor:
    with torch.no_grad():
        next(model.parameters())[0] += 1e-7
    return x


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (_shifted(9 / 255), GuardBroken, r"sample 102 left the linf ball of radius 0\.0313725 \(1"),
        (_shifted(-9 / 255), GuardBroken, "sample 102 left the linf ball"),
        (_shifted(float("nan")), NotFinite, "sample 102 is NaN or infinite"),
        (_moved_weight, GuardBroken, "changed parameters or buffers"),
    ],
)
def test_planted_fault_is_convicted(
    monkeypatch: pytest.MonkeyPatch, fault: Any, error: type[SnnlibError], message: str
) -> None:
    def attack(model: SpikingClassifier, z: Tensor, y: Tensor, **_: object) -> Iterator[Candidate]:
        yield Candidate(epsilon=0, z=fault(z, model), zero_gradient_B=y < 0)

    monkeypatch.setitem(ATTACKS, "fgsm", attack)
    with pytest.raises(error, match=message):
        attack_batch(networks.small(), FGSM(), (EPSILON,), BATCH, seed=0)


@pytest.mark.parametrize("value", [-2e-6, 1 + 2e-6])
def test_range_is_guarded_only_where_it_binds(value: float) -> None:
    origin = torch.full((4, 1, 2, 2), round(value), dtype=torch.float32)
    z = origin.clone()
    z[1, 0, 0, 0] = value

    def check(*, clip: bool) -> None:
        threat = ThreatModel(clip=clip)
        guards.check(
            z, origin, epsilon=0.1, bounds=(0.0, 1.0), threat=threat, samples_B=BATCH.samples_B
        )

    check(clip=False)
    with pytest.raises(GuardBroken, match=r"sample 101 left the range \[0, 1\]"):
        check(clip=True)


def test_rounding_within_the_stated_tolerance_passes() -> None:
    origin = torch.rand(4, 1, 8, 8)
    z = (origin + 0.1 + 0.5 * guards.TOLERANCE).clamp(0, 1)
    guards.check(
        z, origin, epsilon=0.1, bounds=(0.0, 1.0), threat=ThreatModel(), samples_B=BATCH.samples_B
    )


def test_logits_that_cannot_be_judged_are_refused() -> None:
    model = networks.small()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
        list(model.parameters())[-1].fill_(float("inf"))
    with pytest.raises(NotFinite, match=r"sample 100 has a logit .* \(4 of 4 samples\)"):
        attack_batch(model, Clean(), (), BATCH, seed=0)


def test_every_bit_of_parameters_and_buffers_is_guarded() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    for tensor in model.state_dict().values():
        with pytest.raises(GuardBroken), guards.unchanged(model):
            tensor.view(-1)[0] += 1
    nn.init.constant_(model.state_dict()["0.weight"], float("nan"))
    with guards.unchanged(model):
        pass  # the same NaN is no change


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_answer_that_is_no_number_ends_every_attack(name: AttackName) -> None:
    model, passes = networks.small().double(), iter(range(10**6))

    def fault(_layers: object, _inputs: object, current_TBK: Tensor) -> Tensor:
        samples_B = model.keyed_samples
        if not next(passes) or samples_B is None:
            return current_TBK
        return current_TBK.masked_fill((samples_B == 101).view(1, -1, 1), float("nan"))

    model.layers.register_forward_hook(fault)
    batch = replace(BATCH, images_BCHW=BATCH.images_BCHW.double())
    batch = replace(batch, labels_B=model(batch.images_BCHW).argmax(1))
    with pytest.raises(NotFinite, match=r"sample 101 has a logit that is NaN.* \(1 of 4 samples\)"):
        attack_batch(model, CASES[name], (Fraction(1, 10**4),), batch, seed=0)


@pytest.mark.parametrize("name", ["fgsm", "rfgsm", "bim", "pgd", "mifgsm", "apgd", "fab", "sapgd"])
def test_a_gradient_that_is_no_number_ends_every_attack(name: AttackName) -> None:
    model = networks.small().double()

    def fault(grad: Tensor) -> Tensor:
        return grad.index_fill(1, torch.tensor([2]), float("nan"))

    def watch(_layers: object, inputs: tuple[Tensor]) -> None:
        if inputs[0].requires_grad:
            inputs[0].register_hook(fault)  # type: ignore[no-untyped-call]

    model.layers.register_forward_pre_hook(watch)
    batch = replace(BATCH, images_BCHW=BATCH.images_BCHW.double())
    with pytest.raises(NotFinite, match="sample 102 has a gradient that is NaN or infinite"):
        attack_batch(model, CASES[name], (EPSILON,), batch, seed=0)
