"""Spiking layers: currents [T, B, *shape] to spikes, or traces of spikes, of the same shape.

A new one: a class in spec.neuron, a builder, a line in NEURONS.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from snnlib import surrogates
from snnlib.neurons.spiking import if_node, lif_node, plif_node, relu_node
from snnlib.neurons.trace_nodes import TALIFNode, TraceLIFNode
from snnlib.spec.neuron import (
    IF,
    LIF,
    TALIF,
    Neuron,
    ParametricLIF,
    ReLU,
    Surrogate,
    TraceLIF,
)

__all__ = ["NEURONS", "TALIFNode", "TraceLIFNode", "build"]

Builder = Callable[[Any, Any, tuple[int, ...], int], nn.Module]
"""(spec, spike function, shape of the layer, time steps T) to the layer."""


def _of_any_shape(node: Callable[[Any, Any], nn.Module]) -> Builder:
    return lambda spec, function, _shape, _time_steps: node(spec, function)


NEURONS: dict[type[Neuron], Builder] = {
    IF: _of_any_shape(if_node),
    LIF: _of_any_shape(lif_node),
    ParametricLIF: _of_any_shape(plif_node),
    ReLU: _of_any_shape(relu_node),
    TraceLIF: _of_any_shape(TraceLIFNode),
    TALIF: TALIFNode,
}


def build(
    spec: Neuron, surrogate: Surrogate, *, shape: tuple[int, ...] = (), time_steps: int = 0
) -> nn.Module:
    """A spiking layer.

    Args:
        spec: which neuron.
        surrogate: the derivative of its spikes.
        shape: of the layer, without time and batch; only a TA-LIF needs to know it.
        time_steps: T; only a TA-LIF needs to know it.
    """
    return NEURONS[type(spec)](spec, surrogates.build(surrogate), shape, time_steps)
