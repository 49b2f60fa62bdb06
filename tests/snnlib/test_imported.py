"""Published files, written here in their format, and files that only look like them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlib import imported
from snnlib.errors import SnnlibError
from snnlib.models.table import layers, set_nds
from snnlib.spec.layers import Dropout, Linear
from snnlib.spec.model import HoSNN, LayerTable
from snnlib.spec.neuron import TALIF, TraceLIF
from tests.snnlib.test_table import layer_table

SHAPE = (1, 28, 28)
MNIST = HoSNN(name="hosnn_mnist", neuron=TALIF())
WEIGHTS = {0: (15, 1, 5, 5, 1), 2: (40, 15, 5, 5, 1), 4: (300, 640), 5: (10, 300)}
NDS = {"conv_1": (15, 24, 24, 5), "conv_2": (40, 8, 8, 5), "FC_1": (300, 1, 1, 5)}
State = dict[str, Any]


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def published_state() -> State:
    """Layers 1 and 3 of MNIST's network are pools."""
    state: State = {f"module.layers.{n}.weight": random(*shape) for n, shape in WEIGHTS.items()}
    for number, shape in zip((0, 2, 4), NDS.values(), strict=True):
        state[f"module.layers.{number}.theta_v"] = random(*shape[:-1])
        state[f"module.layers.{number}.target_train"] = random(*shape)
    for number in (1, 3):
        state[f"module.layers.{number}.weight"] = torch.full((1, 1, 2, 2, 1), 1.1)
    return state


def published_nds() -> State:
    return {name: random(*shape) for name, shape in (NDS | {"output": (10, 1, 1, 5)}).items()}


def read(path: Path, spec: HoSNN | LayerTable = MNIST) -> imported.Imported:
    return imported.read(path, spec, shape=SHAPE, classes=10)


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "published.pth")
    return folder / "published.pth"


def test_a_checkpoint_becomes_the_state_of_our_network(tmp_path: Path) -> None:
    state = published_state()
    found = read(saved(tmp_path, {"net": state, "epoch": 7}))
    net = layers(MNIST, SHAPE, 10)
    net.load_state_dict(found.tensors)
    ours = net.state_dict()
    assert (found.kind, found.unused) == (
        "checkpoint",
        ("epoch", "module.layers.1.weight", "module.layers.3.weight"),
    )
    assert torch.equal(ours["conv_2.synapse.weight"], state["module.layers.2.weight"][..., 0])
    assert torch.equal(ours["output.synapse.weight"], state["module.layers.5.weight"])
    assert torch.equal(ours["FC_1.neuron.theta"], state["module.layers.4.theta_v"][:, 0, 0])
    assert torch.equal(ours["conv_1.neuron.nds"][3], state["module.layers.0.target_train"][..., 3])


def test_dropouts_count_and_batch_norm_is_taken_along() -> None:
    """The same numbers as in the published tables: a dropout moves all names behind it."""
    spec = layer_table(TraceLIF())
    net = layers(spec, (2, 8, 8), 10)
    numbers = {name: number for number, (name, _) in enumerate(net.named_children())}
    state: dict[object, object] = {"module.layers.1.weight": torch.full((1, 1, 2, 2, 1), 1.1)}
    for name, tensor in net.state_dict().items():
        layer, _, rest = name.partition(".")
        key = rest.replace("synapse.", "").replace("norm.", "bn.")
        there = tensor[..., None] if tensor.dim() == 4 else tensor
        state[f"module.layers.{numbers[layer]}.{key}"] = there
    found = imported.from_state_dict(state, spec, shape=(2, 8, 8), classes=10)
    assert isinstance(spec.layers[2], Dropout)
    assert "module.layers.3.bn.num_batches_tracked" in state
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
    double: dict[object, object] = {
        str(key).removeprefix("module."): value.double() if value.is_floating_point() else value
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    bare = imported.from_state_dict(double, spec, shape=(2, 8, 8), classes=10)
    assert all(torch.equal(bare[name].float(), found[name].float()) for name in found)


def test_signatures_in_the_layout_of_the_shipped_file(tmp_path: Path) -> None:
    content = published_nds()
    found = read(saved(tmp_path, content))
    net: Any = layers(MNIST, SHAPE, 10)
    set_nds(net, found.tensors)
    assert (found.kind, found.unused) == ("nds", ("output",))
    shapes = {name: tuple(tensor.shape) for name, tensor in found.tensors.items()}
    assert shapes == {"conv_1": (5, 15, 24, 24), "conv_2": (5, 40, 8, 8), "FC_1": (5, 300)}
    assert torch.equal(net.conv_2.neuron.nds[4], content["conv_2"][..., 4])
    assert torch.equal(net.FC_1.neuron.nds[1], content["FC_1"][:, 0, 0, 1])
    assert found.tensors["conv_1"].is_contiguous()


def without(key: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if key not in name}


def put(key: str, value: object) -> Callable[[State], State]:
    return lambda state: state | {key: value}


FIRST, POOL = "module.layers.0.weight", "module.layers.1.weight"
OTHER_POOL = torch.full((1, 1, 2, 2, 1), 0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("layers.5"),
            "another network: expected 12 tensors; missing module.layers.5.weigh",
        ),
        (without("theta_v"), "missing .*theta_v; unknown none; their network has no neuron"),
        (put("module.layers.0.bn.bias", 1), "unknown module.layers.0.bn.bias; .* has batch_norm"),
        (
            put(FIRST, random(15, 1, 3, 3, 1)),
            r"0.weight: expected the shape \[15, 1, 5, 5, 1\], fo",
        ),
        (put(FIRST, random(*WEIGHTS[0]).half()), "expected torch.float32, found torch.float16"),
        (put(FIRST, torch.full(WEIGHTS[0], torch.nan)), "0.weight: expected finite numbers, found"),
        (put(FIRST, [1.0]), "module.layers.0.weight: expected a tensor, found list"),
        (put(POOL, OTHER_POOL), "the constant weight 1.1 of a pool, found 0.25 to 0.25"),
    ],
)
def test_checkpoints_of_other_networks_are_refused(
    tmp_path: Path, change: Callable[[State], State], message: str
) -> None:
    path = saved(tmp_path, {"net": change(published_state()), "epoch": 7})
    with pytest.raises(SnnlibError, match=rf"published.pth: .*{message}"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (published_nds() | {"conv_1": random(15, 24, 24, 10)}, r"conv_1: expected .* 5\], found"),
        (without("conv_2")(published_nds()), "expected 3 tensors; missing conv_2; unknown none"),
        ({"epoch": 7, "lr": 1}, "expected a checkpoint .*; found the keys epoch, lr"),
        ([random(3)], "expected a dict, found list"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(SnnlibError, match=rf"published.pth: .*{message}"):
        read(saved(tmp_path, content))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, {"net": _Evil()})
    with pytest.raises(SnnlibError, match=r"tensors alone, found the object \w+.mkdir; nothing"):
        read(path)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "published.pth: expected a file written by torch.save, found none"),
        (b"", "found an empty one"),
        (b"PK\x03\x04 cut", "that cannot be read .*; is the download complete"),
        (b"no torch file", "expected a file of tensors alone, found no tensors that could be read"),
    ],
)
def test_files_that_cannot_be_read_are_refused(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = tmp_path / "published.pth"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SnnlibError, match=message):
        read(path)


def test_a_network_that_does_not_fit_its_images_is_refused(tmp_path: Path) -> None:
    spec = LayerTable(layers=(Linear(out_features=3, in_features=9),))
    with pytest.raises(SnnlibError, match=r"images of \[1, 28, 28\]: layer FC_1: 9 inputs expect"):
        read(saved(tmp_path, published_nds()), spec)
