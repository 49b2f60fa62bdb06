"""Starting a network from the weights of another."""

import pytest
import torch

from snnlib import models, transfer
from snnlib.classifier import SpikingClassifier
from snnlib.errors import SnnlibError
from snnlib.spec.layers import Conv, Layer, Linear, Output
from snnlib.spec.model import LayerTable
from snnlib.spec.neuron import TALIF, TraceLIF, TraceNeuron

CONV = Conv(out_channels=2, kernel_size=3, batch_norm=True)


def network(neuron: TraceNeuron, *layers: Layer, seed: int = 0) -> SpikingClassifier:
    spec = LayerTable(layers=(CONV, *layers), neuron=neuron, time_steps=2)
    return models.build(spec, shape=(1, 8, 8), classes=3, seed=seed, nds=None)


def test_ta_lif_takes_over_a_lif_network() -> None:
    lif = network(TraceLIF(), Output(batch_norm=True))
    adaptive = network(TALIF(), seed=1)
    theta = adaptive.state_dict()["layers.conv_1.neuron.theta"].clone()
    transfer.load(adaptive, lif.state_dict())
    found = adaptive.state_dict()
    for name, value in found.items():
        if name in lif.state_dict():
            assert torch.equal(value, lif.state_dict()[name])
    assert torch.equal(found["layers.conv_1.neuron.theta"], theta)


def test_every_misfit_is_named() -> None:
    with pytest.raises(SnnlibError) as caught:
        transfer.load(
            network(TraceLIF(), Linear(out_features=4)), network(TraceLIF(), seed=1).state_dict()
        )
    message = str(caught.value)
    assert "layers.output.synapse.weight is 3x72 instead of 3x4" in message
    assert "layers.FC_1.synapse.weight is absent" in message


def test_unknown_weights_are_not_passed_over() -> None:
    weights = network(TraceLIF(), Linear(out_features=4)).state_dict()
    with pytest.raises(SnnlibError, match=r"FC_1\.synapse\.weight is unknown"):
        transfer.load(network(TraceLIF()), weights)
