"""Spiking layers: SpikingJelly's neurons, all time steps at once, reset to 0 after a spike."""

from collections.abc import Callable
from typing import Any

from torch import nn

from snnlib import surrogates
from snnlib.doors import neuron
from snnlib.spec.model import IF, LIF, Neuron, NeuronName, Surrogate


def _if(spec: IF, surrogate: Any) -> nn.Module:
    node: nn.Module = neuron.IFNode(
        v_threshold=float(spec.v_threshold),
        v_reset=0.0,
        surrogate_function=surrogate,
        detach_reset=spec.detach_reset,
        step_mode="m",
    )
    return node


def _lif(spec: LIF, surrogate: Any) -> nn.Module:
    node: nn.Module = neuron.LIFNode(
        tau=float(spec.tau),
        decay_input=True,
        v_threshold=float(spec.v_threshold),
        v_reset=0.0,
        surrogate_function=surrogate,
        detach_reset=spec.detach_reset,
        step_mode="m",
    )
    return node


NEURONS: dict[NeuronName, Callable[[Any, Any], nn.Module]] = {"if": _if, "lif": _lif}


def build(spec: Neuron, surrogate: Surrogate) -> nn.Module:
    """A spiking layer: currents [T, B, ...] to spikes of the same shape."""
    return NEURONS[spec.name](spec, surrogates.build(surrogate))
