"""Networks of layer tables, against HoSNN itself."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlib import imported, neurons, noise
from snnlib.errors import SnnlibError
from snnlib.models.table import constrain, decay_nds, layers, set_nds
from snnlib.spec.layers import Conv, Dropout, Layer, LayerError, Linear, Output, Pool
from snnlib.spec.model import HoSNN, HoSNNName, LayerTable
from snnlib.spec.neuron import HOSNN_SURROGATE, TALIF, ReLU, TraceLIF, TraceNeuron

DATA = Path(__file__).parent.parent / "data"
LIF_SPEC = TraceLIF(gradient="tsslbp")
TA_LIF_SPEC = TALIF(gradient="tsslbp", theta_gradient="batch")
NEURONS: dict[str, TraceNeuron] = {"lif": LIF_SPEC, "ta_lif": TA_LIF_SPEC}
CASES = [("norm", "train"), ("norm", "eval"), ("plain", "eval")]
TOLERANCES = {"f32": (torch.float32, 1e-6, 2e-5), "f64": (torch.float64, 1e-12, 1e-12)}
SHAPE = (2, 8, 8)


def layer_table(neuron: TraceNeuron, *, batch_norm: bool = True) -> LayerTable:
    """Every kind of layer; the output of TA-LIF networks is not normalised, as published."""
    return LayerTable(
        neuron=neuron,
        layers=(
            Conv(out_channels=6, kernel_size=3, padding=1, batch_norm=batch_norm),
            Pool(),
            Dropout(p=Decimal("0.2")),
            Conv(out_channels=8, kernel_size=3, batch_norm=batch_norm),
            Linear(out_features=12, batch_norm=batch_norm),
            Output(batch_norm=batch_norm and neuron.name != "ta_lif"),
        ),
    )


def network(neuron: TraceNeuron = LIF_SPEC, *, batch_norm: bool = True) -> Any:
    torch.manual_seed(0)
    return layers(layer_table(neuron, batch_norm=batch_norm), SHAPE, 10)


def golden(name: str) -> dict[str, Tensor]:
    with np.load(DATA / f"table_{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def our_shape(there: Tensor, ours: Tensor) -> Tensor:
    """Kernels [..., 1], vectors [F, 1, 1] there."""
    return there.reshape(ours.shape)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize(("case", "mode"), CASES)
@pytest.mark.parametrize("name", list(NEURONS))
def test_networks_are_those_of_hosnn(name: str, case: str, mode: str, dtype: str) -> None:
    """Traces, all gradients and running statistics as HoSNN at 110eeca computes them on a CPU.

    Its state (`state/`), input and upstream gradient, time last, were drawn so that every membrane
    is at least 7e-4 from its threshold: spikes do not hang on rounding. Dropout was off.
    """
    data, (real, atol, rtol) = golden(name), TOLERANCES[dtype]
    spec = layer_table(NEURONS[name], batch_norm=case == "norm")
    state: dict[object, object] = {
        key.removeprefix(f"{case}/state/"): value
        for key, value in data.items()
        if key.startswith(f"{case}/state/")
    }
    net = layers(spec, SHAPE, 10)
    net.load_state_dict(imported.from_state_dict(state, spec, shape=SHAPE, classes=10))
    net.to(real).train(mode == "train").get_submodule("dropout_1").eval()
    x = data[f"{case}/x"].to(real).movedim(-1, 0).requires_grad_()
    trace_TBK = neurons.build(LIF_SPEC, HOSNN_SURROGATE)(net(x))
    trace_TBK.backward(data[f"{case}/grad_out"].to(real).movedim(-1, 0).flatten(2))
    expected = {
        key.removeprefix(f"{case}/{mode}/{dtype}/"): value
        for key, value in data.items()
        if key.startswith(f"{case}/{mode}/{dtype}/")
    }
    assert torch.allclose(
        trace_TBK, expected.pop("output").movedim(-1, 0).flatten(2), rtol=0, atol=atol
    )
    assert x.grad is not None
    found = {"grad_x": x.grad.movedim(0, -1)} | dict(in_their_names(net))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        bound = rtol * float(value.abs().max())
        assert torch.allclose(found[key], our_shape(value, found[key]), rtol=0, atol=bound), key


def in_their_names(net: nn.Module) -> Any:
    """Gradients and running statistics, as HoSNN's network names them."""
    words = {"synapse.weight": "weight", "neuron.theta": "theta_v"}
    numbers = {name: number for number, (name, _) in enumerate(net.named_children())}
    for name, parameter in net.named_parameters():
        layer, _, rest = name.partition(".")
        there = words.get(rest, rest.replace("norm.", "bn."))
        yield f"grad/layers.{numbers[layer]}.{there}", parameter.grad
    for name, buffer in net.named_buffers():
        layer, _, rest = name.partition(".")
        if "running" in rest:
            yield f"after/layers.{numbers[layer]}.{rest.replace('norm.', 'bn.')}", buffer


@pytest.mark.parametrize("neuron", [LIF_SPEC, TA_LIF_SPEC, TALIF(), TraceLIF()])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_constant_input_is_as_any_other_and_convolved_once(
    neuron: TraceNeuron, *, batch_norm: bool
) -> None:
    net = network(neuron, batch_norm=batch_norm).double()
    net.dropout_1.p = 0.0
    net.dropout_1.key = noise.Key(seed=0, stream="x", samples_B=torch.arange(3))
    sizes: list[int] = []
    net.conv_1.synapse.register_forward_hook(lambda _m, x, _y: sizes.append(len(x[0])))
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, *SHAPE, generator=generator, dtype=torch.float64).requires_grad_()
    ways = [x.expand(5, -1, -1, -1, -1), x.repeat(5, 1, 1, 1, 1)]
    once, each = (net(way) for way in ways)
    of_once, of_each = (torch.autograd.grad(y.square().sum(), x)[0] for y in (once, each))
    assert torch.allclose(once, each, rtol=0, atol=1e-12)
    assert torch.allclose(of_once, of_each, rtol=1e-9, atol=1e-12)
    assert sizes == [3, 15]


PUBLISHED: list[tuple[HoSNNName, tuple[int, ...], int, str, list[tuple[int, ...]]]] = [
    (
        "hosnn_mnist",
        (1, 28, 28),
        10,
        "conv_1 pooling_1 conv_2 pooling_2 FC_1 output",
        [(15, 1, 5, 5), (40, 15, 5, 5), (300, 640), (10, 300)],
    ),
    (
        "hosnn_cifar10",
        (3, 32, 32),
        10,
        "conv_1 dropout_1 conv_2 pooling_1 dropout_2 conv_3 pooling_2 dropout_3 conv_4 dropout_4 "
        "conv_5 dropout_5 FC_1 dropout_6 FC_2 dropout_7 output",
        [
            (128, 3, 3, 3),
            (256, 128, 3, 3),
            (512, 256, 3, 3),
            (1024, 512, 3, 3),
            (512, 1024, 3, 3),
            (1024, 32768),
            (512, 1024),
            (10, 512),
        ],
    ),
]


@pytest.mark.parametrize(("name", "shape", "classes", "order", "weights"), PUBLISHED)
def test_published_networks(
    name: HoSNNName, shape: tuple[int, ...], classes: int, order: str, weights: list[Any]
) -> None:
    with torch.device("meta"):
        net = layers(HoSNN(name=name, neuron=TALIF()), shape, classes)
    assert [child for child, _ in net.named_children()] == order.split()
    shapes = {n: tuple(p.shape) for n, p in net.named_parameters()}
    assert [shapes[n] for n in shapes if n.endswith("synapse.weight")] == weights
    assert shapes["FC_1.neuron.theta"] == (weights[-2][0] if name == "hosnn_mnist" else 1024,)
    assert ("conv_1.norm.weight" in shapes) == (name == "hosnn_cifar10")
    assert "output.norm.weight" not in shapes


def test_lif_normalises_the_output_of_the_cifar10_network_alone() -> None:
    with torch.device("meta"):
        specs = [HoSNN(name=n) for n in ("hosnn_cifar10", "hosnn_cifar100")]
        nets = [layers(spec, (3, 32, 32), 10) for spec in specs]
    assert ["output.norm.bias" in dict(net.named_parameters()) for net in nets] == [True, False]


def test_output_is_the_current() -> None:
    net = network().eval()
    x_TBCHW = torch.rand(5, 3, *SHAPE)
    inputs: list[Tensor] = []
    net.output.register_forward_hook(lambda _m, x, _y: inputs.append(x[0]))
    found = net(x_TBCHW)
    current = net.output.norm(net.output.synapse(inputs[0]).flatten(0, 1))
    assert found.shape == (5, 3, 10)
    assert torch.equal(found, current.view_as(found))


def test_the_ann_twin_is_a_plain_network() -> None:
    net = network(ReLU(), batch_norm=False).eval()
    x_TBCHW = torch.randn(1, 3, *SHAPE)
    y = torch.relu(net.conv_1.synapse(x_TBCHW[0]))
    y = 1.1 * 4 * nn.functional.avg_pool2d(y, 2)
    y = torch.relu(net.conv_2.synapse(y)).flatten(1)
    expected = net.output.synapse(torch.relu(net.FC_1.synapse(y)))
    assert torch.allclose(net(x_TBCHW)[0], expected, atol=1e-5)


def test_weights_start_as_published() -> None:
    torch.manual_seed(1)
    spec = LayerTable(
        layers=(
            Conv(out_channels=64, kernel_size=5, weight_scale=Decimal(5)),
            Linear(out_features=100, weight_scale=Decimal(2)),
        )
    )
    net: Any = layers(spec, (4, 8, 8), 10)
    conv, linear = net.conv_1.synapse.weight.detach(), net.FC_1.synapse.weight.detach()
    assert 0.49 < float(conv.abs().max()) <= 0.5  # 5 / sqrt(100)
    assert float(linear.std()) == pytest.approx(2 * (2 / 1024) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((Linear(out_features=3), Conv(out_channels=2, kernel_size=3)), "cannot follow a vector"),
        ((Conv(out_channels=2, kernel_size=9),), "layer conv_1: a kernel of 9 does not fit"),
        ((Conv(out_channels=2, kernel_size=3, in_channels=1),), "1 channels expected"),
        ((Pool(kernel_size=3),), "layer pooling_1: windows of 3x3 do not tile 8x8"),
        ((Linear(out_features=3), Pool()), "a pool cannot follow"),
        ((Linear(out_features=3, in_features=99),), "99 inputs expected"),
        ((Output(), Linear(out_features=3)), "the output layer comes last"),
    ],
)
def test_tables_that_do_not_fit_are_refused(entries: tuple[Layer, ...], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        layers(LayerTable(layers=entries), SHAPE, 10)


def test_constrain_clips_weights_alone_and_lifts_theta() -> None:
    net = network(TALIF())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(-7)
    constrain(net, 4.0)
    values = {name: p.unique().item() for name, p in net.named_parameters()}
    for name, value in values.items():
        expected = {"synapse": -4.0, "neuron": 0.0}.get(name.split(".")[1], -7.0)
        assert value == expected, name


def test_constrain_without_a_clip_lifts_theta_alone_and_knows_any_network() -> None:
    net = network(TALIF())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(-7)
    constrain(net, None)
    assert net.conv_1.synapse.weight.max().item() == -7
    assert net.conv_1.neuron.theta.min().item() == 0
    other = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    nn.init.constant_(other[0].weight, 9)  # type: ignore[arg-type]
    constrain(other, 4.0)
    assert other[0].weight.item() == 4  # type: ignore[operator]


def test_signatures_are_set_by_name_or_all_at_once_and_those_of_convolutions_decay() -> None:
    net = network(TALIF())
    shapes = {"conv_1": (5, 6, 8, 8), "conv_2": (5, 8, 2, 2), "FC_1": (5, 12)}
    values = {name: torch.rand(shape) for name, shape in shapes.items()}
    set_nds(nn.Sequential(net), values)
    assert torch.equal(net.FC_1.neuron.nds, values["FC_1"])
    set_nds(net, 0.5)
    decay_nds(net, 0.5)
    found = [float(net.get_submodule(f"{name}.neuron").nds.unique()) for name in shapes]
    assert found == [0.25, 0.25, 0.5]


@pytest.mark.parametrize(
    ("neuron", "values", "message"),
    [
        (TraceLIF(), 0.5, "the network has no TA-LIF layers"),
        (TALIF(), {"conv_1": torch.zeros(5, 6, 8, 8)}, "layers conv_1, conv_2, FC_1, found conv_1"),
        (TALIF(), (6, 8, 8, 5), r"conv_1: expected the shape \[5, 6, 8, 8\] .*, found \[6, 8, 8, "),
        (TALIF(), float("nan"), "layer conv_1: a value is NaN or infinite"),
    ],
)
def test_signatures_that_do_not_fit_are_refused(
    neuron: TraceNeuron, values: Any, message: str
) -> None:
    if isinstance(values, tuple):
        others = {"conv_2": torch.zeros(5, 8, 2, 2), "FC_1": torch.zeros(5, 12)}
        values = {"conv_1": torch.zeros(values), **others}
    with pytest.raises(SnnlibError, match=message):
        set_nds(network(neuron), values)
