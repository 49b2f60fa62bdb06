"""Spikes and synaptic operations (SynOps), counted exactly: what event-driven hardware would do.

An input that is not zero costs one operation for each connection that leaves it: an addition if
it is a spike, a multiplication too if it is a value, as in a first layer that sees pixels. Where
neurons emit traces, the spikes behind the traces are counted, not the traces, which stay above zero
for many steps: synapses make traces on the spot, and only spikes travel.
"""

from typing import Any

import torch
from torch import Tensor, nn

from snnlib.neurons import TraceLIFNode

TRACE_NOISE = 1e-4
"""Share of a sample's largest event below which what is taken out of a trace is rounding."""


def spikes(neuron: nn.Module, output_TB: Tensor) -> Tensor:
    """Spikes of a layer at each step, all samples together.

    Args:
        neuron: of `snnlib.neurons`, not relu.
        output_TB: what it emitted, [T, B, *shape]: spikes or traces.

    Returns:
        int64 [T].
    """
    if isinstance(neuron, TraceLIFNode):
        output_TB = events(output_TB, neuron.constants.tau_s) > 0.5
    return count(output_TB)


def operations(synapse: nn.Conv2d | nn.Linear, input_TB: Tensor, tau_s: float | None) -> Tensor:
    """Synaptic operations of a layer at each step, all samples together.

    Args:
        synapse: its connections.
        input_TB: what it was given, [T, B, *shape].
        tau_s: time constant of the traces that it was given, in steps; None for spikes or values.

    Returns:
        int64 [T].
    """
    if tau_s is None:
        active_TB = input_TB != 0
    else:
        event_TB = events(input_TB, tau_s).abs()
        peak_B = event_TB.transpose(0, 1).flatten(1).amax(1)
        active_TB = event_TB > TRACE_NOISE * peak_B.view(-1, *[1] * (event_TB.ndim - 2))
    if isinstance(synapse, nn.Linear):
        return count(active_TB) * synapse.out_features
    active_THW = active_TB.reshape(len(active_TB), -1, *active_TB.shape[-2:]).sum(1)
    return (active_THW * connections(synapse, active_THW.shape[1:])).flatten(1).sum(1)


def count(x_T: Tensor) -> Tensor:
    """How many values of each step are not zero, int64 [T]."""
    # step by step: counting along an axis makes 64-bit numbers of all values first
    return torch.stack([values.count_nonzero() for values in x_T])


def events(trace_TB: Tensor, tau_s: float) -> Tensor:
    """The x that a trace stands for, y_t = y_{t-1} + (x_t - y_{t-1}) / tau_s: `psp.psp` undone."""
    before_TB = torch.cat([torch.zeros_like(trace_TB[:1]), trace_TB[:-1]])
    return before_TB + tau_s * (trace_TB - before_TB)


def connections(synapse: nn.Conv2d, size: torch.Size) -> Tensor:
    """How many outputs each position of a convolution's input reaches, int64 [H, W].

    Windows reach into the padding at the border, so that less leaves a position there.
    """
    kernel = synapse.weight.new_ones(1, 1, *synapse.kernel_size, dtype=torch.float64)
    where: Any = (synapse.stride, synapse.padding, synapse.dilation)
    image = kernel.new_zeros(1, 1, *size, requires_grad=True)
    with torch.enable_grad():  # the gradient of a sum over windows: how many hold a position
        total = nn.functional.conv2d(image, kernel, None, *where).sum()
    (windows,) = torch.autograd.grad(total, image)
    found: Tensor = windows[0, 0].round().to(torch.int64)
    return found * (synapse.out_channels // synapse.groups)
