"""Networks of layer tables whose neurons exchange traces, as those of HoSNN (Geng and Li 2023).

A trace is what synapses make of spikes (`snnlib.psp`). The network's input is filtered the same
way; every convolution or linear layer turns traces into currents, and neurons turn those into
traces. With neuron relu there are no traces: a network of rectifiers with the same weights.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snnlib import neurons
from snnlib.errors import SnnlibError
from snnlib.layers import ImageConv2d, KeyedDropout, WindowSum
from snnlib.psp import kernel, psp
from snnlib.spec.layers import Conv, Dropout, Linear, Output, Placed, Pool, place
from snnlib.spec.model import HoSNN, LayerTable, table
from snnlib.spec.neuron import ReLU


class Weighted(nn.Module):
    """A layer of weights: synapses, perhaps batch normalisation, and neurons unless it is the last.

    Attributes:
        synapse: convolution or linear layer without bias.
        norm: normalises over time, batch and space together; absent if there is none.
        neuron: currents to traces; absent in the output layer.
    """

    def __init__(
        self, synapse: nn.Conv2d | nn.Linear, norm: nn.Module | None, neuron: nn.Module | None
    ) -> None:
        super().__init__()
        self.synapse = synapse
        if norm is not None:
            self.norm = norm
        if neuron is not None:
            self.neuron = neuron

    def forward(self, x_TB: Tensor) -> Tensor:
        """Traces [T, B, ...] to traces [T, B, *shape], or to currents [T, B, K]."""
        current: Tensor = self.synapse(self._rows(x_TB.flatten(0, 1)))
        return self._after(current.view(*x_TB.shape[:2], *current.shape[1:]))

    def constant(self, x_B: Tensor, response_T: Tensor) -> Tensor:
        """`forward` of x_B times response_T, with the synapses computed once."""
        current: Tensor = self.synapse(self._rows(x_B))
        return self._after(response_T.view(-1, *[1] * current.dim()) * current)

    def _rows(self, x_N: Tensor) -> Tensor:
        return x_N.flatten(1) if isinstance(self.synapse, nn.Linear) else x_N

    def _after(self, current_TB: Tensor) -> Tensor:
        if "norm" in self._modules:
            normal: Tensor = self.norm(current_TB.flatten(0, 1))
            current_TB = normal.view_as(current_TB)
        if "neuron" in self._modules:
            trace_TB: Tensor = self.neuron(current_TB)
            return trace_TB
        return current_TB


class Table(nn.Sequential):
    """The layers of a table by their names, [T, B, C, H, W] to currents [T, B, K]."""

    def __init__(self, children: dict[str, nn.Module], tau_s: float | None) -> None:
        """A network.

        Args:
            children: layers by name.
            tau_s: time constant of the synapses that filter the input, in steps; None for none.
        """
        super().__init__(OrderedDict(children))
        self.tau_s = tau_s

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Currents of the output layer.

        The filter and the synapses are linear. So where an input is constant in time (stride 0),
        the first layer's synapses see it once, and the filter's response scales their currents.
        """
        first, *rest = self
        y_TB: Tensor
        if self.tau_s is None:
            y_TB = first(x_TBCHW)
        elif x_TBCHW.stride(0) == 0 and isinstance(first, Weighted):
            response_T = kernel(len(x_TBCHW), self.tau_s, x_TBCHW.dtype).to(x_TBCHW.device)
            y_TB = first.constant(x_TBCHW[0], response_T)
        else:
            y_TB = first(psp(x_TBCHW, self.tau_s))
        for layer in rest:
            y_TB = layer(y_TB)
        return y_TB


def layers(spec: HoSNN | LayerTable, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a network of a layer table; its layers carry the names that HoSNN gives them.

    Weights start as published: convolutions uniformly in +-1/sqrt(n) for n inputs of a neuron
    (Kaiming, a = sqrt 5), linear layers normally with variance 2/n, both times `weight_scale`.
    `imported.from_state_dict` makes published weights the state of the network, `double()` makes it
    one of float64; in training each dropout needs its `key`.

    Args:
        spec: table, neurons and surrogate.
        shape: of an image, [C, H, W].
        classes: K.

    Returns:
        [T, B, C, H, W] to the currents [T, B, K] of the output layer.

    Raises:
        LayerError: the table does not fit the image.
    """
    children = {p.name: _layer(p, spec) for p in place(table(spec), shape, classes)}
    tau_s = None if isinstance(spec.neuron, ReLU) else float(spec.neuron.tau_s)
    return Table(children, tau_s)


def _layer(placed: Placed, spec: HoSNN | LayerTable) -> nn.Module:
    match placed.layer:
        case Pool(kernel_size=size, weight=weight):
            return WindowSum(size, float(weight))
        case Dropout(p=p):
            return KeyedDropout(float(p), placed.name)
        case Conv() | Linear() | Output():
            return _weighted(placed, placed.layer, spec)


def _weighted(placed: Placed, layer: Conv | Linear | Output, spec: HoSNN | LayerTable) -> Weighted:
    synapse: nn.Conv2d | nn.Linear
    norm: nn.Module
    if isinstance(layer, Conv):
        inputs, outputs = placed.before[0], layer.out_channels
        synapse = ImageConv2d(
            inputs, outputs, layer.kernel_size, layer.stride, layer.padding, bias=False
        )
        norm = nn.BatchNorm2d(outputs)
    else:
        inputs, outputs = torch.Size(placed.before).numel(), placed.after[0]
        synapse = nn.Linear(inputs, outputs, bias=False)
        nn.init.kaiming_normal_(synapse.weight)
        norm = nn.BatchNorm1d(outputs)
    with torch.no_grad():
        synapse.weight *= float(layer.weight_scale)
    neuron = None
    if not isinstance(layer, Output):
        neuron = neurons.build(
            spec.neuron, spec.surrogate, shape=placed.after, time_steps=spec.time_steps
        )
    return Weighted(synapse, norm if layer.batch_norm else None, neuron)


@torch.no_grad()
def constrain(network: nn.Module, weight_clip: float | None) -> None:
    """Bring parameters back to where they may be, after an optimiser's step.

    Args:
        network: any.
        weight_clip: bound of the weights of convolutions and linear layers; None for none.
    """
    for module in network.modules():
        if weight_clip is not None and isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.clamp_(-weight_clip, weight_clip)
        if callable(constrain_neuron := getattr(module, "constrain", None)):
            constrain_neuron()


def trace_neurons(network: nn.Module) -> dict[str, neurons.TraceLIFNode]:
    """Neurons that emit traces, by the names of their layers as in `set_nds`; none of a readout."""
    return {
        name.rpartition(".")[2]: neuron
        for name, module in network.named_modules()
        if isinstance(module, Weighted)
        and isinstance(neuron := module._modules.get("neuron"), neurons.TraceLIFNode)
    }


def _adaptive(network: nn.Module) -> Iterator[tuple[str, Weighted, Any]]:
    """Names, layers and neurons of all layers that have a signature."""
    for name, module in network.named_modules():
        if isinstance(module, Weighted) and hasattr(module._modules.get("neuron"), "nds"):
            yield name.rpartition(".")[2], module, module.neuron


@torch.no_grad()
def decay_nds(network: nn.Module, factor: float) -> None:
    """Multiply the signatures of convolutions, as weight decay does in the published code."""
    for _, layer, neuron in _adaptive(network):
        if isinstance(layer.synapse, nn.Conv2d):
            neuron.nds *= factor


@torch.no_grad()
def set_nds(network: nn.Module, values: Mapping[str, Tensor] | float) -> None:
    """Set the signatures u* of all TA-LIF layers.

    Args:
        network: contains a `Table`.
        values: by layer, e.g. conv_1, each [T, *shape]; or one number for all.

    Raises:
        SnnlibError: the network has no such layers, one is missing, unknown, of another shape,
            or not finite.
    """
    found = {name: neuron for name, _, neuron in _adaptive(network)}
    if not found:
        raise SnnlibError("the network has no TA-LIF layers that a signature could steer")
    if not isinstance(values, Mapping):
        values = {name: neuron.nds.new_full((), values) for name, neuron in found.items()}
    elif values.keys() != found.keys():
        raise SnnlibError(
            f"expected signatures of the layers {', '.join(found)}, "
            f"found {', '.join(values) or 'none'}"
        )
    elif wrong := [n for n, value in values.items() if value.shape != found[n].nds.shape]:
        name = wrong[0]
        raise SnnlibError(
            f"signature of layer {name}: expected the shape {list(found[name].nds.shape)} (time "
            f"first), found {list(values[name].shape)}"
        )
    for name, value in values.items():
        if not bool(value.isfinite().all()):
            raise SnnlibError(f"signature of layer {name}: a value is NaN or infinite")
        found[name].nds.copy_(value)
