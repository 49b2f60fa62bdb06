"""The Neural Dynamic Signature (NDS) of a network: what its neurons do on average, step by step.

u*_i(t) is the mean of neuron i's membrane before reset (or of its trace) at step t over the
training images (Geng and Li 2023, HoSNN, arXiv 2308.10373, section 3). The mean is taken in
integers: each sample's value is rounded to a multiple of 2^-32, so any order of samples, any share
of processes and any padding give the same sums.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from snnlib import distributed, noise
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.distributed import World
from snnlib.errors import NotFinite, SnnlibError
from snnlib.models.table import trace_neurons
from snnlib.neurons import TraceLIFNode, fused
from snnlib.neurons.trace import Adaptation, Constants
from snnlib.spec.stage import Quantity

FRACTION_BITS = 32
SAMPLES_BITS = 18
"""Sums of this many samples, 262,144, fit into 64 bits."""
LARGEST = 2.0 ** (63 - FRACTION_BITS - SAMPLES_BITS)
"""Below this, 8192, every value must lie."""
SHIFT = 1.5 * 2.0 ** (52 - FRACTION_BITS)
"""A double near it has 52 bits behind its first, the last of them worth 2^-32."""
SEED = 0
"""Of an encoder's noise: a signature belongs to its network alone."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over samples.

    Attributes:
        by_layer: int64 [T, *shape] in units of 2^-32, on the CPU, by the names that
            `models.table.set_nds` takes; empty if there were no batches.
        count: samples.
    """

    by_layer: dict[str, Tensor]
    count: int


def collect(model: SpikingClassifier, batches: Iterable[Batch], *, quantity: Quantity) -> Sums:
    """Sum what the neurons of all layers but the output do, in evaluation mode.

    Args:
        model: left as it was.
        batches: each sample counts once, padding does not.
        quantity: the membrane before reset, or the trace.

    Raises:
        SnnlibError: the network has no neurons that emit traces.
        NotFinite: a value is NaN, infinite, or too large for the sums.
    """
    found = trace_neurons(model)
    if not found:
        raise SnnlibError(
            "the network has no neurons that emit traces, so it has no signature; models "
            "hosnn_mnist, hosnn_cifar10, hosnn_cifar100 and layers with neuron lif or ta_lif do"
        )
    doubles = _Doubles()
    recorders = {name: _Recorder(quantity, doubles) for name in found}
    count = 0
    with frozen(model), torch.no_grad(), _recording(found, recorders):
        for batch in batches:
            for recorder in recorders.values():
                recorder.counted = batch.count
            key = noise.Key(seed=SEED, stream="evaluation", samples_B=batch.samples_B)
            with model.keyed(key):
                model(batch.images_BCHW)
            count += batch.count
    if not count:
        return Sums(by_layer={}, count=0)
    return Sums(by_layer={name: one.sums(name) for name, one in recorders.items()}, count=count)


@contextmanager
def _recording(
    neurons: Mapping[str, TraceLIFNode], recorders: Mapping[str, "_Recorder"]
) -> Iterator[None]:
    for name, neuron in neurons.items():
        neuron.recorder = recorders[name]
    try:
        yield
    finally:
        for neuron in neurons.values():
            neuron.recorder = None


class _Doubles:
    """Working memory for float64 that layers share; fresh pages cost more than the arithmetic."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.float64)

    def of(self, x: Tensor) -> Tensor:
        """A tensor in float64, until the next call."""
        if self._memory.numel() < x.numel():
            self._memory = x.new_empty(x.numel(), dtype=torch.float64)
        return self._memory[: x.numel()].view(x.shape).copy_(x)


class _Recorder:
    """Stands in for a layer of neurons and sums its states.

    Attributes:
        counted: how many samples of the next batch count.
    """

    def __init__(self, quantity: Quantity, doubles: _Doubles) -> None:
        self.counted = 0
        self._quantity, self._doubles = quantity, doubles
        self._sums_T = torch.zeros(0, dtype=torch.int64)  # until the first batch tells its shape
        self._peak, self._origin = torch.zeros(()), torch.tensor(SHIFT, dtype=torch.float64)

    def __call__(
        self, current_TB: Tensor, constants: Constants, adaptation: Adaptation | None
    ) -> Tensor:
        if not self._sums_T.numel():
            steps, _, *shape = current_TB.shape
            self._sums_T = current_TB.new_zeros(steps, *shape, dtype=torch.int64)
            self._peak = self._peak.to(current_TB)
            self._origin = self._origin.to(current_TB.device).view(torch.int64)
        return fused.watched(current_TB, constants, adaptation, self._add)

    def _add(self, seen: fused.Seen) -> None:
        count = self.counted - seen.samples.start
        state_Tb = seen.membrane_Tb if self._quantity == "membrane" else seen.trace_Tb
        value_Tb = state_Tb[:, : max(0, count)]
        if not value_Tb.numel():
            return
        low, high = torch.aminmax(value_Tb)
        self._peak = torch.maximum(self._peak, torch.maximum(high, -low))
        # In a double of SHIFT's size the last bit is worth 2^-32: the sum rounds to it, half to
        # even, and its bits, read as a whole number, count that unit from those of SHIFT on. What
        # overflows in adding up such numbers cancels: 64 bits hold the difference.
        bits_Tb = self._doubles.of(value_Tb).add_(SHIFT).view(torch.int64)
        part_TF = self._sums_T.flatten(1)[:, seen.neurons]
        part_TF.add_(bits_Tb.sum(1)).sub_(value_Tb.shape[1] * self._origin)

    def sums(self, name: str) -> Tensor:
        """What was summed, by the layer of this name.

        Raises:
            NotFinite: a value was NaN or beyond what sums can hold.
        """
        peak = float(self._peak)
        if not peak < LARGEST:  # so that NaN is refused
            raise NotFinite(
                f"layer {name}: a {self._quantity} of {peak:g}; a signature can be taken of "
                f"values below {LARGEST:g}"
            )
        return self._sums_T.cpu()


def merged(world: World, own: Sums) -> Sums:
    """The sums of all processes, known to each; exact."""
    # only the first process is sure to have had a batch
    shapes = {name: tuple(sums_T.shape) for name, sums_T in own.by_layer.items()}
    shapes = distributed.broadcast_object(world, shapes)
    parts = [own.by_layer.get(n, torch.zeros(s, dtype=torch.int64)) for n, s in shapes.items()]
    flat = torch.cat([torch.tensor([own.count]), *(part.flatten() for part in parts)])
    whole = distributed.exact_total(world, flat).cpu()
    count, *flats = torch.split(whole, [1, *(part.numel() for part in parts)])
    assert int(count) <= 2**SAMPLES_BITS, "more samples than sums can hold"
    by_layer = {n: sums.view(shapes[n]) for n, sums in zip(shapes, flats, strict=True)}
    return Sums(by_layer=by_layer, count=int(count))


def mean(sums: Sums) -> dict[str, Tensor]:
    """The signature of each layer, float32 [T, *shape]; by way of float64."""
    unit = sums.count * 2.0**FRACTION_BITS
    return {name: (sum_T.double() / unit).float() for name, sum_T in sums.by_layer.items()}
