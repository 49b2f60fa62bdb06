"""Signatures: the equations by hand, exact whatever the batches, the padding and the processes."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlib import models
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Split
from snnlib.distributed import World
from snnlib.errors import NotFinite, SnnlibError
from snnlib.evaluate import batches, shard
from snnlib.models.table import layers, set_nds, trace_neurons
from snnlib.nds import Sums, collect, mean, merged
from snnlib.neurons import fused, trace
from snnlib.spec.encoder import Direct, Encoder, Poisson
from snnlib.spec.layers import Conv, Linear, Output, Pool
from snnlib.spec.model import LayerTable
from snnlib.spec.neuron import TALIF, ReLU, TraceLIF, TraceNeuron
from snnlib.spec.stage import Quantity
from tests.snnlib import nds_rank, networks

QUANTITIES: tuple[Quantity, ...] = ("membrane", "trace")
LIF, DIRECT = TraceLIF(), Direct()


def one_neuron(weight: float = 0.6) -> SpikingClassifier:
    """One pixel, one neuron that sees it times `weight`, no filter in front of it."""
    spec = LayerTable(
        neuron=TraceLIF(tau_s=Decimal(1)), time_steps=3, layers=(Linear(out_features=1), Output())
    )
    model = models.build(spec, shape=(1, 1, 1), classes=2, seed=0)
    with torch.no_grad():
        next(model.parameters()).fill_(weight)
    return model


def pixels(*values: float) -> Split:
    images = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)
    count = torch.arange(len(values))
    return Split(images_NCHW=images, labels_N=count % 2, indices_N=count)


def sums(
    model: SpikingClassifier, split: Split, quantity: Quantity = "membrane", *, size: int = 8
) -> Sums:
    chosen = (split.batch(rows, size) for rows in batches(len(split), size))
    return collect(model, chosen, quantity=quantity)


@pytest.mark.parametrize(
    ("quantity", "first", "second"),
    [
        # u = .6, .8 * .6 + .6 = 1.08 > 1: spikes, resets, .6 again; and .3, .54, .732
        ("membrane", (0.6, 1.08, 0.6), (0.3, 0.54, 0.732)),
        ("trace", (0, 1, 0), (0, 0, 0)),
    ],
)
def test_a_neuron_by_hand(quantity: Quantity, first: Any, second: Any) -> None:
    found = sums(one_neuron(), pixels(1, 0.5), quantity)
    expected = (torch.tensor(first) + torch.tensor(second)) / 2
    assert found.count == 2
    assert torch.allclose(mean(found)["FC_1"][:, 0], expected, rtol=0, atol=1e-7)


def test_sums_are_whole_multiples_of_two_to_the_minus_32() -> None:
    model = one_neuron(2.0**-31)
    exact = sums(model, pixels(1, 0.75, 0.25))  # 2, 1.5 and .5 units: halves go to the even one
    assert exact.by_layer["FC_1"].dtype == torch.int64
    assert int(exact.by_layer["FC_1"][0, 0]) == 2 + 2 + 0


def table(neuron: TraceNeuron, encoder: Encoder) -> LayerTable:
    return LayerTable(
        neuron=neuron,
        encoder=encoder,
        layers=(
            Conv(out_channels=4, kernel_size=3, batch_norm=True),
            Pool(),
            Linear(out_features=12),
            Output(),
        ),
    )


def network(neuron: TraceNeuron = LIF, encoder: Encoder = DIRECT) -> SpikingClassifier:
    steered = 0.4 if isinstance(neuron, TALIF) else None
    spec = table(neuron, encoder)
    return models.build(spec, shape=(1, 8, 8), classes=10, seed=3, nds=steered)


def images(real: torch.dtype = torch.float32) -> Split:
    batch = networks.batch(21)
    return Split(
        images_NCHW=batch.images_BCHW.to(real),
        labels_N=batch.labels_B,
        indices_N=batch.samples_B,
    )


def same(one: Sums, two: Sums) -> bool:
    return one.count == two.count and all(
        torch.equal(value, two.by_layer[name]) for name, value in one.by_layer.items()
    )


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("neuron", [TraceLIF(), TALIF()])
def test_states_are_those_of_the_plain_equations(neuron: Any, quantity: Quantity) -> None:
    model, split = network(neuron).double().eval(), images(torch.float64)
    found = mean(sums(model, split, quantity))
    currents: dict[str, Tensor] = {}
    for name, node in trace_neurons(model).items():
        node.register_forward_pre_hook(lambda _m, x, name=name: currents.update({name: x[0]}))
    model(split.images_NCHW)
    for name, node in trace_neurons(model).items():
        current_TB = currents[name]
        states = trace.trajectory(
            current_TB, node.constants, node.surrogate_function, node.adaptation(current_TB)
        )
        wanted = states.membrane_TB if quantity == "membrane" else states.trace_TB
        assert torch.allclose(found[name], wanted.mean(1).float(), rtol=0, atol=1e-7), name


@pytest.mark.parametrize("encoder", [Direct(), Poisson()])
@pytest.mark.parametrize("size", [1, 4, 21, 32])
def test_batches_and_padding_do_not_matter(encoder: Any, size: int) -> None:
    model, split = network(encoder=encoder).double(), images(torch.float64)
    assert same(sums(model, split, size=size), sums(model, split, size=7))


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = network(), images()
    whole = sums(model, split, size=16)
    monkeypatch.setattr(fused, "BLOCK", 50)
    assert same(sums(model, split, size=16), whole)


@pytest.mark.parametrize("world", [2, 4, 6])
def test_shares_add_up_exactly(world: int) -> None:
    """As ranks share batches; of six, two have none."""
    model, split = network(), images()
    chosen = batches(len(split), 6)
    parts = [
        collect(
            model,
            (split.batch(rows, 6) for rows in shard(chosen, rank, world)),
            quantity="membrane",
        )
        for rank in range(world)
    ]
    whole = sums(model, split, size=6)
    assert sum(part.count for part in parts) == whole.count == 21
    for name, total in whole.by_layer.items():
        none = torch.zeros_like(total)
        found = torch.stack([part.by_layer.get(name, none) for part in parts])
        assert torch.equal(found.sum(0), total)


def test_one_process_merges_to_itself() -> None:
    own = sums(network(), images())
    assert same(merged(World.single(), own), own)


@pytest.mark.slow
def test_four_processes_equal_one(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    done = subprocess.run(
        [sys.executable, *command, nds_rank.__file__, str(tmp_path / "four.pt")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    nds_rank.main(tmp_path / "one.pt", World.single())
    one, four = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", "four"))
    assert one["counts"] == four["counts"] == [250, 80]
    assert one["layers"].keys() == four["layers"].keys() == {"conv_1", "FC_1"}
    for name, per_split in one["layers"].items():
        assert torch.equal(per_split, four["layers"][name]), name


def test_the_network_is_left_as_it_was() -> None:
    model = network().train()
    before = networks.state_hash(model)
    sums(model, images())
    assert networks.state_hash(model) == before
    assert model.training
    assert all(node.recorder is None for node in trace_neurons(model).values())
    model(images().images_NCHW).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_signature_fits_the_network_it_is_for() -> None:
    child = layers(table(TALIF(), DIRECT), (1, 8, 8), 10)
    signature = mean(sums(network(), images()))
    set_nds(child, signature)
    assert all(value.dtype == torch.float32 for value in signature.values())
    assert torch.equal(child.get_buffer("conv_1.neuron.nds"), signature["conv_1"])


@pytest.mark.parametrize("model", [networks.small(), network(ReLU())], ids=["spikes", "relu"])
def test_a_network_without_traces_is_refused(model: SpikingClassifier) -> None:
    with pytest.raises(SnnlibError, match="no neurons that emit traces, so it has no signature"):
        sums(model, images())


@pytest.mark.parametrize(("weight", "shown"), [(float("nan"), "nan"), (9000.0, "9000")])
def test_what_cannot_be_summed_is_refused(weight: float, shown: str) -> None:
    with pytest.raises(NotFinite, match=f"layer FC_1: a membrane of {shown}; .* below 8192"):
        sums(one_neuron(weight), pixels(1))
