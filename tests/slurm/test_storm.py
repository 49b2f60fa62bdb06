"""Forty cells through everything that a cluster does to jobs, and a status that never lies."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs.dispatch import ledger
from tests.slurm.cluster import Cluster
from tests.slurm.test_line import finished, user
from tests.system.conftest import Bench, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.proof]

CELLS = 40
AT_ONCE = 8
MANIFEST = f"""\
version: 1
name: storm
defaults:
  dataset: digits
  model: {{name: small, neuron: if}}
  regime: {{name: clean, epochs: 12, lr: 0.02}}
  epsilons: ["8/255", "16/255"]
  attacks: [fgsm, {{name: pgd, steps: 5}}]
  evaluation: {{samples: 60, batch: 20}}
grid: {{seed: "range(0, {CELLS})"}}
resources: {{mem_gb: 0.5, profile: low}}
"""
ENDED = {"lost", "failed", "node_fail", "timeout", "cancelled", "given_up", "new", "preempted"}
"""States that deny that a job has the cell."""


@dataclass
class Watch:
    """What squeue and `status --json` said, second by second.

    Attributes:
        queues: (time before, time after, live job ids).
        told: (age of the answer, label, state, job).
    """

    queues: list[tuple[float, float, frozenset[str]]] = field(default_factory=list)
    told: list[tuple[float, dict[str, str]]] = field(default_factory=list)

    def lies(self, jobs: dict[str, str]) -> list[str]:
        """Where a status contradicts what squeue said just before and just after its own answer."""
        found = []
        for asked, states in self.told:
            before = [live for _, end, live in self.queues if end <= asked]
            after = [live for start, _, live in self.queues if start >= asked]
            if not before or not after:
                continue
            for key, state in states.items():
                both = [jobs.get(key, "") in live for live in (before[-1], after[0])]
                if all(both) and state in ENDED:
                    found.append(f"{key} is {state}, its job lives")
                if not any(both) and jobs.get(key) and state in {"pending", "running"}:
                    found.append(f"{key} is {state}, its job is gone")
        return found


@contextmanager
def watched(bench: Bench, cluster: Cluster, study: Path) -> Iterator[Watch]:
    watch, over = Watch(), threading.Event()

    def look() -> None:
        while not over.wait(1):
            with_failures(lambda: _queue(watch, cluster))
            with_failures(lambda: _status(watch, bench, study))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def with_failures(look: Callable[[], None]) -> None:
    """The controller is away for a while: then nobody can compare."""
    try:
        look()
    except (AssertionError, OSError, RuntimeError):
        return


def _queue(watch: Watch, cluster: Cluster) -> None:
    began = time.time()
    shown = cluster.squeue("--noheader", "--array", "--format=%i")
    watch.queues.append((began, time.time(), frozenset(shown.split())))


def _status(watch: Watch, bench: Bench, study: Path) -> None:
    document: dict[str, Any] = json.loads(bench("status", str(study), "--json"))["manifests"][0]
    if document["scheduler_reachable"]:
        states = {cell["training_id"]: cell["state"] for cell in document["cells"]}
        watch.told.append((document["scheduler_asked_at"], states))


def jobs_of(bench: Bench, number: int = 1) -> dict[str, str]:
    """Training id → its job in a submission."""
    submission = ledger.read(bench.root, number)
    return {
        key: chunk.position_job(chunk.tasks.index(task))
        for key, task in submission.cells.items()
        for chunk in [submission.chunk_of(task)]
    }


def running(cluster: Cluster, least: int) -> list[str]:
    """Jobs that run, once so many do."""
    found: list[str] = []

    def enough() -> bool:
        found[:] = cluster.squeue("--noheader", "--array", "-t", "R", "--format=%i").split()
        return len(found) >= least

    until(enough, f"{least} running jobs", 300)
    return found


def storm(cluster: Cluster) -> None:
    """One of everything that site and users do to running jobs."""
    cluster.run("scontrol", "requeue", running(cluster, 4)[0])
    cluster.kill_node("n3")
    cluster.start_node("n3")
    cluster.resume_nodes()
    cluster.run("scancel", running(cluster, 4)[1])
    cluster.wait_saved(running(cluster, 3)[0])
    cluster.kill_controller()
    cluster.start_controller()
    cluster.resume_nodes()
    cluster.run("scontrol", "update", f"jobid={running(cluster, 4)[2]}", "TimeLimit=1")
    running(cluster, 4)
    high = cluster.sbatch("-p", "high", "-N3", "--exclusive", "--wrap", "sleep 3")
    cluster.wait_state(high, "COMPLETED", timeout_s=180)


def test_forty_cells_survive_a_storm_and_one_resume(on_slurm: Cluster, tmp_path: Path) -> None:
    study = tmp_path / "storm.yaml"
    study.write_text(MANIFEST)
    for name in ("quiet", "stormy"):
        (tmp_path / name).mkdir()
    stormy, quiet = (user(on_slurm, tmp_path / name) for name in ("stormy", "quiet"))
    for bench in (stormy, quiet):
        site = Path(bench.env["SPIKEGRID_SITE"])
        site.write_text("profiles: {low: {partition: low}}\n")
    with watched(stormy, on_slurm, study) as watch:
        stormy("submit", str(study), "--max-parallel", str(AT_ONCE))
        storm(on_slurm)
        until(lambda: not on_slurm.squeue("--noheader", "--format=%i").split(), "its end", 900)
    lies = watch.lies(jobs_of(stormy))
    print(f"{len(watch.told)} looks at status, {len(watch.queues)} at squeue, {len(lies)} lies")
    assert lies == []
    stormy("resume", str(study), "--max-parallel", str(AT_ONCE))
    until(lambda: finished(stormy, study), "all of the storm", 600)
    quiet("submit", str(study), "--max-parallel", str(AT_ONCE))
    until(lambda: finished(quiet, study), "all of the quiet run", 900)
    assert stormy.results() == quiet.results()
    assert len(stormy.results()) == CELLS * 3
