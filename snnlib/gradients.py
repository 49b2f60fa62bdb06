"""Where a network's gradients vanish: the loss's gradient at every layer and step.

Vanishing gradients make a network look robust (gradient sparsity, arXiv 2509.23762). At the output
and at the input of each leaf layer: how much of the gradient is exactly zero, as the code of that
work (grad-obf-snn) counts it, how much is near zero, its norms, and how far the gradients of two
steps point the same way; and besides, spikes and synaptic operations.

The input's gradient is that through the layer alone, where its input goes elsewhere too. Each
sample's loss counts by itself, so nothing depends on the other samples of its batch. Counts are
whole numbers; norms and cosines are summed within a batch, then batch after batch in the order of
the split, whichever process had which: any number of processes gives the same bits.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snnlib import distributed, noise, synops
from snnlib.attacks import guards
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch
from snnlib.distributed import World
from snnlib.errors import NotFinite, SnnlibError
from snnlib.layers import WindowSum
from snnlib.losses import LOSSES
from snnlib.models.table import Table
from snnlib.spec.stage import GradientsStage

Side = Literal["output", "input"]
Kind = Literal["image", "encoder", "conv", "linear", "norm", "pool", "neuron", "other"]
SIDES: tuple[Side, ...] = ("output", "input")
COUNTS = ("zero", "near_zero", "pairs")
SUMS = ("l1", "l2", "cosine")
SEED = 0
"""Of an encoder's noise, as for signatures."""

_KINDS: tuple[tuple[Kind, tuple[type, ...]], ...] = (
    ("conv", (nn.Conv2d,)),
    ("linear", (nn.Linear,)),
    ("norm", (_BatchNorm,)),
    ("pool", (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, WindowSum)),
    ("neuron", (nn.ReLU,)),
)


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """The gradient at one side of a layer, over the samples that count; T is 1 at the image.

    Attributes:
        size: values of one sample at one step.
        counts_KT: int64, by `COUNTS`: values that are exactly 0; values whose size is at most the
            threshold times the largest of their sample, over all steps of the layer; ordered pairs
            of this step with another where neither gradient is all zero.
        sums_KT: float64 on the CPU, by `SUMS`: norms over samples, cosines over those pairs.
    """

    size: int
    counts_KT: Tensor
    sums_KT: Tensor


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one layer showed.

    Attributes:
        kind: what it does; `encoder` takes the image of each step, `image` is what they share.
        sides: its output, and its input unless it is the image.
        spikes_T: int64, of a layer that spikes.
        operations_T: int64, of a convolution or linear layer (`synops.operations`).
    """

    kind: Kind
    sides: dict[Side, Slopes]
    spikes_T: Tensor | None = None
    operations_T: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What samples showed.

    Attributes:
        layers: by name, in the order in which they are used; `#2` follows the name of a layer that
            is used again. Empty if there were no samples.
        count: samples.
    """

    layers: dict[str, Layer]
    count: int


def collect(
    model: SpikingClassifier, batches: Iterable[Batch], stage: GradientsStage
) -> list[Found]:
    """Look at the gradients of each batch, in evaluation mode.

    Args:
        model: left as it was.
        batches: each sample counts once, padding does not.
        stage: loss and threshold; the caller has chosen the samples.

    Raises:
        SnnlibError: a layer cannot be told apart by steps.
        NotFinite: a gradient is NaN or infinite.
        GuardBroken: parameters or buffers of the network changed.
    """
    found = []
    with frozen(model), guards.unchanged(model):
        for batch in batches:
            key = noise.Key(seed=SEED, stream="evaluation", samples_B=batch.samples_B)
            with model.keyed(key), torch.enable_grad():
                found.append(_look(model, batch, stage))
    return found


def merged(world: World, own: list[Found]) -> Found:
    """What all batches of all processes showed, known to each.

    Args:
        world: the processes.
        own: of the batches that `evaluate.shard` gave this one.
    """
    parts = distributed.gather_objects(world, own)
    # batch i was dealt to process i modulo their number
    dealt = (parts[i % world.size][i // world.size] for i in range(sum(map(len, parts))))
    first = next(dealt, Found(layers={}, count=0))
    for other in dealt:
        assert other.layers.keys() == first.layers.keys(), "one network has the same layers always"
        layers = {n: _joined(layer, other.layers[n]) for n, layer in first.layers.items()}
        first = Found(layers=layers, count=first.count + other.count)
    return first


def _joined(one: Layer, other: Layer) -> Layer:
    def total(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else a + b

    sides = {
        side: Slopes(
            size=slopes.size,
            counts_KT=slopes.counts_KT + other.sides[side].counts_KT,
            sums_KT=slopes.sums_KT + other.sides[side].sums_KT,
        )
        for side, slopes in one.sides.items()
    }
    return Layer(
        kind=one.kind,
        sides=sides,
        spikes_T=total(one.spikes_T, other.spikes_T),
        operations_T=total(one.operations_T, other.operations_T),
    )


def _look(model: SpikingClassifier, batch: Batch, stage: GradientsStage) -> Found:
    view = _View(model.time_steps, batch, float(stage.threshold))
    image_BCHW = batch.images_BCHW.detach().clone().requires_grad_()
    view.enter("image", "image")
    view.enter("encoder", "encoder")
    repeated = view.watch("encoder", "input", model.lift(image_BCHW, "repeated"))
    with _hooked(model, view):
        loss_B = LOSSES[stage.loss](model.response(repeated, "repeated"), batch.labels_B)
    (grad_BCHW,) = torch.autograd.grad(loss_B.sum(), image_BCHW)
    view.show("image", "output", grad_BCHW[None, : batch.count])
    return view.found()


def leaves(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers that hold no layer, by name; a neuron is one although it holds a surrogate."""
    if hasattr(module, "surrogate_function") or not any(True for _ in module.children()):
        yield name, module
        return
    for own, child in module.named_children():
        yield from leaves(child, f"{name}.{own}".lstrip("."))


def _kind(layer: nn.Module) -> Kind:
    if hasattr(layer, "surrogate_function"):
        return "neuron"
    return next((kind for kind, types in _KINDS if isinstance(layer, types)), "other")


@contextmanager
def _hooked(model: SpikingClassifier, view: "_View") -> Iterator[None]:
    """Show the encoder's output, and what every leaf layer takes and gives, to a view."""
    tau_s = model.layers.tau_s if isinstance(model.layers, Table) else None
    used: dict[nn.Module, str] = {}

    def encoded(_network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (view.watch("encoder", "output", args[0]), *args[1:])

    def before(name: str, layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        used[layer] = view.enter(name, _kind(layer))
        if isinstance(layer, nn.Conv2d | nn.Linear):
            x_TB = view.by_step(used[layer], args[0])
            view.operations[used[layer]] = synops.operations(layer, x_TB, tau_s).cpu()
        return (view.watch(used[layer], "input", args[0]), *args[1:])

    def after(layer: nn.Module, _args: Any, y: Tensor) -> Tensor:
        if hasattr(layer, "surrogate_function"):
            y_TB = view.by_step(used[layer], y)
            view.spikes[used[layer]] = synops.spikes(layer, y_TB).cpu()
        return view.watch(used[layer], "output", y)

    hooks = [model.layers.register_forward_pre_hook(encoded)]
    for name, layer in leaves(model):
        short = name.removeprefix("layers.")
        hooks += [
            layer.register_forward_pre_hook(partial(before, short)),
            layer.register_forward_hook(after),
        ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _View:
    """One batch on its way through a network and back.

    Attributes:
        spikes: by layer, int64 [T].
        operations: by layer, int64 [T].
    """

    def __init__(self, steps: int, batch: Batch, threshold: float) -> None:
        self.spikes: dict[str, Tensor] = {}
        self.operations: dict[str, Tensor] = {}
        self._steps, self._batch, self._threshold = steps, batch, threshold
        self._kinds: dict[str, Kind] = {}
        self._sides: dict[tuple[str, Side], Slopes] = {}

    def enter(self, name: str, kind: Kind) -> str:
        """Begin with a layer; under which name it goes."""
        again = sum(known.partition("#")[0] == name for known in self._kinds)
        used = f"{name}#{again + 1}" if again else name
        self._kinds[used] = kind
        return used

    def by_step(self, name: str, x: Tensor) -> Tensor:
        """The samples that count, [T, count, ...].

        Raises:
            SnnlibError: if time and samples are not the first axes, one by one or as one.
        """
        steps, batch = self._steps, len(self._batch.labels_B)
        if len(x) == steps * batch:
            x = x.reshape(steps, batch, *x.shape[1:])
        elif x.shape[:2] != (steps, batch):
            raise SnnlibError(
                f"layer {name}: expected a tensor [T, B, ...] or [T B, ...] with T = {steps} and "
                f"B = {batch}, found {list(x.shape)}; gradients are told apart by steps"
            )
        return x.detach()[:, : self._batch.count]

    def watch(self, name: str, side: Side, x: Tensor) -> Tensor:
        """A tensor to go on with, whose gradient will be shown; zero if none arrives."""
        shape = self.by_step(name, x).shape
        nothing = torch.zeros(len(COUNTS), self._steps, dtype=torch.int64)
        nothing[:2] = size = shape[1:].numel()
        self._sides[name, side] = Slopes(
            size=size // max(1, shape[1]), counts_KT=nothing, sums_KT=nothing.double() * 0
        )
        if not x.requires_grad:
            return x
        if side == "input":
            x = x.view_as(x)  # what reaches it by way of this layer alone
        hook: Any = x.register_hook
        hook(lambda grad: self.show(name, side, self.by_step(name, grad)))
        return x

    def show(self, name: str, side: Side, grad_TB: Tensor) -> None:
        """Take note of a gradient, [T, samples that count, ...]."""
        self._sides[name, side] = slopes(grad_TB, self._threshold)

    def found(self) -> Found:
        """What was seen.

        Raises:
            NotFinite: a gradient is NaN or infinite.
        """
        layers = {
            name: Layer(
                kind=kind,
                sides={s: self._sides[name, s] for s in SIDES if (name, s) in self._sides},
                spikes_T=self.spikes.get(name),
                operations_T=self.operations.get(name),
            )
            for name, kind in self._kinds.items()
        }
        for name, layer in reversed(layers.items()):  # from the loss on
            for side, seen in layer.sides.items():
                if not bool(seen.sums_KT.isfinite().all()):
                    raise NotFinite(f"layer {name}: the gradient of its {side} is NaN or infinite")
        return Found(layers=layers, count=self._batch.count)


def slopes(grad_TB: Tensor, threshold: float) -> Slopes:
    """Count and measure a gradient.

    Args:
        grad_TB: [T, B, ...].
        threshold: share of a sample's largest value, over all steps.
    """
    grad_TBN = grad_TB.flatten(2)
    size_TBN = grad_TBN.abs()
    peak_TB = size_TBN.amax(2)
    near_B = peak_TB.amax(0) * threshold
    # each step by its own largest value: squares neither vanish nor overflow
    unit_TBN = grad_TBN / peak_TB.masked_fill(peak_TB == 0, 1)[..., None]
    unit_BTN = unit_TBN.transpose(0, 1)
    gram_BTT = (unit_BTN @ unit_BTN.mT).double()
    norm_BT = gram_BTT.diagonal(dim1=1, dim2=2).sqrt()
    some_BT = norm_BT > 0
    pair_BTT = some_BT[:, :, None] & some_BT[:, None, :]
    pair_BTT.diagonal(dim1=1, dim2=2).fill_(False)  # noqa: FBT003 - torch's signature
    cosine_BTT = gram_BTT / (norm_BT[:, :, None] * norm_BT[:, None, :])
    l1_TB = torch.linalg.vector_norm(unit_TBN, 1, dim=2).double() * peak_TB
    counts = grad_TBN[0].numel() - synops.count(grad_TBN), synops.count(size_TBN <= near_B[:, None])
    sums = l1_TB.sum(1), (norm_BT.T * peak_TB).sum(1)
    return Slopes(
        size=grad_TBN.shape[2],
        counts_KT=torch.stack([*counts, pair_BTT.sum((0, 2))]).cpu(),
        sums_KT=torch.stack([*sums, cosine_BTT.where(pair_BTT, 0).sum((0, 2))]).cpu(),
    )
