"""Spiking VGG-11 against SpikingJelly's plain one."""

from typing import Any

import pytest
import torch

from snnlib import noise
from snnlib.doors import layer, neuron, spikingjelly, surrogate
from snnlib.errors import SnnlibError
from snnlib.layers import KeyedDropout
from snnlib.models.vgg import spiking_vgg
from snnlib.spec.model import SpikingVGG, VGGName
from snnlib.spec.neuron import IF, ReLU, SpikeNeuron


def vgg(name: VGGName, of: SpikeNeuron, channels: int = 3, classes: int = 10) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return spiking_vgg(SpikingVGG(name=name, neuron=of), (channels, 32, 32), classes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spiking_vgg11", "spiking_vgg11_bn"])
def test_evaluation_has_the_bits_of_spikingjellys(name: VGGName) -> None:
    network = vgg(name, IF()).eval()
    reference = getattr(spikingjelly("model.spiking_vgg"), name)(
        spiking_neuron=neuron.IFNode, num_classes=10, surrogate_function=surrogate.ATan()
    )
    reference.load_state_dict(network.state_dict())
    spikingjelly("functional").set_step_mode(reference.eval(), "m")
    x = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(x), reference(x))
    assert not any(isinstance(m, layer.Dropout) for m in network.modules())


@pytest.mark.parametrize("of", [IF(), ReLU()], ids=lambda n: n.name)
def test_channels_and_classes(of: SpikeNeuron) -> None:
    with torch.device("meta"):  # 120 million weights take a second to draw
        network = vgg("spiking_vgg11_bn", of, channels=1, classes=7)
    spiking = [m for m in network.modules() if hasattr(m, "surrogate_function")]
    assert network.features[0].in_channels == 1
    assert network.classifier[-1].out_features == 7
    assert len(spiking) == (10 if of.name == "if" else 0)


def test_dropout_is_keyed() -> None:
    with torch.device("meta"):
        network = vgg("spiking_vgg11", ReLU())
    dropouts = [m for m in network.modules() if isinstance(m, KeyedDropout)]
    assert [m.name for m in dropouts] == ["classifier.2", "classifier.5"]
    with pytest.raises(SnnlibError, match="dropout has no key"):
        dropouts[0](torch.ones(2, 3, 8))
    dropouts[0].key = noise.Key(seed=0, stream="test", samples_B=torch.arange(3))
    assert set(dropouts[0](torch.ones(2, 3, 8)).flatten().tolist()) == {0, 2}
