"""Networks by name. A new one: a builder, a line in MODELS, a class in spec.model."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from snnlib import encoders, neurons
from snnlib.classifier import Readout, SpikingClassifier, probe
from snnlib.losses import target_trace
from snnlib.models.residual import sew_resnet, spiking_resnet
from snnlib.models.small import small
from snnlib.models.table import layers as layer_table
from snnlib.models.table import set_nds
from snnlib.models.vgg import spiking_vgg
from snnlib.spec.model import (
    HoSNN,
    HoSNNName,
    LayerTable,
    Model,
    ModelName,
    SEWName,
    SpikingResNetName,
    VGGName,
    readout,
)
from snnlib.spec.neuron import ReLU, TraceLIF

Shape = tuple[int, int, int]
Builder = Callable[[Any, Shape, int], nn.Module]
"""(spec, image shape [C, H, W], classes K) to layers [T, B, C, H, W] → currents [T, B, K].

Initial weights are drawn from the CPU's default generator, which `build` seeds.
"""

MODELS: dict[ModelName, Builder] = {
    "small": small,
    **dict.fromkeys(get_args(SEWName), sew_resnet),
    **dict.fromkeys(get_args(SpikingResNetName), spiking_resnet),
    **dict.fromkeys(get_args(VGGName), spiking_vgg),
    **dict.fromkeys(get_args(HoSNNName), layer_table),
    "layers": layer_table,
}


def build(
    spec: Model,
    *,
    shape: Shape,
    classes: int,
    seed: int,
    nds: Mapping[str, Tensor] | float | None = None,
) -> SpikingClassifier:
    """Build a network with random weights.

    Args:
        spec: what to build.
        shape: of one image, [C, H, W].
        classes: number of logits K.
        seed: alone determines the weights; the global generators are not touched.
        nds: signature of each TA-LIF layer by name, [T, ...], or one value for all; 0 when unset,
            to be loaded with the weights.

    Raises:
        NoGradient: if its logits have no gradient with respect to the image.
        SnnlibError: if the signature has other layers or shapes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers = MODELS[spec.name](spec, shape, classes)
    if nds is not None:
        set_nds(layers, nds)
    classifier = SpikingClassifier(
        layers,
        encode=encoders.build(spec.encoder),
        time_steps=spec.time_steps,
        readout=_readout(spec),
        bounds=encoders.bounds(spec.encoder, shape[0]),
    )
    probe(classifier, torch.full((1, *shape), 0.5))
    return classifier


def _readout(spec: Model) -> Readout | None:
    """Neurons of the output layer, unless logits are read from its currents."""
    if readout(spec) == "current":
        return None
    if not isinstance(spec, HoSNN | LayerTable):
        return Readout(neurons.build(spec.neuron, spec.surrogate))
    own = spec.neuron
    assert not isinstance(own, ReLU)
    lif = TraceLIF(
        tau_m=own.tau_m, tau_s=own.tau_s, v_threshold=own.v_threshold, gradient=own.gradient
    )
    target_T = target_trace(spec.time_steps, float(own.tau_s))
    return Readout(neurons.build(lif, spec.surrogate), target_T, spec.ties)
