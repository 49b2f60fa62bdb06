"""Spikes and synaptic operations against counting connection by connection."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlib import neurons, synops
from snnlib.neurons.trace import Constants
from snnlib.psp import psp
from snnlib.spec.neuron import HOSNN_SURROGATE, IF, TALIF, TraceLIF

TAU_S = 3.0


def spikes(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(shape, generator=generator) < 0.3).float()


def counted(layer: Any, x_TB: Tensor) -> list[int]:
    """Window by window: inputs that are not zero, for each output channel that sees them."""
    found = []
    for x_BCHW in x_TB:
        windows = functional.unfold(
            (x_BCHW != 0).double(), layer.kernel_size, layer.dilation, layer.padding, layer.stride
        )
        found.append(round(windows.sum().item()) * layer.out_channels // layer.groups)
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"groups": 2}],
    ids=str,
)
def test_convolutions_are_counted_connection_by_connection(options: dict[str, Any]) -> None:
    layer, x_TB = nn.Conv2d(4, 6, 3, **options), spikes(3, 2, 4, 7, 6)
    assert synops.operations(layer, x_TB, None).tolist() == counted(layer, x_TB)


def test_a_linear_layer_passes_each_input_to_all_outputs() -> None:
    x_TB = torch.tensor([[[1.0, 0, 0.5], [0, 0, 2]], [[0, 0, 0], [1, 1, 1]]])
    assert synops.operations(nn.Linear(3, 10), x_TB, None).tolist() == [30, 30]


def test_events_undo_the_filter() -> None:
    x_TB = spikes(6, 2, 5).double()
    assert torch.allclose(synops.events(psp(x_TB, TAU_S), TAU_S), x_TB)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3, padding=1), nn.Linear(3 * 6 * 6, 7)], ids=str)
def test_of_traces_the_spikes_behind_them_are_counted(layer: Any) -> None:
    x_TB = 1.1 * spikes(5, 4, 3, 6, 6)
    shaped_TB = x_TB if isinstance(layer, nn.Conv2d) else x_TB.flatten(2)
    found = synops.operations(layer, psp(shaped_TB, TAU_S), TAU_S)
    assert torch.equal(found, synops.operations(layer, shaped_TB, None))


def test_silence_costs_nothing() -> None:
    assert synops.operations(nn.Linear(4, 9), torch.zeros(2, 3, 4), TAU_S).tolist() == [0, 0]


@pytest.mark.parametrize("spec", [IF(), TraceLIF(), TALIF()], ids=lambda spec: type(spec).__name__)
def test_spikes_of_every_step(spec: IF | TraceLIF | TALIF) -> None:
    node = neurons.build(spec, HOSNN_SURROGATE, shape=(5,), time_steps=4)
    expected = spikes(4, 3, 5)
    output_TB = expected if isinstance(spec, IF) else psp(expected, Constants.of(spec).tau_s)
    assert torch.equal(synops.spikes(node, output_TB), expected.sum((1, 2)).long())
