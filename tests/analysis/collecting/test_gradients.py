"""Records of gradients as a table: shares of exact counts, one row for each layer and step."""

import json
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.collecting.collect import collect
from jobs import files, identity
from snnlib.spec.stage import GradientsStage, NDSStage, Stage
from tests.analysis.synthetic import SyntheticRoot, spec

STAGE = GradientsStage(samples=10)
MEASURED = {"attempt": 1, "seconds": 2.0, "host": "n1", "device": "cpu", "batch": 5}


def side(steps: int, size: int, zero: int) -> dict[str, Any]:
    """One side of a layer, the same at every step."""
    pairs = 10 * (steps - 1)
    counts = {"zero": zero, "near_zero": zero + 1, "pairs": pairs}
    sums = {"l1": 20.0, "l2": 5.0, "cosine": 0.5 * pairs}
    return {"size": size, **{key: [n] * steps for key, n in {**counts, **sums}.items()}}


LAYERS: list[dict[str, Any]] = [
    {"name": "image", "kind": "image", "output": side(1, 4, 0)},
    {"name": "conv", "kind": "conv", "output": side(2, 8, 20), "input": side(2, 4, 10),
     "operations": [30, 50]},
    {"name": "act", "kind": "neuron", "output": side(2, 8, 40), "input": side(2, 8, 20),
     "spikes": [16, 8]},
]  # fmt: skip


def record(made: SyntheticRoot, training_id: str, stage: Stage = STAGE, /, **changed: Any) -> Path:
    """Write the record of a stage; `changed` replaces what it says."""
    cell = made.root.cell(training_id)
    cell.stages.mkdir(exist_ok=True)
    stage_id = identity.stage_id(stage)
    content = {
        "schema_version": 1,
        "training_id": training_id,
        "stage": identity.plain(stage),
        "stage_id": stage_id,
        "model_sha256": "a" * 64,
        "samples_sha256": "5" * 64,
        "count": 10,
        "layers": LAYERS,
        "measured": MEASURED,
    }
    files.replace(cell.stage(stage_id), files.dumps({**content, **changed}))
    return cell.stage(stage_id)


def test_counts_become_shares_for_each_layer_and_step(made: SyntheticRoot) -> None:
    training_id = made.train(spec())
    record(made, training_id)
    found = collect([made.path])
    table = analysis.load("gradients", made.path)
    assert (found.warnings, found.counts["gradients"], len(table)) == ([], 5, 5)
    assert list(zip(table.layer, table.step, table.place, strict=True)) == [
        *[("act", 0, 2), ("act", 1, 2), ("conv", 0, 1), ("conv", 1, 1), ("image", -1, 0)]
    ]
    conv, act = table[table.layer == "conv"], table[table.layer == "act"]
    assert conv.output_zero_share.tolist() == [0.25, 0.25]
    assert conv.input_near_zero_share.tolist() == [11 / 40] * 2
    assert (conv.output_l1.tolist(), conv.output_l2.tolist()) == ([2.0, 2.0], [0.5, 0.5])
    assert conv.output_cosine.tolist() == [0.5, 0.5]
    assert conv.synops.tolist() == [3.0, 5.0]
    assert act.firing_rate.tolist() == [0.2, 0.1]
    assert (table.threshold.unique().tolist(), table.samples.unique().tolist()) == ([0.001], [10])


def test_what_a_layer_does_not_have_is_null(made: SyntheticRoot) -> None:
    record(made, made.train(spec()))
    collect([made.path])
    table = analysis.load("gradients", made.path)
    image, conv = table[table.layer == "image"], table[table.layer == "conv"]
    assert image[["input_size", "output_cosine", "synops"]].isna().to_numpy().all()
    assert conv.firing_rate.isna().all()
    assert image.output_cosine_pairs.tolist() == [0]


def test_rows_join_their_trainings_and_come_once(made: SyntheticRoot) -> None:
    for seed in (1, 0):
        record(made, made.train(spec(seed)))
    assert collect([made.path]).added["gradients"] == 10
    record(made, made.train(spec(2)))
    assert collect([made.path]).added["gradients"] == 5
    table = analysis.load("gradients", made.path)
    joined = table.merge(analysis.load("trainings", made.path), on="training_id")
    assert joined.groupby("seed").size().tolist() == [5, 5, 5]
    assert not table.duplicated(["training_id", "stage_id", "layer", "step"]).any()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"count": 0}, "ZeroDivisionError"),
        ({"layers": [{**LAYERS[1], "operations": [3.5, 1]}]}, "expected a whole number, found 3.5"),
        ({"layers": [{**LAYERS[1], "operations": [3]}]}, "for more or fewer than 2 steps"),
        ({"layers": None}, "not a record of gradients"),
        ({"measured": {"host": 7}}, "host is 7, expected category"),
        ({"model_sha256": "b" * 64}, "was measured on other weights than training.json names"),
        ({"stage_id": "0" * 16}, "not the record of stage"),
        ({"training_id": "0" * 16}, "is of training 0000000000000000"),
        ({"schema_version": 2}, "written by a newer spikegrid"),
    ],
)
def test_foreign_records_give_a_warning(
    made: SyntheticRoot, changed: dict[str, Any], reason: str
) -> None:
    path = record(made, made.train(spec()), **changed)
    found = collect([made.path])
    (warning,) = found.warnings
    assert str(path) in warning
    assert reason in warning
    assert (found.counts["gradients"], found.counts["trainings"]) == (0, 1)


@pytest.mark.parametrize("content", [b"", b'{"schema_version":1', b"[]"])
def test_torn_records_give_a_warning(made: SyntheticRoot, content: bytes) -> None:
    path = record(made, made.train(spec()))
    path.write_bytes(content)
    (warning,) = collect([made.path]).warnings
    assert str(path) in warning


def test_other_stages_are_passed_over(made: SyntheticRoot) -> None:
    record(made, made.train(spec()), NDSStage())
    found = collect([made.path])
    assert (found.warnings, found.counts["gradients"]) == ([], 0)


@pytest.mark.parametrize("spikes", [[16, 8], [16, 9]])
def test_of_two_roots_the_first_counts_and_a_difference_is_told(
    tmp_path: Path, spikes: list[int]
) -> None:
    one, other = (SyntheticRoot(tmp_path / name) for name in ("one", "other"))
    first = record(one, one.train(spec()))
    layers = [*LAYERS[:2], {**LAYERS[2], "spikes": spikes}]
    second = record(other, other.train(spec()), layers=layers, measured={**MEASURED, "host": "n2"})
    found = collect([one.path, other.path])
    told = [f"{first} and {second} disagree; the first counts"] if spikes[1] == 9 else []
    assert [warning.split(";")[0] for warning in found.warnings] == [t.split(";")[0] for t in told]
    table = analysis.load("gradients", one.path)
    assert table.firing_rate.dropna().tolist() == [0.2, 0.1]
    assert set(table.host) == {"n1"}


def test_a_root_with_other_weights_is_left_out(tmp_path: Path) -> None:
    one, other = (SyntheticRoot(tmp_path / name) for name in ("one", "other"))
    training_id = one.train(spec())
    record(other, other.train(spec(), "b" * 64), model_sha256="b" * 64)
    assert collect([one.path, other.path]).counts["gradients"] == 0
    path = record(one, training_id)
    assert collect([one.path, other.path]).counts["gradients"] == 5
    assert json.loads(path.read_bytes())["count"] == 10
