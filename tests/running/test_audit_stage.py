"""The audit as a stage: one record with figures and verdict, or nothing."""

from pathlib import Path
from typing import Any

import pytest

from jobs import files, identity
from jobs.layout import CellFiles, RunRoot
from jobs.running.cell_run import Stopped
from jobs.running.stage_cell import compute_stages
from snnlib.evaluate import BatchOutcome, attack_batch
from snnlib.spec.audit import LIMITS
from snnlib.spec.model import Small
from snnlib.spec.neuron import ReLU
from snnlib.spec.stage import AuditStage
from tests.examples import run_root
from tests.running.test_stage_cell import DATA, attempt, spec, trained

STAGE = AuditStage(samples=4, steps=2, queries=3)
WHAT = spec(Small(neuron=ReLU(), time_steps=1))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    return run_root(tmp_path)


def recorded(cell: CellFiles) -> Any:
    return files.read_json(cell.stage(identity.stage_id(STAGE)))


def test_an_audit_is_recorded_with_its_figures(root: RunRoot) -> None:
    cell = trained(root, WHAT)
    compute_stages(attempt(root, WHAT, STAGE), DATA)
    record = recorded(cell)
    assert (record["count"], record["stage"]) == (4, identity.plain(STAGE))
    assert record["samples_sha256"] == DATA.test.first(4).fingerprint
    assert record["figures"]["total"] == 4
    first = record["figures"]["pairs"]["black_box"][0]
    assert set(first) == {"epsilon", "judged", "other", "found", "missed"}
    assert first["epsilon"] == "8/255"
    assert {item["item"] for item in record["items"]} == LIMITS.keys() - {"eot"}
    assert record["verdict"] == record["items"][0]["verdict"]


def test_radii_may_be_chosen(root: RunRoot) -> None:
    found = identity.restore_stage({**identity.plain(STAGE), "epsilons": ["1/4", "1/8"]})
    cell = trained(root, WHAT)
    compute_stages(attempt(root, WHAT, found), DATA)
    record = files.read_json(cell.stage(identity.stage_id(found)))
    radii = [pair["epsilon"] for pair in record["figures"]["pairs"]["steps"]]
    assert radii == ["1/8", "1/4"]


def test_a_signal_in_the_middle_leaves_nothing_and_the_next_attempt_finishes(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, run = trained(root, WHAT), attempt(root, WHAT, STAGE)
    before = iter(range(5))

    def signalled(*args: Any, **options: Any) -> BatchOutcome:
        run.job.stop.up = next(before, None) is None
        return attack_batch(*args, **options)

    monkeypatch.setattr("snnlib.audit.attack_batch", signalled)
    with pytest.raises(Stopped):
        compute_stages(run, DATA)
    monkeypatch.setattr("snnlib.audit.attack_batch", attack_batch)
    assert not cell.stages.exists()
    compute_stages(attempt(root, WHAT, STAGE, number=2), DATA)
    assert recorded(cell)["measured"]["attempt"] == 2
