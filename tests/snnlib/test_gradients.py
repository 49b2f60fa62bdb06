"""Gradients layer by layer against autograd itself, whatever the network, the batch, the process."""

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlib import gradients, models, noise
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.distributed import World
from snnlib.errors import NotFinite, SnnlibError
from snnlib.evaluate import shard
from snnlib.gradients import COUNTS, SUMS, Found, Side, collect, leaves, merged, slopes
from snnlib.losses import LOSSES
from snnlib.spec.encoder import Direct, Encoder, Phase, Poisson
from snnlib.spec.layers import Conv, Dropout, Linear, Output, Pool
from snnlib.spec.model import LayerTable, Model, SEWResNet, Small, SpikingResNet, SpikingVGG
from snnlib.spec.neuron import IF, LIF, TALIF, ReLU, TraceLIF, TraceNeuron
from snnlib.spec.stage import GradientsStage
from tests.snnlib import gradients_rank, networks

STAGE = GradientsStage()
DIGIT, COLOUR = (1, 8, 8), (3, 32, 32)
Shape = tuple[int, int, int]


def table(neuron: TraceNeuron, time_steps: int = 3) -> LayerTable:
    layers = (Conv(out_channels=3, kernel_size=3, batch_norm=True), Pool(), Dropout())
    rest = (Linear(out_features=6), Output())
    return LayerTable(neuron=neuron, time_steps=time_steps, layers=(*layers, *rest))


def build(spec: Model, shape: Shape = DIGIT) -> SpikingClassifier:
    nds = 0.5 if isinstance(spec.neuron, TALIF) else None
    return models.build(spec, shape=shape, classes=10, seed=0, nds=nds)


def look(model: SpikingClassifier, count: int = 4, shape: Shape = DIGIT) -> Found:
    (found,) = collect(model, [networks.batch(count, shape)], STAGE)
    return found


def in_float64(batch: Batch) -> Batch:
    return replace(batch, images_BCHW=batch.images_BCHW.double())


def figures(found: Found, name: str, side: Side) -> dict[str, Tensor]:
    seen = found.layers[name].sides[side]
    return dict(zip((*COUNTS, *SUMS), (*seen.counts_KT, *seen.sums_KT), strict=True))


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (Small(neuron=LIF(), readout="spikes"), DIGIT),
        (Small(neuron=ReLU(), time_steps=1), DIGIT),
        (table(TraceLIF()), DIGIT),
        (table(TALIF()), DIGIT),
        (SEWResNet(name="sew_resnet18", neuron=IF(), time_steps=2), COLOUR),
        (SpikingResNet(name="spiking_resnet18", neuron=IF(), time_steps=2), COLOUR),
        pytest.param(
            SpikingVGG(name="spiking_vgg11_bn", neuron=IF(), time_steps=2),
            COLOUR,
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_layer_of_a_network_is_seen_at_every_step(spec: Model, shape: Shape) -> None:
    model = build(spec, shape)
    found = look(model, 2, shape)
    image, encoder, *rest = found.layers
    assert (image, encoder) == ("image", "encoder")
    assert sorted(rest) == sorted(name.removeprefix("layers.") for name, _ in leaves(model))
    for name in (encoder, *rest):
        sides = found.layers[name].sides
        assert [sides[side].counts_KT.shape[1] for side in ("output", "input")] == [
            spec.time_steps
        ] * 2
    spiking = {name for name, layer in found.layers.items() if layer.spikes_T is not None}
    assert spiking == set(model.spiking_layers)


def test_gradients_of_a_layer_by_hand() -> None:
    grad_TB = torch.zeros(3, 2, 4, dtype=torch.float64)
    grad_TB[0, 0] = grad_TB.new_tensor([3.0, 4e-3, -4.0, 0.0])
    grad_TB[2, 0] = grad_TB.new_tensor([4e-3, 0.0, -3.0, 4.1e-3])
    found = slopes(grad_TB, 1e-3)
    assert found.counts_KT.tolist() == [[5, 8, 5], [6, 8, 6], [1, 0, 1]]
    l1, l2, cosine = found.sums_KT
    norms = [25 + 1.6e-5, 9 + 1.6e-5 + 4.1e-3**2]
    assert l1.tolist() == pytest.approx([7.004, 0, 3.0081])
    assert l2.tolist() == pytest.approx([norms[0] ** 0.5, 0, norms[1] ** 0.5])
    expected = (0.012 + 12) / (norms[0] * norms[1]) ** 0.5
    assert cosine.tolist() == pytest.approx([expected, 0, expected])


@pytest.mark.parametrize("size", [1e-30, 1e-42, 1e30])
def test_neither_tiny_nor_huge_gradients_are_lost(size: float) -> None:
    grad_TB = torch.tensor([[[1.0, 2.0]], [[2.0, 1.0]]]) * size
    found = slopes(grad_TB, 1e-3)
    assert found.counts_KT.tolist() == [[0, 0], [0, 0], [1, 1]]
    l1, l2, cosine = found.sums_KT
    assert l1.tolist() == pytest.approx([3 * size] * 2, rel=1e-3, abs=0)
    assert l2.tolist() == pytest.approx([5**0.5 * size] * 2, rel=1e-3, abs=0)
    assert cosine.tolist() == pytest.approx([0.8, 0.8], rel=1e-2)


@pytest.mark.parametrize("encoder", [Direct(), Phase(), Poisson()], ids=lambda spec: spec.name)
def test_input_gradients_are_those_of_autograd(encoder: Encoder) -> None:
    model, batch = networks.small(encoder=encoder).double(), in_float64(networks.batch(5))
    (found,) = collect(model, [batch], STAGE)
    key = noise.Key(seed=0, stream="evaluation", samples_B=batch.samples_B)
    leaf = batch.images_BCHW.clone().requires_grad_()
    with frozen(model), model.keyed(key):
        encoded = model.lift(leaf, "encoded").detach().requires_grad_()
        loss = LOSSES["cross_entropy"](model.response(encoded, "encoded"), batch.labels_B)
        (expected,) = torch.autograd.grad(loss.sum(), encoded)
    with frozen(model), model.keyed(key):
        repeated = model.lift(leaf, "repeated")
        loss = LOSSES["cross_entropy"](model.response(repeated, "repeated"), batch.labels_B)
        (of_image,) = torch.autograd.grad(loss.sum(), leaf)
    for name, gradient in (("encoder", expected), ("image", of_image[None])):
        seen, own = found.layers[name].sides["output"], slopes(gradient, 1e-3)
        assert torch.equal(seen.counts_KT, own.counts_KT)
        assert torch.allclose(seen.sums_KT, own.sums_KT, rtol=1e-12, atol=0)


class Shortcut(nn.Module):
    """Two layers, the input of the second of which goes on beside it too; time stays apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6, dtype=torch.float64)
        self.second = nn.Linear(6, 6, dtype=torch.float64)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        h_TBN = self.first(x_TBCHW.flatten(2)).relu()
        y_TBN: Tensor = self.second(h_TBN) + h_TBN
        return y_TBN


def shortcut() -> SpikingClassifier:
    torch.manual_seed(0)
    return SpikingClassifier(Shortcut(), encode=lambda x, _key, _draw: x, time_steps=2)


def test_an_input_that_goes_elsewhere_too_counts_by_way_of_its_layer() -> None:
    model, batch = shortcut(), in_float64(networks.batch(3, (1, 2, 3), 6))
    (found,) = collect(model, [batch], STAGE)
    layers: Any = model.layers
    h = layers.first(batch.images_BCHW.flatten(1)).relu().detach()
    y = (layers.second(h) + h).detach().requires_grad_()
    (grad,) = torch.autograd.grad(
        nn.functional.cross_entropy(y, batch.labels_B, reduction="sum"), y
    )
    expected = (grad @ layers.second.weight / 2).norm(dim=1).sum().item()
    assert figures(found, "second", "input")["l2"].tolist() == pytest.approx([expected] * 2)
    assert figures(found, "second", "output")["l2"].tolist() == pytest.approx(
        [grad.norm(dim=1).sum().item() / 2] * 2
    )


@pytest.mark.parametrize("stem_pool", ["max", "avg"])
def test_exact_zeros_are_counted_as_published(stem_pool: Any) -> None:
    """As a full backward hook on a leaf module sees them, all steps together (grad-obf-snn)."""
    spec = SEWResNet(
        name="sew_resnet18", neuron=IF(), encoder=Phase(), time_steps=4, stem_pool=stem_pool
    )
    model, batch = build(spec, COLOUR), networks.batch(2, COLOUR)
    (found,) = collect(model, [batch], STAGE)
    published: dict[str, list[int]] = {}
    hooks = []
    for name, module in model.layers.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):

            def hook(_module: Any, given: Any, taken: Any, name: str = name) -> None:
                published[name] = [int((g[0] == 0).sum()) for g in (given, taken)]

            hooks.append(module.register_full_backward_hook(hook))
    encoded = model.lift(batch.images_BCHW, "encoded").requires_grad_()
    with frozen(model):
        loss = nn.functional.cross_entropy(model.logits(encoded, "encoded"), batch.labels_B)
        torch.autograd.backward(loss)
    assert len(published) == 41
    for name, zeros in published.items():
        ours = [int(figures(found, name, side)["zero"].sum()) for side in ("input", "output")]
        assert ours == zeros, name


def test_padding_counts_nowhere() -> None:
    model, batch = networks.small(), networks.batch(6)
    (whole,) = collect(model, [networks.part(batch, 0, 4)], STAGE)
    (padded,) = collect(model, [replace(batch, count=4)], STAGE)
    assert padded.count == whole.count == 4
    for name, layer in whole.layers.items():
        for side, seen in layer.sides.items():
            assert torch.equal(padded.layers[name].sides[side].counts_KT, seen.counts_KT)
            assert torch.allclose(padded.layers[name].sides[side].sums_KT, seen.sums_KT)
        assert str(padded.layers[name].spikes_T) == str(layer.spikes_T)
        assert str(padded.layers[name].operations_T) == str(layer.operations_T)


class Ranks:
    """Stands for the processes of a world: each has looked at its batches."""

    def __init__(self, model: SpikingClassifier, size: int) -> None:
        batch = networks.batch(20)
        parts = [networks.part(batch, begin, begin + 4) for begin in range(0, 20, 4)]
        self.found = [collect(model, shard(parts, rank, size), STAGE) for rank in range(size)]

    def merged(self, monkeypatch: pytest.MonkeyPatch) -> Found:
        world = World(rank=0, size=len(self.found), local_rank=0, device=torch.device("cpu"))
        monkeypatch.setattr("snnlib.distributed.gather_objects", lambda _world, _own: self.found)
        return merged(world, self.found[0])


@pytest.mark.parametrize("size", [2, 4, 7])
def test_any_number_of_processes_finds_the_same_bits(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = networks.small()
    one, many = (Ranks(model, n).merged(monkeypatch) for n in (1, size))
    assert one.count == many.count == 20
    assert one.layers.keys() == many.layers.keys()
    for name, layer in one.layers.items():
        for side, seen in layer.sides.items():
            assert torch.equal(many.layers[name].sides[side].counts_KT, seen.counts_KT)
            assert torch.equal(many.layers[name].sides[side].sums_KT, seen.sums_KT)


@pytest.mark.slow
def test_two_real_processes_record_what_one_does(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *command, gradients_rank.__file__, str(tmp_path / "two.json")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    gradients_rank.main(tmp_path / "one.json", World.single())
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()


def test_a_gradient_that_never_arrives_is_zero() -> None:
    model, stage = networks.small(readout="spikes"), GradientsStage(loss="current_cross_entropy")
    (found,) = collect(model, [networks.batch(3)], stage)
    given = figures(found, "readout.neurons", "output")
    assert given["zero"].tolist() == given["near_zero"].tolist() == [30, 30, 30]
    assert figures(found, "6.layer", "output")["zero"].tolist() == [0, 0, 0]


def test_a_larger_threshold_finds_more_near_zero() -> None:
    model, batch = networks.small(), [networks.batch(4)]
    shares = []
    for threshold in ("0.001", "0.1", "0.9"):
        (found,) = collect(model, batch, GradientsStage(threshold=Decimal(threshold)))
        shares.append(int(figures(found, "encoder", "output")["near_zero"].sum()))
    assert shares[0] < shares[1] < shares[2] < 3 * 4 * 64


def test_the_network_is_left_as_it_was() -> None:
    model = build(table(TALIF())).train()
    before = networks.state_hash(model)
    look(model)
    assert networks.state_hash(model) == before
    assert model.training
    assert all(not module._forward_hooks for module in model.modules())
    assert all(not module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    model = networks.small()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NotFinite, match=r"layer 1: the gradient of its input is NaN or infinite"):
        look(model)


def test_a_layer_that_hides_its_steps_is_refused_by_name() -> None:
    layer = nn.Sequential(nn.Flatten(0), nn.Linear(2 * 4 * 64, 4 * 10), nn.Unflatten(0, (1, 4, 10)))
    model = SpikingClassifier(layer, encode=lambda x, _key, _draw: x, time_steps=2)
    with pytest.raises(SnnlibError, match=r"layer 0: expected a tensor \[T, B, \.\.\.\] or"):
        look(model)


def test_a_layer_that_is_used_twice_has_two_names() -> None:
    shared = nn.Linear(64, 64)
    layer = nn.Sequential(nn.Flatten(2), shared, nn.ReLU(), shared)
    model = SpikingClassifier(layer, encode=lambda x, _key, _draw: x, time_steps=2)
    assert list(look(model).layers) == ["image", "encoder", "0", "1", "2", "1#2"]


def test_nothing_was_seen_of_no_samples() -> None:
    assert gradients.merged(World.single(), []) == Found(layers={}, count=0)
