"""Limits, refusals and deaths between sbatch and the ledger, on a real cluster."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from jobs import attempts
from jobs.dispatch import ledger
from jobs.layout import CellFiles
from tests.slurm.cluster import Cluster
from tests.slurm.test_line import finished, user
from tests.system.conftest import Bench, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

MANIFEST = """\
version: 1
name: many
defaults:
  dataset: digits
  model: {name: small, neuron: if}
  regime: {name: clean, epochs: 1, lr: 0.02}
  epsilons: ["16/255"]
  attacks: [fgsm]
  evaluation: {samples: 10}
grid: {seed: "range(0, CELLS)"}
resources: {mem_gb: 0.25}
"""
CHANGE_QOS = ("sacctmgr", "-i", "modify", "qos", "normal", "set")


def manifest(folder: Path, cells: int) -> Path:
    path = folder / "many.yaml"
    path.write_text(MANIFEST.replace("CELLS", str(cells)))
    return path


def job_log(cluster: Cluster, bench: Bench) -> list[str]:
    """Ids of all jobs of a run root that ever started, by the cluster's own log."""
    rows = cluster.run("sacct", "-X", "-n", "-P", "-o", "JobID,JobName,Start").splitlines()
    mine = ledger.job_prefix(bench.root)
    fields = (row.split("|") for row in rows)
    return [job for job, name, start in fields if name.startswith(mine) and start != "Unknown"]


def claims(bench: Bench) -> list[int]:
    """How often each training was tried."""
    return [len(attempts.numbers(CellFiles(path))) for path in bench.root.cells.glob("*/*")]


def limited(cluster: Cluster, jobs: int) -> Iterator[None]:
    cluster.run(*CHANGE_QOS, f"MaxSubmitJobsPerUser={jobs}")
    try:
        yield
    finally:
        cluster.run(*CHANGE_QOS, "MaxSubmitJobsPerUser=-1")


def _drains(cluster: Cluster, folder: Path, *, cells: int, most: int) -> None:
    """Submit once more cells than the cluster admits; ending jobs send the rest."""
    bench = user(cluster, folder)
    study = manifest(folder, cells)
    for _ in limited(cluster, most):
        shown = bench("submit", str(study))
        assert f"sent {most // 2 * 2} tasks to SLURM as job" in shown
        assert f"MaxSubmitJobs {most} (QOS normal)" in bench("plan", str(study))
        assert sorted(set(bench.states(study).values())) in (
            ["held", "pending"],
            ["held", "pending", "running"],
            ["held", "running"],
        )
        assert "held: " in bench("status", str(study))
        until(lambda: finished(bench, study), "the end of all cells", 60 + 20 * cells)
    assert claims(bench) == [1] * cells
    until(lambda: len(job_log(cluster, bench)) == cells, "accounting knows all jobs", 30)


def test_ending_jobs_send_what_a_limit_kept_back(
    on_slurm_accounting: Cluster, tmp_path: Path
) -> None:
    _drains(on_slurm_accounting, tmp_path, cells=8, most=4)


@pytest.mark.proof
def test_sixty_cells_through_a_limit_of_twenty(
    on_slurm_accounting: Cluster, tmp_path: Path
) -> None:
    _drains(on_slurm_accounting, tmp_path, cells=60, most=20)


def test_without_sbatch_on_the_nodes_resume_sends_the_rest(
    on_slurm_accounting: Cluster, tmp_path: Path
) -> None:
    bench = user(on_slurm_accounting, tmp_path)
    site = Path(bench.env["SPIKEGRID_SITE"])
    empty = tmp_path / "bin"
    empty.mkdir()
    for name in ("python3", "bash", "srun", "scontrol", "hostname"):
        (empty / name).symlink_to(shutil.which(name, path=bench.env["PATH"]) or "/bin/true")
    site.write_text(f"profiles: {{default: {{preamble: ['export PATH={empty}']}}}}\n")
    study = manifest(tmp_path, 4)
    for _ in limited(on_slurm_accounting, 2):
        bench("submit", str(study))
        until(lambda: sorted(bench.states(study).values())[:2] == ["completed"] * 2, "two cells")
        on_slurm_accounting.wait_idle()
        assert sorted(bench.states(study).values()) == ["completed"] * 2 + ["held"] * 2
        assert f"resume {study}" in bench("status", str(study)).splitlines()[-1]
        bench("resume", str(study))
        until(lambda: finished(bench, study), "the end of all cells", 120)
    assert claims(bench) == [1] * 4


@pytest.fixture
def bench(on_slurm: Cluster, tmp_path: Path) -> Bench:
    return user(on_slurm, tmp_path)


def queued(cluster: Cluster, bench: Bench) -> list[str]:
    """Names of all jobs and array tasks of a run root, by the controller."""
    lines = cluster.squeue("--states=all", "--format=%i|%j").splitlines()
    mine = ledger.job_prefix(bench.root)
    return [name for _, name in (line.split("|") for line in lines) if name.startswith(mine)]


def _raced(cluster: Cluster, place: Path) -> tuple[Bench, Path]:
    place.mkdir()
    bench, study = user(cluster, place), manifest(place, 6)
    submit = partial(bench, "submit", str(study))
    with ThreadPoolExecutor(2) as pool:
        for launcher in [pool.submit(submit) for _ in range(2)]:
            launcher.result()
    assert len(queued(cluster, bench)) == 6
    return bench, study


def _race(cluster: Cluster, folder: Path, turns: int) -> None:
    """Two launchers at the same moment, again and again; what the last two sent runs to its end."""
    cluster.run("scontrol", "update", "partitionname=main", "state=down")
    try:
        for turn in range(1, turns):
            bench, study = _raced(cluster, folder / str(turn))
            bench("cancel", str(study), "--yes")
        bench, study = _raced(cluster, folder / "last")
    finally:
        cluster.run("scontrol", "update", "partitionname=main", "state=up")
    until(lambda: finished(bench, study), "the end of all cells", 120)
    assert claims(bench) == [1] * 6


def test_two_launchers_at_once_send_each_cell_once(on_slurm: Cluster, tmp_path: Path) -> None:
    _race(on_slurm, tmp_path, 2)


@pytest.mark.proof
def test_two_launchers_at_once_twenty_times(on_slurm: Cluster, tmp_path: Path) -> None:
    _race(on_slurm, tmp_path, 20)


def dying(bench: Bench, folder: Path) -> dict[str, str]:
    """An environment whose sbatch sends the job, then kills the launcher before it knows the id."""
    real = shutil.which("sbatch", path=bench.env["PATH"])
    path = folder / "dying" / "sbatch"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\n{real} "$@" > {folder}/said\nkill -9 $PPID\nsleep 60\n')
    path.chmod(0o755)
    return {**bench.env, "PATH": f"{path.parent}{os.pathsep}{bench.env['PATH']}"}


def test_a_job_whose_launcher_died_is_adopted(
    bench: Bench, on_slurm: Cluster, tmp_path: Path
) -> None:
    study = manifest(tmp_path, 3)
    command = [sys.executable, str(bench.checkout / "launch.py"), "submit", str(study)]
    killed = subprocess.run(command, env=dying(bench, tmp_path), cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    job_id = (tmp_path / "said").read_text().split()[-1]
    assert not ledger.read(bench.root, 1).job_ids
    assert set(bench.states(study).values()) <= {"unknown", "running", "completed"}
    assert "3 on the way" in bench("submit", str(study))
    assert ledger.read(bench.root, 1).job_ids == {job_id}
    until(lambda: finished(bench, study), "the end of all cells", 120)
    assert (claims(bench), len(queued(on_slurm, bench))) == ([1] * 3, 3)


@pytest.mark.proof  # sbatch and squeue each take ten seconds to give up
def test_a_controller_that_is_away_loses_nothing(
    bench: Bench, on_slurm: Cluster, tmp_path: Path
) -> None:
    study = str(manifest(tmp_path, 2))
    on_slurm.kill_controller()
    try:
        bench("submit", study, code=3)
    finally:
        on_slurm.start_controller()
        on_slurm.resume_nodes()
    document = json.loads(bench("status", study, "--json"))
    states = {cell["state"] for cell in document["manifests"][0]["cells"]}
    assert states <= {"held", "unknown"}
    until(lambda: bench("submit", study) and ledger.read(bench.root, 1).job_ids, "an id", 120)
    until(lambda: finished(bench, Path(study)), "the end of all cells", 120)
    assert claims(bench) == [1] * 2
