"""Training state to disk and back: whole, hashed, the last two and the best network.

A checkpoint is a folder that gets its name when it is complete. COMPLETE inside names the SHA-256
of every file and of what it says itself, since neither torch.load nor safetensors notices a flipped
bit. Only safetensors and weights-only loading are used, so a checkpoint cannot run code.
"""

import contextlib
import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from jobs import files, identity
from jobs.dispatch import site
from jobs.errors import CorruptFile, UsageError
from jobs.layout import SAVED_STEP, CellFiles, RunRoot
from jobs.planning import finding
from snnlib import models
from snnlib.classifier import SpikingClassifier
from snnlib.spec.data import CLASSES, SHAPES

Weights = dict[str, Tensor]

KEEP = 2
FINAL = "final"
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What says that a file is not there, not that it could not be read this time."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A training between two steps.

    Attributes:
        step: optimiser steps behind it.
        world_size: ranks that train it.
        codes: hashes of all code that trained it.
        machines: each kind of machine that trained it, as far as is known.
        model: weights at `step`.
        best: weights of the best epoch so far; None if no epoch has ended.
        rest: all else that continuing exactly needs, tensors and plain values.
    """

    step: int
    world_size: int
    codes: tuple[str, ...]
    model: Weights
    best: Weights | None
    rest: dict[str, Any]
    machines: tuple[dict[str, Any], ...] = ()


def save(cell: CellFiles, attempt: int, state: State) -> Path:
    """Write a checkpoint, then delete those that are no longer needed.

    Raises:
        OSError: if it cannot be written whole; older ones are intact then.
    """

    parts: dict[str, Callable[[Path], None]]
    parts = {"model.safetensors": lambda path: _save_weights(state.model, path)}
    if (best := state.best) is not None:
        parts["best.safetensors"] = lambda path: _save_weights(best, path)
    parts["state.pt"] = lambda path: torch.save(state.rest, path)
    before = [again for *key, again, _ in _steps(cell) if key == [attempt, state.step]]
    target = cell.checkpoint(state.step, attempt, max(before) + 1 if before else 0)
    about = {
        "step": state.step,
        "world_size": state.world_size,
        "codes": list(state.codes),
        "machines": list(state.machines),
    }
    _publish(target, parts, about)
    for folder in list(_folders(cell))[KEEP:]:
        _delete(folder)
    return target


def save_final(
    cell: CellFiles, attempt: int, model: Mapping[str, Tensor], about: Mapping[str, Any]
) -> tuple[str, str]:
    """Write the network that a training ends with.

    Returns:
        Name of its folder under `checkpoints`, and the SHA-256 of its weights.
    """
    target = cell.checkpoints / f"{FINAL}.a{attempt:04d}"
    parts = {"model.safetensors": lambda path: _save_weights(model, path)}
    hashes = _publish(target, parts, about)
    return target.name, hashes["model.safetensors"]


def newest(cell: CellFiles, refused: Callable[[Path, str], None]) -> tuple[Path, State] | None:
    """The newest checkpoint that is whole and its folder, or None.

    Only what is damaged for good is passed over. What cannot be read this time may be whole, and
    a training that went on from an older one, or from nothing, would delete it in the end.

    Args:
        cell: the training.
        refused: told of each checkpoint that is not, with the reason.

    Raises:
        OSError: if one cannot be read at the moment.
    """
    for folder in _folders(cell):
        try:
            return folder, _load(folder)
        except (*_ABSENT, CorruptFile) as error:
            refused(folder, str(error))
    return None


def load_final(cell: CellFiles) -> tuple[Weights, str]:
    """The trained network of a cell and the SHA-256 of its weights.

    Raises:
        CorruptFile: if the weights are not those that the training recorded.
    """
    training = files.read_json(cell.training)
    path = cell.checkpoints / training["checkpoint"] / "model.safetensors"
    found = files.sha256(path)
    if found != training["model_sha256"]:
        raise CorruptFile(
            f"{path}: altered since it was trained; move {cell.folder} away to train it again"
        )
    return load_file(path), found


def load_model(cell: CellFiles | Path | str, root: Path | str | None = None) -> SpikingClassifier:
    """The trained classifier of a cell, on the CPU, in eval mode, its weights verified.

    Args:
        cell: its training id or the start of it (4 characters or more), its folder, or its files.
        root: the run root to find an id in; the one that commands use when unset.

    Returns:
        The network that was attacked: `net(images_BCHW)` gives the logits [B, K] for images in
        [0, 1]. For gradients through it use `snnlib.classifier.frozen`.

    Raises:
        UsageError: there is no such cell, several fit, or its training has not finished.
        CorruptFile: if its specification or weights are not those that were recorded.
    """
    files_of = cell if isinstance(cell, CellFiles) else _cell(cell, root)
    if not files_of.training.exists():
        raise UsageError(
            f"{files_of.folder}: its training has not finished, so there is no network to load; "
            "see `python launch.py status`"
        )
    weights, _ = load_final(files_of)
    spec = identity.restore(files.read_json(files_of.spec))
    name = spec.dataset.name
    model = models.build(spec.model, shape=SHAPES[name], classes=CLASSES[name], seed=0)
    model.load_state_dict(weights)
    return model.eval()


def _cell(name: Path | str, root: Path | str | None) -> CellFiles:
    """The files of a cell by its folder, or by the start of its training id."""
    path = Path(name)
    if isinstance(name, Path) or path.is_dir():
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder; expected <run root>/cells/ab/<training id>")
        return CellFiles(path)
    home = RunRoot(Path(root)) if root is not None else _default_root()
    if len(name) < finding.SHORTEST_PREFIX:
        raise UsageError(f"{name!r}: write {finding.SHORTEST_PREFIX} characters of the id or more")
    found = sorted(home.cells.glob(f"{glob.escape(name[:2])}/{glob.escape(name)}*"))
    if len(found) == 1:
        return CellFiles(found[0])
    if found:
        ids = ", ".join(one.name for one in found[:4])
        raise UsageError(f"{name!r}: fits {len(found)} cells ({ids}); write more of it")
    raise UsageError(
        f"{name!r}: no such training id in {home.path}; the column training_id of every table "
        "has them; name another run root with root=…"
    )


def _default_root() -> RunRoot:
    """The run root that commands use."""
    return finding.place(None, None, site.load(os.environ), os.environ).root


def load_own(path: Path, sha256: str) -> Weights:
    """Weights of an own file that a manifest names with its hash.

    Raises:
        CorruptFile: if the content is another.
    """
    found = files.sha256(path)
    if found != sha256:
        raise CorruptFile(f"{path}: sha256 is {found}, the manifest says {sha256}")
    return load_file(path)


def clear(cell: CellFiles) -> None:
    """Delete the steps of a training that is done, and what killed saves left."""
    for folder in _folders(cell):
        _delete(folder)
    for rest in cell.checkpoints.glob(f"{files.TEMPORARY}*"):
        shutil.rmtree(rest, ignore_errors=True)


def copied(weights: Mapping[str, Tensor]) -> Weights:
    """Weights that training cannot change any more, on the CPU."""
    return {k: v.detach().cpu().contiguous().clone() for k, v in weights.items()}


def _save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    whole = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    storages = {value.untyped_storage().data_ptr() for value in whole.values()}
    # safetensors refuses tensors that share memory; to copy the others takes half of a save
    save_file(whole if len(storages) == len(whole) else copied(whole), path)


def _publish(
    target: Path, parts: Mapping[str, Callable[[Path], None]], about: Mapping[str, Any]
) -> dict[str, str]:
    """Build a folder beside its target, synced and hashed, and name it.

    Files are written, hashed and synced side by side: a hash takes as long as a write.
    """
    building = target.parent / f"{files.TEMPORARY}{secrets.token_hex(6)}"
    building.mkdir(parents=True)
    try:
        with ThreadPoolExecutor() as threads:
            syncing: list[Future[None]] = []

            def finish(path: Path, write: Callable[[Path], None]) -> str:
                write(path)
                syncing.append(threads.submit(_sync, path))
                return files.sha256(path)

            hashing = {
                name: threads.submit(finish, building / name, write)
                for name, write in parts.items()
            }
            hashes = {name: one.result() for name, one in hashing.items()}
            for one in syncing:
                one.result()
        whole = {"files": hashes, **about}
        complete = files.dumps({**whole, "sha256": _digest(whole)})
        files.replace(building / "COMPLETE", complete)
        if not files.publish(building, target) and (target / "COMPLETE").read_bytes() != complete:
            raise FileExistsError("something else has this name")
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch.save reports a full disk as a RuntimeError
        raise OSError(f"{target}: cannot save ({error}); older checkpoints are intact") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return hashes


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _steps(cell: CellFiles) -> list[tuple[int, int, int, str]]:
    """Attempt, step, number among equals and name of each saved step."""
    try:
        names = os.listdir(cell.checkpoints)
    except FileNotFoundError:
        return []
    return [
        (int(match[2]), int(match[1]), int(match[3] or 0), name)
        for name in names
        if (match := SAVED_STEP.fullmatch(name))
    ]


def _folders(cell: CellFiles) -> Iterator[Path]:
    """Folders of steps, newest first."""
    # the attempt first: a younger one went on from the newest checkpoint that was whole
    for *_, name in sorted(_steps(cell), reverse=True):
        yield cell.checkpoints / name


def _load(folder: Path) -> State:
    about = _about(folder / "COMPLETE")
    for name, digest in about["files"].items():
        if files.sha256(folder / name) != digest:
            raise CorruptFile(f"{folder / name}: content does not match its hash")
    best = folder / "best.safetensors"
    return State(
        step=about["step"],
        world_size=about["world_size"],
        codes=tuple(about["codes"]),
        machines=tuple(about.get("machines", ())),
        model=load_file(folder / "model.safetensors"),
        best=load_file(best) if best.name in about["files"] else None,
        # `Training.load` moves all of it to where the network is
        rest=torch.load(folder / "state.pt", weights_only=True, map_location="cpu"),
    )


def _about(path: Path) -> dict[str, Any]:
    """What COMPLETE says, verified by its own hash unless it is from before there was one.

    Raises:
        CorruptFile: if it is altered.
    """
    about = files.parsed(path, path.read_bytes())
    match about:
        case {
            "files": {"model.safetensors": str(), "state.pt": str()},
            "step": int(),
            "world_size": int(),
            "codes": [*codes],
        } if all(isinstance(code, str) for code in codes):
            rest = {name: value for name, value in about.items() if name != "sha256"}
            if about.get("sha256", _digest(rest)) == _digest(rest):
                return rest
            raise CorruptFile(f"{path}: content does not match its hash")
        case _:
            raise CorruptFile(f"{path}: not what a checkpoint says of itself")


def _digest(about: Mapping[str, Any]) -> str:
    """SHA-256 of what COMPLETE says besides."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _delete(folder: Path) -> None:
    """Take a checkpoint's name first, so that no reader meets half of one."""
    doomed = folder.parent / f"{files.TEMPORARY}{secrets.token_hex(6)}"
    with contextlib.suppress(FileNotFoundError):  # another attempt was faster
        if files.publish(folder, doomed):
            shutil.rmtree(doomed, ignore_errors=True)
