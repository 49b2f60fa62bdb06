"""FGSM, R-FGSM, PGD and BIM of HoSNN, on arrays that the original computes (commit 110eeca, 3bfc69f).

The network: conv 2->6 (k3 p1), pool 2, linear 20, output 10, on images of 2x8x8; inputs are already
normalised and repeated over T = 5 steps, so attacks act in our space `encoded`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlib import models, noise
from snnlib.attacks import ATTACKS, gradient
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.losses import LOSSES
from snnlib.spec.attack import BIM, FGSM, PGD, RFGSM, Member
from snnlib.spec.encoder import Direct
from snnlib.spec.layers import Conv, Linear, Pool
from snnlib.spec.model import LayerTable
from snnlib.spec.neuron import TALIF, TraceLIF

DATA = Path(__file__).parent.parent / "data"
STD = Fraction("0.2009")
FILES = [f"{branch}_{kind}" for branch in ("main", "cifar100") for kind in ("LIF", "ALIF")]
KINDS = ["f32", "f64"]
ATTACKED: dict[str, Any] = {
    "fgsm": FGSM,
    "rfgsm": RFGSM,
    "pgd7": lambda **more: PGD(steps=7, step_size="eps/3", random_start=False, **more),
    "bim7": BIM,
}


@cache
def arrays(name: str) -> dict[str, Any]:
    with np.load(DATA / f"attack_{name}_T5.npz", allow_pickle=False) as file:
        return dict(file)


def time_first(array: Any, kind: str) -> Tensor:
    """[B, ..., T] to [T, B, ...] in the precision of a case."""
    dtype = torch.float32 if kind == "f32" else torch.float64
    return torch.from_numpy(array).to(dtype).movedim(-1, 0).contiguous()


def network(name: str, kind: str) -> SpikingClassifier:
    """The original's network with its weights."""
    spec = LayerTable(
        layers=(Conv(out_channels=6, kernel_size=3, padding=1), Pool(), Linear(out_features=20)),
        neuron=(
            TALIF(gradient="tsslbp", theta_gradient="batch")
            if "ALIF" in name
            else TraceLIF(gradient="tsslbp")
        ),
        encoder=Direct(mean=(Decimal("0.4734"),), std=(Decimal("0.2009"),)),
        readout="trace" if "main" in name else "current",
    )
    model = models.build(spec, shape=(2, 8, 8), classes=10, seed=0)
    own = model.state_dict()
    for place, layer in ((0, "conv_1"), (2, "FC_1"), (3, "output")):
        found = {
            key.rpartition(".")[2]: torch.from_numpy(value)
            for key, value in arrays(name).items()
            if key.startswith(f"param/layers.{place}.")
        }
        prefix = f"layers.{layer}"
        own[f"{prefix}.synapse.weight"] = found["weight"].reshape_as(
            own[f"{prefix}.synapse.weight"]
        )
        if "theta_v" in found and layer != "output":
            own[f"{prefix}.neuron.theta"] = found["theta_v"].reshape_as(
                own[f"{prefix}.neuron.theta"]
            )
            signature = found["target_train"].movedim(-1, 0)
            own[f"{prefix}.neuron.nds"] = signature.reshape_as(own[f"{prefix}.neuron.nds"])
    model.load_state_dict(own)
    return model if kind == "f32" else model.double()


def loss_of(name: str) -> Any:
    return "trace_cross_entropy" if "main" in name else "cross_entropy"


@contextmanager
def given_signs(monkeypatch: pytest.MonkeyPatch, signs: Tensor) -> Iterator[None]:
    """R-FGSM with the random signs that the original drew."""
    with monkeypatch.context() as patched:
        patched.setattr(gradient, "random_signs", lambda *_: signs)
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_attack_loss_and_gradient(name: str, kind: str) -> None:
    data, model = arrays(name), network(name, kind)
    labels_B = torch.from_numpy(data["labels"])
    z = time_first(np.repeat(data["x_static"][..., None], 5, -1), kind).requires_grad_()
    with frozen(model):
        response = model.response(z, "encoded")
        loss = LOSSES[loss_of(name)](response, labels_B).mean()
        (found,) = torch.autograd.grad(loss, z)
    clean = time_first(data[f"{kind}/output_clean"], kind)[..., 0, 0]
    expected = time_first(data[f"{kind}/attack_grad"], kind)
    rounding = 2e-5 if kind == "f32" else 1e-12
    assert torch.allclose(response.readout_TBK, clean, rtol=0, atol=rounding)
    assert loss.item() == pytest.approx(float(data[f"{kind}/attack_loss"]), rel=rounding)
    assert (found - expected).abs().max() <= rounding * expected.abs().max()


CASES = [(name, "clamp") for name in FILES] + [(name, "noclamp") for name in FILES[:2]]
"""The CIFAR-100 branch always keeps inputs in range."""


@pytest.mark.parametrize("attack", list(ATTACKED))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "clip"), CASES)
def test_adversarial_inputs(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: str, attack: str, clip: str
) -> None:
    data, model = arrays(name), network(name, kind)
    spec: Member = ATTACKED[attack](space="encoded", clip=clip == "clamp", loss=loss_of(name))
    z = time_first(np.repeat(data["x_static"][..., None], 5, -1), kind)
    labels_B = torch.from_numpy(data["labels"])
    key = noise.Key(seed=0, stream="golden", samples_B=torch.arange(4))
    radii = (2, 8, 32)
    epsilons = [Fraction(k, 255) / STD for k in radii]
    signs = time_first(data["rfgsm_noise"], kind).sign()
    with frozen(model), given_signs(monkeypatch, signs):
        found = ATTACKS[spec.name](model, z, labels_B, attack=spec, epsilons=epsilons, key=key)
        for k, candidate in zip(radii, found, strict=True):
            expected = time_first(data[f"{kind}/{clip}/eps{k}/{attack}"], kind)
            assert torch.allclose(candidate.z, expected, rtol=0, atol=1e-6)
            if attack == "pgd7":
                output = time_first(data[f"{kind}/{clip}/eps{k}/pgd7_output"], kind)[..., 0, 0]
                readout = model.response(candidate.z, "encoded").readout_TBK
                assert torch.allclose(readout, output, rtol=0, atol=2e-5)
