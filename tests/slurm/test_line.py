"""From a manifest to tables on a real cluster."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, files
from jobs.dispatch import ledger
from jobs.layout import RunRoot
from tests.slurm.cluster import Cluster
from tests.system.conftest import CHECKOUT, Bench, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

MANIFEST = """\
version: 1
name: study
defaults:
  dataset: digits
  model: {name: small, neuron: if}
  regime: {name: clean, epochs: EPOCHS, lr: 0.02}
  epsilons: ["16/255"]
  attacks: [fgsm]
  evaluation: {samples: 50}
grid: {seed: [0, 1, 2]}
resources:
  - {mem_gb: 0.5, profile: PROFILE}
  - {when: {seed: 2}, nodes: 2, processes_per_node: 2}
"""


def user(cluster: Cluster, folder: Path) -> Bench:
    root = RunRoot(folder / "runs")
    root.path.mkdir()
    site = folder / "site.yaml"
    site.write_text("profiles: {small: {partition: main, preamble: [export SEEN=yes]}}\n")
    env = {**cluster.env, "SPIKEGRID_ROOT": str(root.path), "SPIKEGRID_SITE": str(site)}
    return Bench(CHECKOUT, root, {**env, "HOME": str(folder)})


@pytest.fixture
def bench(on_slurm: Cluster, tmp_path: Path) -> Bench:
    return user(on_slurm, tmp_path)


@pytest.fixture
def accounted(on_slurm_accounting: Cluster, tmp_path: Path) -> Bench:
    return user(on_slurm_accounting, tmp_path)


def manifest(folder: Path, *, epochs: int = 2, profile: str = "small") -> Path:
    path = folder / "study.yaml"
    path.write_text(MANIFEST.replace("EPOCHS", str(epochs)).replace("PROFILE", profile))
    return path


def states(bench: Bench, study: Path) -> set[str]:
    return set(bench.states(study).values())


def finished(bench: Bench, study: Path) -> bool:
    return states(bench, study) == {"completed"}


def _whole_line(bench: Bench, study: Path) -> None:
    sent = bench("submit", str(study))
    assert "sent 3 tasks to SLURM as job" in sent
    assert states(bench, study) <= {"pending", "running", "completed"}
    assert "nothing to send · 3 on the way" in bench("submit", str(study))
    until(lambda: finished(bench, study), "the end of all cells", 200)
    assert "results 6 rows (+6)" in bench("collect")
    chunks = [
        chunk for n in ledger.numbers(bench.root) for chunk in ledger.read(bench.root, n).chunks
    ]
    assert [len(chunk.tasks) for chunk in chunks] == [2, 1]


def test_an_array_and_a_job_of_two_nodes(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path)
    _whole_line(bench, study)
    story: dict[str, Any] = json.loads(
        bench("show", "digits/small-if/clean/s2", "--manifest", str(study), "--json")
    )
    assert story["training"]["measured"]["world_size"] == 4
    assert {row["total"] for row in story["rows"]} == {50}
    attempt = bench.root.cell(story["training_id"]).attempt(1)
    assert all(attempt.log(rank).exists() for rank in range(4))


@pytest.mark.proof  # test_scheduler_real asks both clusters
def test_the_same_with_accounting(accounted: Bench, tmp_path: Path) -> None:
    _whole_line(accounted, manifest(tmp_path))


def test_cancel_and_resume(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=200)
    bench("submit", str(study), "--only", "seed=0")
    until(lambda: list(bench.root.cells.glob("*/*/attempts/0001/metrics.jsonl")), "an epoch")
    assert "cancelled 1 cell" in bench("cancel", "study")
    until(lambda: bench.cell().attempt(1).end.exists(), "its end")
    assert attempts.read(bench.cell(), 1).state in {"cancelled", "preempted"}
    until(lambda: bench.states(study)["digits/small-if/clean/s0"] == "cancelled", "cancelled", 60)
    assert "sent 1 task" in bench("resume", str(study), "--only", "seed=0")


@pytest.mark.parametrize("seed", [0, pytest.param(2, id="two nodes", marks=pytest.mark.proof)])
def test_a_requeued_job_goes_on_from_its_checkpoint(
    bench: Bench, on_slurm: Cluster, tmp_path: Path, seed: int
) -> None:
    study = manifest(tmp_path, epochs=60)
    bench("submit", str(study), "--only", f"seed={seed}")
    until(lambda: list(bench.root.cells.glob("*/*/checkpoints/step-*/COMPLETE")), "a checkpoint")
    on_slurm.run("scontrol", "requeue", ledger.read(bench.root, 1).chunks[0].position_job(0))
    label = f"digits/small-if/clean/s{seed}"
    until(lambda: bench.states(study)[label] == "completed", "the end", 200)
    assert attempts.numbers(bench.cell())[:2] == [1, 2]
    events = [line["event"] for line in files.read_lines(bench.cell().attempt(2).events)]
    assert events[0] == "resumed"


@pytest.mark.proof
def test_a_signal_of_the_site_stops_all_nodes_on_one_step(
    bench: Bench, on_slurm: Cluster, tmp_path: Path
) -> None:
    study, label = manifest(tmp_path, epochs=60), "digits/small-if/clean/s2"
    bench("submit", str(study), "--only", "seed=2")
    cell = bench.cell
    until(lambda: list(bench.root.cells.glob("*/*/checkpoints/step-*/COMPLETE")), "a checkpoint")
    job = ledger.read(bench.root, 1).chunks[0].position_job(0)
    on_slurm.run("scancel", "--signal=USR2", job)
    until(lambda: cell().attempt(1).end.exists(), "its end", 60)
    first = attempts.read(cell(), 1)
    assert (first.state, first.advanced) == ("preempted", True)
    bench("resume", str(study), "--only", "seed=2")
    until(lambda: bench.states(study)[label] == "completed", "the end", 200)
    events = [line["event"] for line in files.read_lines(cell().attempt(2).events)]
    assert events[0] == "resumed"


def test_a_refusal_holds_nothing_and_says_why(bench: Bench, tmp_path: Path) -> None:
    site = Path(bench.env["SPIKEGRID_SITE"])
    site.write_text("profiles: {small: {partition: nowhere}}\n")
    study = manifest(tmp_path)
    bench("submit", str(study), code=3)
    assert states(bench, study) == {"new"}
    site.write_text("profiles: {small: {partition: main}}\n")
    assert "sent 3 tasks" in bench("submit", str(study))


def test_two_launchers_at_once_send_each_cell_once(bench: Bench, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    study = manifest(tmp_path, epochs=50)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bench("submit", str(study)), range(4)))
    sent = [
        key
        for n in ledger.numbers(bench.root)
        for s in [ledger.read(bench.root, n)]
        for key, task in s.cells.items()
        if task not in s.skipped and any(task in c.tasks and c.job_id for c in s.chunks)
    ]
    assert sorted(sent) == sorted(set(sent))
    assert len(sent) == 3
