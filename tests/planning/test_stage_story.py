"""Key figures of stages, as `show` tells them."""

from pathlib import Path
from typing import Any

import pytest

from jobs import files, identity
from jobs.layout import CellFiles
from jobs.planning import stage_story
from snnlib.spec.stage import GradientsStage, NDSStage, Stage


def side(zero: int, near: int, pairs: int) -> dict[str, Any]:
    counts = {"zero": [zero, zero], "near_zero": [near, near], "pairs": [pairs, pairs]}
    return {"size": 10, **counts, "cosine": [0.25 * pairs] * 2}


def layers(pairs: int = 4) -> list[dict[str, Any]]:
    return [
        {"name": "image", "kind": "image", "output": side(0, 0, 0)},
        {"name": "encoder", "kind": "encoder", "output": side(5, 10, pairs)},
        {"name": "0", "kind": "conv", "output": side(0, 0, 0), "operations": [2000, 4000]},
        {"name": "1", "kind": "neuron", "output": side(0, 0, 0), "spikes": [10, 30]},
    ]


def recorded(folder: Path, stage: Stage, **found: Any) -> CellFiles:
    cell = CellFiles(folder)
    cell.stages.mkdir(exist_ok=True)
    content = {"stage": identity.plain(stage), "count": 5, **found}
    files.replace(cell.stage(identity.stage_id(stage)), files.dumps(content))
    return cell


def test_gradients_in_one_line(tmp_path: Path) -> None:
    (told,) = stage_story.told(recorded(tmp_path, GradientsStage(), layers=layers()))
    assert (told["kind"], told["count"], told["zero_share"]) == ("gradients", 5, 0.1)
    assert stage_story.text(told) == (
        "stage gradients: 5 images · input gradient 10.0% zero, 20.0% near zero, cosine of steps "
        "0.25 · 0.400 spikes per neuron and step · 1,200 SynOps per image"
    )


def test_what_is_not_there_is_not_told(tmp_path: Path) -> None:
    silent = recorded(tmp_path, GradientsStage(), layers=layers(pairs=0)[:3])
    (told,) = stage_story.told(silent)
    assert (told["cosine"], told["firing_rate"]) == (None, None)
    assert stage_story.text(told).endswith("cosine of steps - · 1,200 SynOps per image")


def test_signatures_in_one_line(tmp_path: Path) -> None:
    (told,) = stage_story.told(recorded(tmp_path, NDSStage(quantity="trace")))
    assert stage_story.text(told) == "stage nds: trace of 5 images"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"stage": {"kind": "gradients"}}'])
def test_what_does_not_read_well_is_left_out(tmp_path: Path, content: bytes) -> None:
    cell = recorded(tmp_path, NDSStage())
    cell.stage("0" * 16).write_bytes(content)
    assert [told["kind"] for told in stage_story.told(cell)] == ["nds"]
    assert stage_story.told(CellFiles(tmp_path / "absent")) == []
