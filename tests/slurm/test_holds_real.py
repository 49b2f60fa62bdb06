"""Canary, circuit breaker, retries and jobs that cannot start, on a real cluster."""

import os
import signal
from pathlib import Path

import pytest

from jobs import attempts, files
from jobs.dispatch import ledger, unclaimed
from jobs.layout import CellFiles
from tests.slurm.cluster import Cluster
from tests.slurm.test_line import finished, user
from tests.system.conftest import Bench, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

MANIFEST = """\
version: 1
name: study
defaults:
  dataset: digits
  model: {name: small, neuron: if}
  regime: {name: clean, epochs: EPOCHS, OPTIONS}
  epsilons: ["16/255"]
  attacks: [fgsm]
  evaluation: {samples: 20}
grid: {seed: "range(0, CELLS)"}
resources: {mem_gb: 0.5, cells_per_job: PACKED}
"""
GOOD, DIVERGES = "lr: 0.02", "lr: 1.0e+30, weight_decay: 1.0e+30, optimiser: sgd"
WITHIN_S = 300.0


@pytest.fixture
def bench(on_slurm: Cluster, tmp_path: Path) -> Bench:
    return user(on_slurm, tmp_path)


def manifest(
    folder: Path, cells: int, options: str = GOOD, *, packed: int = 1, epochs: int = 1
) -> Path:
    path = folder / "study.yaml"
    numbers = (("CELLS", cells), ("PACKED", packed), ("EPOCHS", epochs))
    text = MANIFEST.replace("OPTIONS", options)
    for name, number in numbers:
        text = text.replace(name, str(number))
    path.write_text(text)
    return path


def test_a_canary_goes_first_and_its_failure_keeps_the_others(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, 3, DIVERGES)
    bench("submit", str(study), "--canary")
    assert [len(chunk.tasks) for chunk in ledger.read(bench.root, 1).chunks] == [1, 2]
    assert set(bench.states(study).values()) <= {"pending", "running"}
    until(lambda: len(ledger.read(bench.root, 1).skipped) == 2, "the others' look", WITHIN_S)
    assert sorted(bench.states(study).values()) == ["failed", "held", "held"]
    assert "held: 2 cells · its canary digits/" in bench("status", str(study))
    manifest(tmp_path, 3)
    bench("submit", str(study), "--canary")
    until(lambda: finished(bench, study), "the end of all cells", WITHIN_S)
    claims = [
        next(files.read_lines(path))
        for path in bench.root.cells.glob("*/*/attempts/0001/claim.json")
    ]
    second = sorted((c for c in claims if c["submission"] == 2), key=lambda c: c["claimed"])
    end = next(files.read_lines(bench.root.cell(second[0]["training_id"]).attempt(1).end))
    assert all(claim["claimed"] > end["ended"] for claim in second[1:])


def test_an_error_of_all_cells_stops_the_array(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, 10, DIVERGES, packed=5)
    bench("submit", str(study), "--max-parallel", "1")
    until(lambda: ledger.read(bench.root, 1).skipped, "the other's look", WITHIN_S)
    states = list(bench.states(study).values())
    assert (states.count("failed"), states.count("held")) == (5, 5)
    assert "5 cells failed alike: NotFinite" in bench("submit", str(study))
    assert ledger.numbers(bench.root) == [1]


@pytest.mark.parametrize(
    ("preamble", "state", "reason"),
    [
        ("[echo no module named torch, exit 7]", "failed", "exit code 7:0): no module named torch"),
        ("[exit 0]", "failed", unclaimed.IDLE),
    ],
)
def test_a_job_that_dies_before_its_claim_is_counted(
    bench: Bench, tmp_path: Path, preamble: str, state: str, reason: str
) -> None:
    Path(bench.env["SPIKEGRID_SITE"]).write_text(
        f"profiles: {{default: {{preamble: {preamble}}}}}\n"
    )
    study = manifest(tmp_path, 2)
    bench("submit", str(study))
    until(lambda: set(bench.states(study).values()) == {state}, "the end of its jobs", 60)
    deaths = unclaimed.read(bench.root.submission(1))
    assert [death.task for death in deaths] == [0, 1]
    assert reason in deaths[0].reason
    assert deaths[0].reason in bench("status", str(study), "--by", "error")
    given_up = deaths[0].deterministic
    assert ("2 give_up" if given_up else "2 retry     failed (1 of 3)") in bench("plan", str(study))


def rank(folder: Path) -> int:
    """Process id of a rank that works on a submission; 0 if there is none."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "jobs.worker" in words and "torch.distributed.run" not in words and str(folder) in words:
            return int(path.parent.name)
    return 0


def test_what_a_preemption_ended_for_good_is_sent_by_the_others(
    bench: Bench, on_slurm: Cluster, tmp_path: Path
) -> None:
    Path(bench.env["SPIKEGRID_SITE"]).write_text("profiles: {default: {partition: lowcancel}}\n")
    study = manifest(tmp_path, 2, epochs=60)
    study.write_text(study.read_text().replace("mem_gb: 0.5", "mem_gb: 2.5"))  # a node each
    bench("submit", str(study))
    pattern = "*/*/checkpoints/step-*/COMPLETE"
    until(lambda: len({p.parents[2] for p in bench.root.cells.glob(pattern)}) == 2, "two saved")
    running = on_slurm.squeue("--noheader", "--array", "-t", "R", "--format=%i %N").splitlines()
    job, node = running[0].split()
    on_slurm.run("scontrol", "update", f"jobid={job}", "Requeue=0")  # as sites with JobRequeue=0
    high = on_slurm.sbatch("-p", "high", "-w", node, "--exclusive", "--wrap", "true")
    on_slurm.wait_state(high, "COMPLETED", timeout_s=60)
    until(lambda: finished(bench, study), "the end of both, with no further command", WITHIN_S)
    assert ledger.numbers(bench.root) == [1, 2]
    assert len(ledger.read(bench.root, 2).cells) == 1


def ends(cell: CellFiles) -> list[attempts.EndState | None]:
    return [attempts.read(cell, number).state for number in attempts.numbers(cell)]


def test_a_killed_rank_has_its_task_of_the_array_requeued(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, 2, epochs=50)
    bench("submit", str(study), "--max-parallel", "1")
    until(lambda: list(bench.root.cells.glob("*/*/checkpoints/step-*/COMPLETE")), "a checkpoint")
    first = bench.cell()
    os.kill(rank(bench.root.submission(1).folder.resolve()), signal.SIGKILL)
    until(lambda: first.attempt(1).end.exists(), "its end")
    assert "nothing to send · 2 on the way" in bench("submit", str(study))
    until(lambda: finished(bench, study), "the end", WITHIN_S)
    assert ends(first) == ["failed", "completed"]
    assert sorted(map(len, map(ends, map(CellFiles, bench.root.cells.glob("*/*"))))) == [1, 2]
    assert ledger.numbers(bench.root) == [1]
