"""Signatures as a stage of a trained network: recorded once, verified when read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import checkpoint, files, identity
from jobs.errors import CorruptFile
from jobs.layout import CellFiles, RunRoot
from jobs.running import evaluate_cell
from jobs.running.cell_run import CellRun, Fenced, Stopped
from jobs.running.signature_stage import load_signature
from jobs.running.stage_cell import compute_stages
from jobs.running.train_cell import train
from jobs.upkeep import tombstones
from snnlib import models, nds
from snnlib.errors import SnnlibError
from snnlib.evaluate import batches
from snnlib.spec.data import Dataset, Evaluation
from snnlib.spec.layers import Conv, Linear, Output, Pool
from snnlib.spec.model import LayerTable, Model, Small
from snnlib.spec.neuron import LIF, TALIF, TraceLIF, TraceNeuron
from snnlib.spec.stage import GradientsStage, NDSStage, Stage
from snnlib.spec.training import CleanRegime, TrainingSpec
from tests.examples import run_root
from tests.running import alone
from tests.snnlib import ddp_rank

MEMBRANE, TRACE = NDSStage(), NDSStage(quantity="trace")
ID, TRACE_ID = identity.stage_id(MEMBRANE), identity.stage_id(TRACE)
DATA = ddp_rank.few_digits(150)
LAYERS = (Conv(out_channels=3, kernel_size=3), Pool(), Linear(out_features=6), Output())


def table(neuron: TraceNeuron) -> LayerTable:
    return LayerTable(neuron=neuron, time_steps=3, layers=LAYERS)


PLAIN = table(TraceLIF())


def spec(model: Model = PLAIN, nds: str | None = None) -> TrainingSpec:
    return TrainingSpec(
        dataset=Dataset(name="digits"), model=model, regime=CleanRegime(epochs=1), nds=nds
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    return run_root(tmp_path)


def attempt(root: RunRoot, what: TrainingSpec, *stages: Stage, number: int = 1) -> CellRun:
    """An attempt that is to compute stages, of rank 0 of one."""
    wanted = [{"id": identity.stage_id(s), "stage": identity.plain(s)} for s in stages]
    more = {"evaluation": identity.plain(Evaluation()), "stages": wanted, "files": {}}
    return alone.attempt(root, what, number, **more)


def trained(root: RunRoot, what: TrainingSpec, seed: int = 0) -> CellFiles:
    """A network with random weights, as if it had been trained."""
    cell = root.cell(identity.training_id(what))
    model = models.build(what.model, shape=DATA.shape, classes=10, seed=seed)
    folder, sha256 = checkpoint.save_final(cell, seed, model.state_dict(), {})
    files.replace(cell.training, files.dumps({"checkpoint": folder, "model_sha256": sha256}))
    return cell


@pytest.mark.parametrize("stage", [MEMBRANE, GradientsStage(samples=20)], ids=lambda s: s.kind)
def test_nothing_of_an_invalidated_network_is_kept(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    cell, run = trained(root, spec()), attempt(root, spec(), stage)
    whole = evaluate_cell.trained_network

    def invalidated(*args: Any) -> Any:
        found = whole(*args)
        tombstones.invalidate(root, cell.folder.name, None, {"reason": "wrong data"})
        return found

    monkeypatch.setattr("jobs.running.stage_cell.trained_network", invalidated)
    with pytest.raises(Fenced, match="was invalidated meanwhile"):
        compute_stages(run, DATA)
    assert not cell.stages.exists()


def events(run: CellRun, what: str) -> list[dict[str, Any]]:
    return [line for line in files.read_lines(run.files.events) if line["event"] == what]


def test_a_stage_is_recorded_with_what_it_rests_on(root: RunRoot) -> None:
    cell, run = trained(root, spec()), attempt(root, spec(), MEMBRANE)
    compute_stages(run, DATA)
    record = json.loads(cell.stage(ID).read_bytes())
    assert record["stage"] == identity.plain(MEMBRANE)
    assert (record["stage_id"], record["training_id"], record["count"]) == (
        ID,
        cell.folder.name,
        150,
    )
    assert record["model_sha256"] == files.read_json(cell.training)["model_sha256"]
    assert record["samples_sha256"] == DATA.train.fingerprint
    assert record["tensors_sha256"] == files.sha256(cell.stage_tensors(ID))
    assert (record["measured"]["batch"], run.advanced) == (100, True)
    assert [event["stage"] for event in events(run, "recorded")] == [ID]


def test_what_is_read_back_is_the_mean(root: RunRoot) -> None:
    cell = trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE, TRACE), DATA)
    model = models.build(spec().model, shape=DATA.shape, classes=10, seed=0)
    for stage in (MEMBRANE, TRACE):
        chosen = (DATA.train.batch(rows, 100) for rows in batches(150, 100))
        expected = nds.mean(nds.collect(model, chosen, quantity=stage.quantity))
        found = load_signature(cell, identity.stage_id(stage))
        assert found.keys() == expected.keys() == {"conv_1", "FC_1"}
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_recorded_stage_is_not_computed_again(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE), DATA)
    monkeypatch.setattr(nds, "collect", None)
    compute_stages(attempt(root, spec(), MEMBRANE, number=2), DATA)


def test_an_order_of_an_older_version_has_no_stages(root: RunRoot) -> None:
    run = attempt(root, spec())
    del run.order["stages"]  # type: ignore[attr-defined]
    compute_stages(run, DATA)
    assert not run.cell.stages.exists()


def test_a_signal_leaves_nothing_and_the_next_attempt_finishes(root: RunRoot) -> None:
    cell, run = trained(root, spec()), attempt(root, spec(), MEMBRANE)
    run.job.stop.up = True
    with pytest.raises(Stopped):
        compute_stages(run, DATA)
    assert not cell.stages.exists()
    compute_stages(attempt(root, spec(), MEMBRANE, number=2), DATA)
    assert cell.stage(ID).exists()


def test_of_two_attempts_the_first_counts_and_a_difference_is_told(root: RunRoot) -> None:
    cell = trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE), ddp_rank.few_digits(90))
    first = files.sha256(cell.stage_tensors(ID))
    cell.stage(ID).unlink()  # killed between tensors and record
    run = attempt(root, spec(), MEMBRANE, number=2)
    compute_stages(run, DATA)
    (told,) = events(run, "twin")
    assert told["standing"] == first != told["own"]
    assert files.read_json(cell.stage(ID))["tensors_sha256"] == first


@pytest.mark.parametrize(("count", "different"), [(150, []), (90, ["samples_sha256", "count"])])
def test_a_record_that_came_first_counts(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, count: int, different: list[str]
) -> None:
    cell = trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE), ddp_rank.few_digits(count))
    before = cell.stage(ID).read_bytes()
    late = attempt(root, spec(), MEMBRANE, number=2)
    monkeypatch.setattr("jobs.running.undone.missing_stages", lambda _cell, order: order["stages"])
    compute_stages(late, DATA)
    assert events(late, "twin")[-1]["different"] == different
    assert events(late, "recorded") == []
    assert cell.stage(ID).read_bytes() == before


def test_tensors_of_another_network_are_not_taken_over(root: RunRoot) -> None:
    cell = trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE), DATA)
    cell.stage(ID).unlink()
    trained(root, spec(), seed=1)
    with pytest.raises(CorruptFile, match=r"is of a network with weights .*; move .*stages away"):
        compute_stages(attempt(root, spec(), MEMBRANE, number=2), DATA)


def test_a_network_without_a_signature_fails_by_its_name(root: RunRoot) -> None:
    other = spec(Small(neuron=LIF()))
    trained(root, other)
    with pytest.raises(SnnlibError, match="has no signature"):
        compute_stages(attempt(root, other, MEMBRANE), DATA)


def test_an_altered_signature_is_refused(root: RunRoot) -> None:
    cell = trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE), DATA)
    with cell.stage_tensors(ID).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CorruptFile, match=r"altered since it was recorded; move .*stages away"):
        load_signature(cell, ID)


def test_a_signature_of_other_weights_is_refused(root: RunRoot) -> None:
    cell = trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE), DATA)
    trained(root, spec(), seed=1)
    with pytest.raises(CorruptFile, match="was taken of other weights"):
        load_signature(cell, ID)


def test_a_child_is_trained_with_the_signature_of_its_parent(root: RunRoot) -> None:
    parent = trained(root, spec())
    compute_stages(attempt(root, spec(), MEMBRANE), DATA)
    child = spec(table(TALIF()), nds=f"{parent.folder.name}/{ID}")
    run = attempt(root, child)
    train(run, DATA)
    weights, _ = checkpoint.load_final(run.cell)
    signature = load_signature(parent, ID)
    assert torch.equal(weights["layers.conv_1.neuron.nds"], signature["conv_1"])
    assert torch.equal(weights["layers.FC_1.neuron.nds"], signature["FC_1"])


def test_gradients_are_recorded_layer_by_layer(root: RunRoot) -> None:
    stage = GradientsStage(samples=30)
    what = spec(Small(neuron=LIF(), time_steps=3))
    cell, run = trained(root, what), attempt(root, what, stage)
    compute_stages(run, DATA)
    record = files.read_json(cell.stage(identity.stage_id(stage)))
    assert (record["stage"], record["count"]) == (identity.plain(stage), 30)
    assert record["samples_sha256"] == DATA.test.first(30).fingerprint
    image, encoder, first, *_, last = record["layers"]
    assert [layer["name"] for layer in (image, encoder, first, last)] == [
        *("image", "encoder", "0.layer", "6.layer")
    ]
    assert (image["output"]["size"], len(image["output"]["zero"])) == (64, 1)
    assert "input" not in image
    assert first["input"]["l2"] == encoder["output"]["l2"]
    assert len(first["operations"]) == len(encoder["input"]["cosine"]) == 3
    assert not cell.stage_tensors(identity.stage_id(stage)).exists()


def test_stages_of_both_kinds_are_recorded_in_one_attempt(root: RunRoot) -> None:
    gradients = GradientsStage(split="validation", samples=20)
    cell, run = trained(root, spec()), attempt(root, spec(), MEMBRANE, gradients)
    compute_stages(run, DATA)
    ids = [ID, identity.stage_id(gradients)]
    assert [event["stage"] for event in events(run, "recorded")] == ids
    assert sorted(path.stem for path in cell.stages.glob("*.json")) == sorted(ids)
    before = cell.stage(ids[1]).read_bytes()
    compute_stages(attempt(root, spec(), MEMBRANE, gradients, number=2), DATA)
    assert cell.stage(ids[1]).read_bytes() == before


def test_a_signal_between_two_stages_leaves_the_first(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = GradientsStage(samples=20)
    cell, run = trained(root, spec()), attempt(root, spec(), MEMBRANE, gradients)

    def say(_run: CellRun, _text: str) -> None:
        run.job.stop.up = True

    monkeypatch.setattr(CellRun, "say", say)
    with pytest.raises(Stopped):
        compute_stages(run, DATA)
    monkeypatch.undo()
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    assert [path.stem for path in cell.stages.glob("*.json")] == [ID]
    compute_stages(attempt(root, spec(), MEMBRANE, gradients, number=2), DATA)
    assert cell.stage(identity.stage_id(gradients)).exists()
