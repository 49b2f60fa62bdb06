"""Transfer attacks on the worker: sources are verified, named in records, and waited for."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from jobs import checkpoint, files, identity, records
from jobs.dispatch import ledger
from jobs.errors import CorruptFile
from jobs.layout import RunRoot
from jobs.planning.request import work_order
from jobs.running import agreement, evaluate_cell, partial, task, undone
from jobs.running.cell_run import CellRun
from jobs.running.partial import Subject
from snnlib import models
from snnlib.errors import NotFinite, SnnlibError
from snnlib.spec.attack import PGD, Climbing, SpikingSuite, Transfer
from snnlib.spec.model import Small
from snnlib.spec.neuron import ReLU
from snnlib.spec.training import TrainingSpec
from tests.examples import cell, finish, run_root, submission
from tests.running.test_evaluate_cell import DATA, EVALUATION, RADII, SPEC, attempt, trained

TWIN = replace(SPEC, model=Small(neuron=ReLU(), time_steps=1))
TWIN_ID = identity.training_id(TWIN)
ATTACK = Transfer(source=TWIN_ID, attack=PGD(steps=3))
SUITE = SpikingSuite(sweep_steps=1, steps=1, queries=1, source=TWIN_ID)
ONE, OTHER = cell(), cell(1)
CLIMBING = replace(
    ONE, attacks=(*ONE.attacks, Transfer(source=OTHER.training_id)), sources=(OTHER,)
)
ORDER = work_order(CLIMBING, CLIMBING.rows)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    monkeypatch.setattr(agreement, "LOOK_S", 0.0)
    return run_root(tmp_path)


def put(root: RunRoot, spec: TrainingSpec, scale: float = 1.0) -> str:
    """A source with random weights, as if it had been trained; their SHA-256."""
    paths = root.cell(identity.training_id(spec))
    model = models.build(spec.model, shape=DATA.shape, classes=10, seed=3)
    with torch.no_grad():
        next(model.parameters()).mul_(scale)
    folder, sha256 = checkpoint.save_final(paths, 1, model.state_dict(), {})
    files.replace(paths.spec, identity.canonical(spec).encode())
    files.replace(paths.training, files.dumps({"checkpoint": folder, "model_sha256": sha256}))
    return sha256


def evaluated(root: RunRoot, attack: Climbing = ATTACK, **more: Any) -> records.Record:
    run = attempt(root, 1, attack)
    evaluate_cell.evaluate_cell(CellRun(run.job, {**run.order, **more}, 1), DATA)
    return next(record for _, record in records.valid(run.cell))


@pytest.mark.parametrize("attack", [ATTACK, SUITE], ids=lambda attack: attack.name)
def test_a_record_names_the_source_and_its_weights(root: RunRoot, attack: Climbing) -> None:
    trained(root)
    sha256 = put(root, TWIN)
    record = evaluated(root, attack)
    assert record.attack == identity.plain(attack)
    assert record.members[-3:] == (
        ("transfer/mifgsm", "transfer/apgd", "square") if attack is SUITE else ()
    )
    assert record.evaluation["source_sha256"] == sha256 != record.model_sha256
    assert [row.epsilon for row in record.rows] == list(RADII)


def test_other_weights_of_the_source_are_another_subject(root: RunRoot) -> None:
    one = Subject(attack_id="a", model_sha256="m", samples_sha256="s", total=6, batch=6,
                  source_sha256="1")  # fmt: skip
    writer = partial.Writer(path := root.path / "p/a0001.r0.jsonl", partial.header(one, {}))
    writer.add(partial.batch(0, [], 0.0))
    writer.save()
    found = partial.read(path.parent, replace(one, source_sha256="2"), [Fraction(0)])
    assert found.refused == [(path.name, "is of another source_sha256")]


def test_altered_weights_of_the_source_are_refused(root: RunRoot) -> None:
    trained(root)
    put(root, TWIN)
    (weights,) = root.cell(TWIN_ID).checkpoints.glob("*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptFile, match="altered since it was trained"):
        evaluated(root)


def test_a_source_that_diverged_is_refused(root: RunRoot) -> None:
    trained(root)
    put(root, TWIN, scale=float("nan"))
    with pytest.raises(NotFinite, match=r"the source's .* is NaN or infinite in places"):
        evaluated(root)


def test_a_specification_of_another_training_is_refused(root: RunRoot) -> None:
    trained(root)
    put(root, TWIN)
    root.cell(TWIN_ID).spec.write_text(identity.canonical(SPEC))
    with pytest.raises(CorruptFile, match=f"of another training than {TWIN_ID}"):
        evaluated(root)


@pytest.mark.parametrize("fits", [True, False])
def test_own_weights_are_those_of_the_cells_network(root: RunRoot, fits: bool) -> None:
    trained(root)
    spec, path = SPEC if fits else replace(SPEC, model=Small(neuron=ReLU())), root.path / "own"
    weights = models.build(spec.model, shape=DATA.shape, classes=10, seed=5).state_dict()
    save_file(weights if fits else {"strange": next(iter(weights.values()))}, path)
    sha256 = files.sha256(path)
    own = Transfer(source=f"sha256:{sha256}", attack=PGD(steps=2))
    if fits:
        record = evaluated(root, own, files={sha256: str(path)})
        assert record.evaluation["source_sha256"] == sha256
    else:
        with pytest.raises(SnnlibError, match="the source's weights do not fit its network"):
            evaluated(root, own, files={sha256: str(path)})


def test_what_waits_for_a_source_is_left_and_the_rest_is_done(root: RunRoot) -> None:
    trained(root)
    run = attempt(root, 1, ATTACK)
    assert undone.ready_rows(root, run.order) == {}
    evaluate_cell.evaluate_cell(run, DATA)
    assert records.names(run.cell) == []
    put(root, TWIN)
    assert list(undone.ready_rows(root, run.order)) == [run.order["attacks"][0]["id"]]


def test_a_cell_with_nothing_but_such_rows_left_says_what_it_waits_for(root: RunRoot) -> None:
    paths = submission(root, [CLIMBING])
    assert task.obstacle(root, paths, 0, ORDER) is None
    finish(root, ONE)
    waits = f"its transfer attack waits for {OTHER.training_id}, which is not trained"
    assert task.obstacle(root, paths, 0, ORDER) == undone.leftover(root, ORDER) == waits
    finish(root, OTHER)
    assert task.obstacle(root, paths, 0, ORDER) is None
    assert undone.leftover(root, ORDER) == ""


def test_a_task_that_leaves_such_rows_says_so_and_is_planned_anew(root: RunRoot) -> None:
    paths = submission(root, [CLIMBING])
    finish(root, ONE)
    run = task.TaskRun(paths.folder, 0, {})
    run.tried = {ONE.training_id}
    run._settle([ORDER])
    assert list(ledger.read(root, 1).skipped.values()) == [undone.leftover(root, ORDER)]


def test_draws_of_the_decision_stand_in_the_record(root: RunRoot) -> None:
    trained(root)
    put(root, TWIN)
    run = attempt(root, 1, ATTACK, replace(EVALUATION, draws=3))
    evaluate_cell.evaluate_cell(run, DATA)
    (record,) = [record for _, record in records.valid(run.cell)]
    assert record.evaluation["draws"] == 3
