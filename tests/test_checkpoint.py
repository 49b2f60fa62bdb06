"""Checkpoints: whole, verified, the last two; and nothing in them can run code."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import checkpoint, files
from jobs.checkpoint import State
from jobs.errors import CorruptFile
from jobs.layout import SAVED_STEP, CellFiles


def state(step: int, value: float = 1.0) -> State:
    weights = {"w": torch.full((3,), value)}
    rest = {"optimiser": {"m": torch.ones(2)}, "history": [{"epoch": 1, "loss": 0.5}]}
    return State(step=step, world_size=1, codes=("c0de",), model=weights, best=weights, rest=rest)


def names(cell: CellFiles) -> list[str]:
    return sorted(os.listdir(cell.checkpoints))


def newest(cell: CellFiles) -> tuple[str | None, list[str]]:
    refused: list[str] = []
    found = checkpoint.newest(cell, lambda path, why: refused.append(path.name))
    return (found[0].name if found else None), refused


def saved_twice(folder: Path) -> CellFiles:
    """A cell with checkpoints of the steps 1 and 2."""
    cell = CellFiles(folder)
    for step in (1, 2):
        checkpoint.save(cell, 1, state(step))
    return cell


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    checkpoint.save(cell, 1, state(7))
    found = checkpoint.newest(cell, lambda path, why: None)
    assert found is not None
    assert found[1].step == 7
    assert torch.equal(found[1].model["w"], torch.ones(3))
    assert found[1].rest["history"] == [{"epoch": 1, "loss": 0.5}]


def test_the_last_two_stay(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    for step in (1, 2, 3):
        checkpoint.save(cell, 1, state(step))
    assert names(cell) == ["step-00000002.a0001", "step-00000003.a0001"]


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors", "state.pt"])
def test_a_flipped_bit_is_refused_and_the_one_before_used(tmp_path: Path, name: str) -> None:
    cell = saved_twice(tmp_path)
    path = cell.checkpoint(2, 1) / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert newest(cell) == ("step-00000001.a0001", ["step-00000002.a0001"])


@pytest.mark.parametrize("damage", ["truncated", "no COMPLETE", "empty COMPLETE", "empty state"])
def test_what_is_not_whole_is_passed_over(tmp_path: Path, damage: str) -> None:
    cell = saved_twice(tmp_path)
    folder = cell.checkpoint(2, 1)
    match damage:
        case "truncated":
            os.truncate(folder / "model.safetensors", 20)
        case "no COMPLETE":
            (folder / "COMPLETE").unlink()
        case "empty COMPLETE":
            os.truncate(folder / "COMPLETE", 0)
        case _:
            os.truncate(folder / "state.pt", 0)
    assert newest(cell)[0] == "step-00000001.a0001"


@pytest.mark.parametrize(
    "text", ["[]", "null", "{}", '{"files": []}', '{"files": {}, "step": 2, "codes": []}', "\xff"]
)
def test_a_misshapen_complete_is_damage(tmp_path: Path, text: str) -> None:
    cell = saved_twice(tmp_path)
    (cell.checkpoint(2, 1) / "COMPLETE").write_bytes(text.encode("latin-1"))
    assert newest(cell) == ("step-00000001.a0001", ["step-00000002.a0001"])


@pytest.mark.parametrize(
    ("was", "now"), [('"world_size":1', '"world_size":3'), ('"step":2', '"step":NaN'),
                     ('"c0de"', '"c1de"'), ('"c0de"', "7")]
)  # fmt: skip
def test_an_altered_complete_is_damage(tmp_path: Path, was: str, now: str) -> None:
    cell = saved_twice(tmp_path)
    path = cell.checkpoint(2, 1) / "COMPLETE"
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, now))
    assert newest(cell) == ("step-00000001.a0001", ["step-00000002.a0001"])


def test_a_checkpoint_from_before_it_named_its_machines_and_hash_is_read(tmp_path: Path) -> None:
    cell = saved_twice(tmp_path)
    path = cell.checkpoint(2, 1) / "COMPLETE"
    about = json.loads(path.read_bytes())
    del about["sha256"], about["machines"]
    path.write_bytes(files.dumps(about))
    assert newest(cell) == ("step-00000002.a0001", [])


@pytest.mark.parametrize(
    ("where", "what", "error"),
    [
        (files, "sha256", OSError(errno.ESTALE, "Stale file handle")),
        (files, "sha256", OSError(errno.EMFILE, "Too many open files")),
        (checkpoint, "load_file", OSError(errno.EIO, "Input/output error")),
        (torch, "load", RuntimeError("CUDA error: out of memory")),
    ],
)
def test_what_cannot_be_read_this_time_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, what: str, error: Exception
) -> None:
    cell = saved_twice(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(where, what, fail)
        with pytest.raises(type(error), match=str(error.args[-1])):
            newest(cell)
    assert newest(cell) == ("step-00000002.a0001", [])


def test_a_state_that_was_saved_on_a_gpu_is_read_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        cell = saved_twice(tmp_path)
    found = checkpoint.newest(cell, lambda *_: None)
    assert found is not None
    assert found[1].rest["optimiser"]["m"].device.type == "cpu"


def test_a_second_save_at_a_step_counts(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    for turn in range(12):
        checkpoint.save(cell, 1, replace(state(7), rest={"turn": turn}))
    found = checkpoint.newest(cell, lambda *_: None)
    assert found is not None
    assert found[1].rest == {"turn": 11}
    assert names(cell) == ["step-00000007.a0001.10", "step-00000007.a0001.11"]
    assert all(SAVED_STEP.fullmatch(name) for name in names(cell))


def test_what_is_saved_is_never_dropped_in_silence(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    once = checkpoint.save_final(cell, 1, {"w": torch.ones(3)}, {"step": 9})
    assert checkpoint.save_final(cell, 1, {"w": torch.ones(3)}, {"step": 9}) == once
    with pytest.raises(OSError, match=r"final\.a0001: cannot save \(something else has this name"):
        checkpoint.save_final(cell, 1, {"w": torch.zeros(3)}, {"step": 10})
    assert names(cell) == ["final.a0001"]


def test_of_two_attempts_that_delete_one_may_be_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, publish = saved_twice(tmp_path), files.publish

    def faster(folder: Path, target: Path) -> bool:
        if SAVED_STEP.fullmatch(folder.name):
            shutil.rmtree(folder)
        return publish(folder, target)

    monkeypatch.setattr(files, "publish", faster)
    checkpoint.save(cell, 1, state(3))
    assert names(cell) == ["step-00000002.a0001", "step-00000003.a0001"]
    checkpoint.clear(cell)
    assert names(cell) == []


def test_a_younger_attempt_counts_more_than_a_later_step(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    for step in (90, 100):
        folder = checkpoint.save(cell, 1, state(step))
        (folder / "COMPLETE").write_text("{}")
    for step in (10, 20):
        checkpoint.save(cell, 2, state(step))
    assert newest(cell) == ("step-00000020.a0002", [])
    assert names(cell) == ["step-00000010.a0002", "step-00000020.a0002"]


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_a_full_disk_leaves_the_old_one_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    cell = CellFiles(tmp_path)
    checkpoint.save(cell, 1, state(1))

    def full(value: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise kind("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="older checkpoints are intact"):
        checkpoint.save(cell, 1, state(2))
    assert names(cell) == ["step-00000001.a0001"]


def test_weights_that_share_memory_are_saved_whole(tmp_path: Path) -> None:
    cell, both = CellFiles(tmp_path), torch.arange(4.0)
    shared = {"all": both, "head": both[:2], "turned": both.view(2, 2).T, "empty": both[:0]}
    checkpoint.save(cell, 1, replace(state(1), model=shared))
    found = checkpoint.newest(cell, lambda *_: None)
    assert found is not None
    assert {k: v.tolist() for k, v in found[1].model.items()} == {
        name: value.tolist() for name, value in shared.items()
    }


def test_the_final_network_is_checked_against_the_record(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    folder, sha256 = checkpoint.save_final(cell, 1, {"w": torch.ones(3)}, {"step": 9})
    files.create(cell.training, files.dumps({"checkpoint": folder, "model_sha256": sha256}))
    assert checkpoint.load_final(cell)[1] == sha256
    path = cell.checkpoints / folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFile, match="altered since it was trained"):
        checkpoint.load_final(cell)


def test_a_finished_training_keeps_its_network_alone(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    checkpoint.save(cell, 1, state(1))
    (cell.checkpoints / ".tmp-left").mkdir()
    checkpoint.save_final(cell, 1, {"w": torch.ones(3)}, {"step": 9})
    checkpoint.clear(cell)
    assert names(cell) == ["final.a0001"]
