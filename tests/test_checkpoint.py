"""Checkpoints: whole, verified, the last two; and nothing in them can run code."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs import checkpoint, files
from jobs.checkpoint import State
from jobs.errors import CorruptFile
from jobs.layout import CellFiles


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
    cell = CellFiles(tmp_path)
    for step in (1, 2):
        checkpoint.save(cell, 1, state(step))
    path = cell.checkpoint(2, 1) / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert newest(cell) == ("step-00000001.a0001", ["step-00000002.a0001"])


@pytest.mark.parametrize("damage", ["truncated", "no COMPLETE", "empty COMPLETE", "empty state"])
def test_what_is_not_whole_is_passed_over(tmp_path: Path, damage: str) -> None:
    cell = CellFiles(tmp_path)
    for step in (1, 2):
        checkpoint.save(cell, 1, state(step))
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
