"""Networks by name. A new one: a builder, a line in MODELS, a word in spec.model.ModelName."""

import math
from collections.abc import Callable

import torch
from torch import nn

from snnlib import neurons
from snnlib.classifier import SpikingClassifier, probe
from snnlib.encoders import ENCODERS
from snnlib.models.small import small
from snnlib.spec.model import Model, ModelName

Shape = tuple[int, int, int]
Builder = Callable[[Model, Shape, int], nn.Module]
"""(spec, image shape [C, H, W], classes K) to layers [T, B, C, H, W] → [T, B, K]."""

MODELS: dict[ModelName, Builder] = {"small": small}


def build(spec: Model, *, shape: Shape, classes: int, seed: int) -> SpikingClassifier:
    """Build a network with random weights.

    Args:
        spec: what to build.
        shape: of one image, [C, H, W].
        classes: number of logits K.
        seed: alone determines the weights; the global generators are not touched.

    Raises:
        NoGradient: if its logits have no gradient with respect to the image.
    """
    with torch.random.fork_rng(devices=[]):  # layers draw weights of their own at first
        layers = MODELS[spec.name](spec, shape, classes)
    if spec.readout == "spikes":
        layers = nn.Sequential(layers, neurons.build(spec.neuron, spec.surrogate))
    initialise(layers, seed)
    classifier = SpikingClassifier(
        layers, encode=ENCODERS[spec.encoder.name], time_steps=spec.time_steps
    )
    probe(classifier, torch.full((1, *shape), 0.5))
    return classifier


def initialise(layers: nn.Module, seed: int) -> None:
    """Draw weights from U(-b, b) with b = 2 sqrt(3/n), n inputs of a neuron; biases are 0.

    That is a standard deviation of 2/sqrt(n) instead of the sqrt(2/n) that suits rectifiers (He et
    al. 2015, eq. 10): spikes are sparse and a leak halves currents, so that with the smaller one
    the deeper layers of an untrained network stay silent and give no gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in layers.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 2 * math.sqrt(3 / module.weight[0].numel())
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
