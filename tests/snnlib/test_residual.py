"""Residual networks against SpikingJelly's plain ones, and the lean convolution against torch's."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlib.doors import layer, neuron, spikingjelly, surrogate
from snnlib.models import residual
from snnlib.models.lean import LeanConv2d, make_lean
from snnlib.spec.model import SEWName, SEWResNet, SpikingResNet, SpikingResNetName
from snnlib.spec.neuron import IF, LIF, ParametricLIF, ReLU, SpikeNeuron

SHAPE = (3, 32, 32)
DETACHED = IF(detach_reset=True)


def ours(spec: SEWResNet | SpikingResNet, shape: tuple[int, int, int] = SHAPE, k: int = 10) -> Any:
    build: Any = residual.sew_resnet if isinstance(spec, SEWResNet) else residual.spiking_resnet
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(spec, shape, k)


def plain(spec: SEWResNet | SpikingResNet) -> Any:
    """SpikingJelly's network as it comes, and as system A calls it."""
    options: dict[str, Any] = {"spiking_neuron": neuron.IFNode, "num_classes": 10}
    options |= {"surrogate_function": surrogate.ATan(), "detach_reset": isinstance(spec, SEWResNet)}
    zoo = "model.sew_resnet" if isinstance(spec, SEWResNet) else "model.spiking_resnet"
    if isinstance(spec, SEWResNet):
        options["cnf"] = "ADD"
    network = getattr(spikingjelly(zoo), spec.name)(**options)
    if isinstance(spec, SEWResNet) and spec.stem_pool == "avg":
        network.maxpool = layer.AvgPool2d(kernel_size=3, stride=2, padding=1)
    spikingjelly("functional").set_step_mode(network, "m")
    return network


def outcome(network: Any, x: Tensor, *, frozen: bool = False) -> list[Tensor]:
    """Currents, gradient of the input and, unless frozen, of all parameters; buffers after it."""
    network.requires_grad_(not frozen)
    leaf = x.clone().requires_grad_()
    current_TBK = network(leaf)
    wanted = [leaf] if frozen else [leaf, *network.parameters()]
    loss = functional.cross_entropy(current_TBK.mean(0), torch.arange(x.shape[1]))
    found = [current_TBK, *torch.autograd.grad(loss, wanted), *network.buffers()]
    spikingjelly("functional").reset_net(network)
    return found


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(4, 2, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "spec",
    [
        SEWResNet(name="sew_resnet18", neuron=DETACHED),
        SEWResNet(name="sew_resnet18", neuron=DETACHED, stem_pool="avg"),
        SpikingResNet(name="spiking_resnet18", neuron=IF()),
    ],
    ids=["sew-max", "sew-avg", "spiking"],
)
def test_18_layers_have_the_bits_of_spikingjellys(
    spec: SEWResNet | SpikingResNet, x: Tensor, *, training: bool
) -> None:
    """Currents, running statistics and every gradient, from the same weights."""
    network, reference = ours(spec), plain(spec)
    reference.load_state_dict(network.state_dict())
    found, expected = (outcome(m.train(training), x) for m in (network, reference))
    assert found[0].std() > 0.01
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_in_attacks_the_input_gradient_is_equal_to_rounding(x: Tensor) -> None:
    network = ours(SEWResNet(name="sew_resnet18", neuron=DETACHED)).train()
    thawed, frozen = outcome(network, x), outcome(network, x, frozen=True)
    assert torch.equal(thawed[0], frozen[0])
    assert (thawed[1] - frozen[1]).abs().max() < 1e-5 * thawed[1].abs().max()


@pytest.mark.parametrize("name", [*get_args(SEWName), *get_args(SpikingResNetName)])
def test_every_architecture_is_in_the_zoo(name: Any) -> None:
    spec: Any = (SEWResNet if name in get_args(SEWName) else SpikingResNet)(name=name, neuron=IF())
    with torch.device("meta"):  # shapes alone: the large ones take seconds
        network: Any = ours(spec, (1, 32, 32), 7)
    assert network.conv1.in_channels == 1
    assert network.fc.out_features == 7
    assert sum(hasattr(m, "surrogate_function") for m in network.modules()) > 16


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("neuron", [LIF(), ParametricLIF(), ReLU()], ids=lambda n: n.name)
def test_channels_classes_and_neurons(channels: int, neuron: SpikeNeuron) -> None:
    """With relu it is the ANN twin: the same weights, and no spikes anywhere."""
    network = ours(SEWResNet(name="sew_resnet18", neuron=neuron), (channels, 32, 32), k=5)
    x = torch.rand(2, 3, channels, 32, 32)
    spiking = [m for m in network.modules() if hasattr(m, "surrogate_function")]
    assert network(x).shape == (2, 3, 5)
    assert len(spiking) == (0 if neuron.name == "relu" else 20)
    assert network.conv1.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


def test_the_ann_twin_is_a_resnet_of_rectifiers() -> None:
    network = ours(SEWResNet(name="sew_resnet18", neuron=ReLU())).eval()
    once = torch.rand(1, 2, *SHAPE)
    stem = functional.relu(network.bn1(network.conv1(once)))
    block = network.layer1[0]
    inner = block.sn2(block.bn2(block.conv2(functional.relu(block.bn1(block.conv1(stem))))))
    assert torch.equal(block(stem), stem + inner)
    assert torch.equal(network(once.expand(3, -1, -1, -1, -1))[2], network(once)[0])


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("channels", "size", "kernel", "stride", "padding"),
    [
        (6, 1, 3, 1, 1),
        (6, 2, 3, 2, 1),
        (6, 4, 5, 4, 1),
        (6, 4, 4, 4, 1),  # its last row and column are never met
        (6, 4, 3, 1, 1),
        (3, 9, 7, 2, 3),
        (1, 8, 3, 1, 1),
    ],
)
def test_lean_convolution_is_torchs(
    *, channels: int, size: int, kernel: int, stride: int, padding: int, frozen: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, channels, size, size, dtype=torch.float64, generator=generator)
    lean: Any = LeanConv2d(channels, 4, kernel, stride, padding, bias=False, step_mode="m").double()
    lean.requires_grad_(not frozen)
    wanted = [x.requires_grad_(), *([] if frozen else [lean.weight])]
    y = lean(x).flatten(0, 1)
    plain = functional.conv2d(x.flatten(0, 1), lean.weight, None, stride, padding)
    upstream = torch.randn(plain.shape, dtype=torch.float64, generator=generator)
    found, expected = (torch.autograd.grad(z, wanted, upstream) for z in (y, plain))
    assert torch.equal(y, plain)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected, strict=True))


def test_only_spikingjellys_convolutions_become_lean() -> None:
    network = nn.Sequential(layer.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), LeanConv2d(1, 1, 3))
    make_lean(network)
    assert [type(m) for m in network] == [LeanConv2d, nn.Conv2d, LeanConv2d]
