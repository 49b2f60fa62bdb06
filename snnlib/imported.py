"""Read the published files of HoSNN (Geng and Li 2023): checkpoints and signatures (NDS).

A checkpoint is {"net": state dict, "epoch": n}. Its names are module.layers.N.weight, .bn.*, and
in TA-LIF networks .theta_v and .target_train, where N counts all layers of the table, pools and
dropouts too. Kernels are [out, in, k, k, 1], signatures [C, H, W, T] or [F, 1, 1, T]: time last.
An NDS file is {layer name: signature}, with an entry for the output layer that nothing uses.

Files are loaded without executing anything in them, and only if every name, shape, type and value
is as the network needs it.
"""

import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from snnlib.errors import SnnlibError
from snnlib.spec.layers import Conv, Dropout, LayerError, Linear, Output, Placed, Pool, place
from snnlib.spec.model import HoSNN, LayerTable, table
from snnlib.spec.neuron import TALIF

_SHOWN = 4  # names in a message


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A tensor that a file must hold.

    Attributes:
        shape: its shape there.
        ours: its name in our network; "" for what has none.
        convert: to the shape it has in our network.
        equal: the value of all its elements, where that is fixed.
        dtype: its type.
    """

    shape: tuple[int, ...]
    ours: str
    convert: Callable[[Tensor], Tensor] = torch.Tensor.detach
    equal: float | None = None
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A file that was read.

    Attributes:
        kind: `checkpoint`, or `nds` for signatures.
        tensors: as `from_state_dict` or `from_nds` gives them.
        unused: keys of the file that our network does not need.
    """

    kind: Literal["checkpoint", "nds"]
    tensors: dict[str, Tensor]
    unused: tuple[str, ...]


def read(path: Path, spec: HoSNN | LayerTable, *, shape: tuple[int, ...], classes: int) -> Imported:
    """Read a published checkpoint or NDS file, whichever it is.

    Args:
        path: the file.
        spec: the network that it belongs to.
        shape: of an image, [C, H, W].
        classes: K.

    Raises:
        SnnlibError: the file is neither, or of another network, or the network does not fit the
            image.
    """
    try:
        found = _load(path)
        if isinstance(state := found.get("net"), Mapping):
            tensors = from_state_dict(state, spec, shape=shape, classes=classes)
            pools = [key for key, entry in _entries(spec, shape, classes).items() if not entry.ours]
            others = sorted(str(key) for key in found if key != "net")
            return Imported(kind="checkpoint", tensors=tensors, unused=(*others, *pools))
        if not any(isinstance(value, Tensor) for value in found.values()):
            raise SnnlibError(
                "expected a checkpoint (a dict of net and epoch) or signatures (a dict of tensors "
                f"by layer); found the keys {_names(found)}"
            )
        tensors = from_nds(found, spec, shape=shape, classes=classes)
        return Imported(kind="nds", tensors=tensors, unused=tuple({"output"} & found.keys()))
    except SnnlibError as error:
        raise SnnlibError(f"{path}: {error}") from error.__cause__


def from_state_dict(
    state: Mapping[object, object],
    spec: HoSNN | LayerTable,
    *,
    shape: tuple[int, ...],
    classes: int,
) -> dict[str, Tensor]:
    """The state dict of `models.table.layers(spec, shape, classes)` from a published one.

    Args:
        state: by the names module.layers.N.weight and so on, or the same without `module.`;
            float32 or float64.
        spec: the network that it belongs to.
        shape: of an image, [C, H, W].
        classes: K.

    Raises:
        SnnlibError: it belongs to another network, a value is not finite, or the network does
            not fit the image.
    """
    named = {_full(key): value for key, value in state.items()}
    return _converted(named, _entries(spec, shape, classes))


def _full(key: object) -> object:
    return f"module.{key}" if str(key).startswith("layers.") else key


def from_nds(
    found: Mapping[object, object],
    spec: HoSNN | LayerTable,
    *,
    shape: tuple[int, ...],
    classes: int,
) -> dict[str, Tensor]:
    """Signatures for `models.table.set_nds`, each [T, *shape], from published ones.

    Args:
        found: by layer, time last; an entry for the output, which is a plain LIF, is ignored.
        spec: the network that they steer.
        shape: of an image, [C, H, W].
        classes: K.

    Raises:
        SnnlibError: as `from_state_dict`.
    """
    steps = spec.time_steps
    entries = {
        p.name: _Entry(shape=_time_last(p, steps), ours=p.name, convert=_time_first(p, steps))
        for p in _placed(spec, shape, classes)
        if isinstance(p.layer, Conv | Linear)
    }
    return _converted({key: found[key] for key in found if key != "output"}, entries)


def _placed(spec: HoSNN | LayerTable, shape: tuple[int, ...], classes: int) -> list[Placed]:
    try:
        return place(table(spec), shape, classes)
    except LayerError as error:
        raise SnnlibError(f"the network does not fit images of {list(shape)}: {error}") from None


def _entries(spec: HoSNN | LayerTable, shape: tuple[int, ...], classes: int) -> dict[str, _Entry]:
    """What a checkpoint must hold, by name."""
    entries: dict[str, _Entry] = {}
    for number, placed in enumerate(_placed(spec, shape, classes)):
        adaptive = isinstance(spec.neuron, TALIF)
        for name, entry in _layer_entries(placed, spec.time_steps, adaptive=adaptive):
            entries[f"module.layers.{number}.{name}"] = entry
    return entries


def _layer_entries(placed: Placed, steps: int, *, adaptive: bool) -> Iterator[tuple[str, _Entry]]:
    layer, name = placed.layer, placed.name
    weight = f"{name}.synapse.weight"
    match layer:
        case Dropout():
            return
        case Pool(kernel_size=k):
            yield "weight", _Entry(shape=(1, 1, k, k, 1), ours="", equal=float(layer.weight))
            return
        case Conv(kernel_size=k):
            kernels = (layer.out_channels, placed.before[0], k, k, 1)
            yield "weight", _Entry(shape=kernels, ours=weight, convert=_flat_kernel)
        case Linear() | Output():
            matrix = (placed.after[0], torch.Size(placed.before).numel())
            yield "weight", _Entry(shape=matrix, ours=weight)
    if layer.batch_norm:
        for key in ("weight", "bias", "running_mean", "running_var"):
            yield f"bn.{key}", _Entry(shape=placed.after[:1], ours=f"{name}.norm.{key}")
        key = "num_batches_tracked"
        yield f"bn.{key}", _Entry(shape=(), ours=f"{name}.norm.{key}", dtype=torch.int64)
    if adaptive and not isinstance(layer, Output):
        signature, theta = _time_last(placed, steps), f"{name}.neuron.theta"
        first = _time_first(placed, steps)
        yield "theta_v", _Entry(shape=signature[:-1], ours=theta, convert=_shaped(placed.after))
        yield "target_train", _Entry(shape=signature, ours=f"{name}.neuron.nds", convert=first)


def _flat_kernel(weight: Tensor) -> Tensor:
    return weight.squeeze(-1)


def _shaped(shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.reshape(shape)


def _time_last(placed: Placed, steps: int) -> tuple[int, ...]:
    """Shape of a signature there: a vector has height and width 1."""
    after = placed.after
    return (*after, *[1] * (3 - len(after)), steps)


def _time_first(placed: Placed, steps: int) -> Callable[[Tensor], Tensor]:
    return lambda signature: signature.movedim(-1, 0).reshape(steps, *placed.after)


def _load(path: Path) -> Mapping[object, object]:
    """The dict in a file of tensors."""
    if not path.is_file():
        raise SnnlibError("expected a file written by torch.save, found none")
    if not path.stat().st_size:
        raise SnnlibError("expected a file written by torch.save, found an empty one")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"the object {named[1]}" if named else "no tensors that could be read"
        raise SnnlibError(
            f"expected a file of tensors alone, found {what}; nothing in it was executed"
        ) from None
    except Exception as error:
        # torch.load meets broken files with errors of many kinds
        raise SnnlibError(
            f"expected a file written by torch.save, found one that cannot be read "
            f"({type(error).__name__}); is the download complete?"
        ) from error
    if not isinstance(found, Mapping):
        raise SnnlibError(f"expected a dict, found {type(found).__name__}")
    return found


def _converted(found: Mapping[object, object], entries: dict[str, _Entry]) -> dict[str, Tensor]:
    missing = [key for key in entries if key not in found]
    unknown = [key for key in found if key not in entries]
    if missing or unknown:
        raise SnnlibError(
            f"these tensors are of another network: expected {len(entries)} tensors; missing "
            f"{_names(missing)}; unknown {_names(unknown)}{_hint(missing, unknown)}"
        )
    tensors = {entry.ours: _checked(key, found[key], entry) for key, entry in entries.items()}
    tensors.pop("", None)
    return tensors


def _hint(missing: list[str], unknown: list[object]) -> str:
    """What the difference in names probably comes from."""
    parts = {"theta_v": "neuron ta_lif", ".bn.": "batch_norm"}
    for part, key in parts.items():
        if any(part in name for name in missing):
            return f"; their network has no {key}"
        if any(part in str(name) for name in unknown):
            return f"; their network has {key}"
    return ""


def _checked(key: str, found: object, entry: _Entry) -> Tensor:
    if not isinstance(found, Tensor):
        raise SnnlibError(f"{key}: expected a tensor, found {type(found).__name__}")
    if found.shape != entry.shape:
        raise SnnlibError(
            f"{key}: expected the shape {list(entry.shape)}, found {list(found.shape)}"
        )
    same = found.dtype == entry.dtype
    wider = (found.dtype, entry.dtype) == (torch.float64, torch.float32)
    if not (same or wider) or found.layout != torch.strided:
        raise SnnlibError(f"{key}: expected {entry.dtype}, found {found.dtype} ({found.layout})")
    if not bool(found.isfinite().all()):
        raise SnnlibError(f"{key}: expected finite numbers, found NaN or infinity")
    if entry.equal is not None and not bool((found == torch.tensor(entry.equal)).all()):
        raise SnnlibError(
            f"{key}: expected the constant weight {entry.equal} of a pool, found "
            f"{found.min().item():.6g} to {found.max().item():.6g}"
        )
    return entry.convert(found.detach()).clone(memory_format=torch.contiguous_format)


def _names(names: Iterable[object]) -> str:
    """The first few names, in words."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) + more) or "none"
