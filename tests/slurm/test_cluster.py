"""The test cluster itself: jobs run on it, break with it, and leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, sweep
from tests.slurm.daemons import breathes, eventually, job_processes
from tests.slurm.settings import Options, files

pytestmark = pytest.mark.slurm


def test_an_array_runs_on_the_nodes(on_slurm: Cluster, tmp_path: Path) -> None:
    wrap = f'--wrap=echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" > {tmp_path}/$SLURM_ARRAY_TASK_ID'
    job_id = on_slurm.sbatch("--array=0-5", "--cpus-per-task=4", "--gres=gpu:1", wrap)
    on_slurm.wait_state(job_id, "COMPLETED")
    words = [(tmp_path / str(task)).read_text().split() for task in range(6)]
    assert {node for node, _ in words} <= {*on_slurm.nodes}
    assert {device for _, device in words} == {"0", "1"}


def test_a_step_runs_on_two_nodes(on_slurm: Cluster) -> None:
    script = ["srun", "--nodes=2", "--ntasks=2", "printenv", "SLURMD_NODENAME"]
    found = on_slurm.run(*script).split()
    assert len({*found}) == 2
    assert {*found} <= {*on_slurm.nodes}


def test_a_job_lives_on_when_the_controller_is_killed(on_slurm: Cluster) -> None:
    job_id = on_slurm.sbatch("--wrap=sleep 600")
    on_slurm.wait_state(job_id, "RUNNING")
    on_slurm.wait_saved(job_id)
    on_slurm.kill_controller()
    on_slurm.start_controller()
    assert on_slurm.states(job_id) == {job_id: "RUNNING"}


def test_a_killed_node_takes_its_jobs_with_it(on_slurm: Cluster) -> None:
    node = on_slurm.nodes[0]
    job_id = on_slurm.sbatch(f"--nodelist={node}", "--wrap=sleep 600")
    on_slurm.wait_state(job_id, "RUNNING")
    conf = on_slurm.env["SLURM_CONF"]
    eventually(lambda: job_processes(conf, [node], steps=False), "the job has processes")
    on_slurm.kill_node(node)
    eventually(lambda: not job_processes(conf, [node], steps=False), "they are gone")
    on_slurm.start_node(node)
    on_slurm.resume_nodes()


def test_accounting_answers(on_slurm_accounting: Cluster) -> None:
    job_id = on_slurm_accounting.sbatch("--wrap=exit 3")
    on_slurm_accounting.wait_state(job_id, "FAILED")
    ask = ("sacct", "-X", "-n", "-P", "-j", job_id, "-o", "State,ExitCode")
    eventually(lambda: on_slurm_accounting.run(*ask) == "FAILED|3:0\n", "sacct knows the end")


def test_by_hand_it_starts_once_and_stops_wholly() -> None:
    folder = Path("/tmp") / f"spikegrid-hand-{os.getpid()}"
    script = [sys.executable, str(Path(__file__).with_name("cluster.py"))]
    for _ in range(2):
        subprocess.run([*script, "start", str(folder), "--nodes=1"], check=True, cwd="/")
    shown = subprocess.run(
        [*script, "env", str(folder)], check=True, capture_output=True, text=True
    )
    cluster = Cluster(folder)
    assert shown.stdout == f"export SLURM_CONF={cluster.env['SLURM_CONF']}\n"
    cluster.sbatch("--wrap=sleep 600")
    pids = [int(path.read_text().split()[0]) for path in (folder / "run").glob("*.pid")]
    assert len(pids) == 3  # munged, slurmctld, slurmd
    sweep(Path("/tmp"), folder.name)  # its starter has ended
    assert not folder.exists()
    assert not any(map(breathes, pids))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(port=20000, max_array_size=11), "MaxArraySize=11"),
        (Options(port=20000, nodes=2), "NodeName=p20000n[1-2]"),
        (Options(port=20000, accounting=True), "AccountingStoragePort=20001"),
        (Options(port=20000, gpus=0), "GresTypes="),
    ],
)
def test_options_reach_the_configuration(options: Options, words: str) -> None:
    text = files(Path("/x"), options, user="me")["slurm.conf"]
    assert (words in text) is (options.gpus > 0)
