"""From a manifest to tables on this machine, with real processes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import attempts, files, processes
from jobs.dispatch import ledger, local
from tests.system.conftest import Bench, descendants, job_process, until

pytestmark = pytest.mark.slow

MANIFEST = """\
version: 1
name: study
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  epsilons: ["16/255", "32/255"]
  attacks: [fgsm, {name: pgd, steps: 2, step_size: eps/2}]
  evaluation: {samples: 50}
grid:
  regime:
    - {name: clean, epochs: EPOCHS, lr: 0.02}
    - {name: adversarial, epsilon: "16/255", epochs: EPOCHS, lr: 0.02}
resources: {cells_per_job: PACKED}
"""


def manifest(folder: Path, *, epochs: int = 2, packed: int = 1, text: str = MANIFEST) -> Path:
    path = folder / "study.yaml"
    path.write_text(text.replace("EPOCHS", str(epochs)).replace("PACKED", str(packed)))
    return path


def checkpoints(bench: Bench) -> list[Path]:
    return list(bench.root.cells.glob("*/*/checkpoints/step-*/COMPLETE"))


def test_the_whole_line(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path)
    bench("submit", str(study), "--cluster", "local", "--wait")
    assert set(bench.states(study).values()) == {"completed"}
    assert "nothing to send · 2 done" in bench("submit", str(study), "--cluster", "local")
    assert "results 10 rows (+10)" in bench("collect")
    tables = {path.name: path.read_bytes() for path in bench.root.tables.glob("*.parquet")}
    shutil.rmtree(bench.root.tables)
    bench("collect")
    assert {path.name: path.read_bytes() for path in bench.root.tables.glob("*.parquet")} == tables
    manifest(tmp_path, text=MANIFEST.replace('"16/255", "32', '"16/255", "24/255", "32'))
    assert "2 evaluate  training done; 2 of 7 rows missing" in bench("plan", str(study))


def test_packed_cells_and_a_second_run_give_equal_numbers(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path)
    bench("submit", str(study), "--cluster", "local", "--wait")
    apart = bench.results()
    bench("submit", str(manifest(tmp_path, packed=2)), "--cluster", "local", "--wait",
          "--root", str(tmp_path / "packed"))  # fmt: skip
    bench.root = type(bench.root)(tmp_path / "packed")
    assert bench.results() == apart
    assert len(list(bench.root.submissions.glob("*/submitit/task-*"))) == 1


def test_a_killed_job_resumes_to_the_same_bits(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=14)
    only = ["--only", "regime=adversarial"]
    bench("submit", str(study), "--cluster", "local", *only)
    until(lambda: checkpoints(bench), "a checkpoint")
    controller = job_process(bench.root)
    tree = [p for pid in descendants(controller.pid) if (p := processes.identify(pid))]
    os.kill(controller.pid, signal.SIGKILL)
    until(lambda: not any(map(processes.alive, tree)), "the end of all ranks", 5)
    assert attempts.read(bench.cell(), 1).state is None
    assert bench.states(study)["digits/small-lif/adversarial/s0"] == "lost"
    bench("resume", str(study), *only, "--wait")
    assert attempts.numbers(bench.cell()) == [1, 2]
    events = list(files.read_lines(bench.cell().attempt(2).events))
    assert events[0]["event"] == "resumed"
    interrupted = bench.results()
    quiet = str(tmp_path / "quiet")
    bench("submit", str(study), "--cluster", "local", *only, "--wait", "--root", quiet)
    bench.root = type(bench.root)(Path(quiet))
    assert interrupted == bench.results()


def test_cancel_saves_and_resume_goes_on(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=60)
    bench("submit", str(study), "--cluster", "local", "--only", "regime=clean")
    until(lambda: list(bench.root.cells.glob("*/*/attempts/0001/metrics.jsonl")), "an epoch")
    assert "cancelled 1 cell" in bench("cancel", "study")
    until(lambda: bench.cell().attempt(1).end.exists(), "its end")
    assert attempts.read(bench.cell(), 1).state == "cancelled"
    assert checkpoints(bench)
    assert bench.states(study)["digits/small-lif/clean/s0"] == "cancelled"
    assert "go on from step" in bench("plan", str(study), "--only", "regime=clean")


def test_an_edit_after_submit_changes_nothing(
    bench: Bench, own_checkout: Path, tmp_path: Path
) -> None:
    study = manifest(tmp_path)
    bench.root.cache.mkdir()
    with local.lock(bench.root) as mine:  # the queue cannot start yet
        assert mine
        bench("submit", str(study), "--cluster", "local", "--only", "regime=clean")
        (own_checkout / "snnlib" / "train.py").write_text("raise RuntimeError('edited')\n")
    bench("resume", str(study), "--only", "regime=clean", "--wait")
    assert attempts.read(bench.cell(), 1).state == "completed"


def test_cancelling_a_part_leaves_the_rest(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=6)
    bench("submit", str(study), "--cluster", "local", "--max-parallel", "1")
    assert "cancelled 1 cell" in bench("cancel", "study", "--only", "regime=adversarial")
    bench("submit", str(study), "--cluster", "local", "--only", "regime=clean", "--wait")
    states = bench.states(study)
    assert states["digits/small-lif/clean/s0"] == "completed"
    assert states["digits/small-lif/adversarial/s0"] in {"new", "cancelled"}


def test_a_second_launcher_finds_the_cells_taken(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=30)
    bench("submit", str(study), "--cluster", "local")
    assert "nothing to send · 2 on the way" in bench("submit", str(study), "--cluster", "local")
    bench("cancel", "study")


def test_run_in_the_foreground_shows_its_log_and_records(bench: Bench, tmp_path: Path) -> None:
    study = str(manifest(tmp_path))
    shown = bench("run", "digits/small-lif/clean/s0", "--manifest", study)
    assert "epoch 2/2" in shown
    assert "completed · recorded" in shown
    assert attempts.read(bench.cell(), 1).state == "completed"
    again = bench("run", "digits/small-lif/clean/s0", "--manifest", study)
    assert "epoch" not in again


def test_a_scratch_run_records_nothing(bench: Bench, tmp_path: Path) -> None:
    study = str(manifest(tmp_path))
    words = ["run", "digits/small-lif/clean/s0", "--manifest", study]
    assert "epoch 1/1" in bench(*words, "--epochs", "1", "--samples", "20")
    assert list(bench.root.path.iterdir()) == []


def test_a_failing_cell_says_why_and_is_not_tried_again(bench: Bench, tmp_path: Path) -> None:
    text = MANIFEST.replace("lr: 0.02", "lr: 1.0e+30, weight_decay: 1.0e+30, optimiser: sgd")
    study = manifest(tmp_path, text=text)
    bench("submit", str(study), "--cluster", "local", "--wait", "--only", "regime=clean", code=1)
    status = bench("status", str(study))
    assert "NotFinite" in status
    assert "NotFinite" in bench("logs", "digits/small-lif/clean/s0", "--manifest", str(study))
    assert "1 give_up" in bench("plan", str(study))
    assert "NotFinite" in bench("status", str(study), "--by", "error")


def test_ranks_die_with_their_agent_even_while_they_start(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=30)
    bench("submit", str(study), "--cluster", "local", "--only", "regime=clean")
    until(lambda: ledger.read(bench.root, 1).local, "the start of its job")
    controller = job_process(bench.root)
    until(lambda: len(descendants(controller.pid)) == 3, "a rank")  # task, agent, rank
    task, agent, rank = map(processes.identify, descendants(controller.pid))
    assert task
    assert agent
    assert rank
    os.kill(agent.pid, signal.SIGKILL)
    until(lambda: not processes.alive(rank), "the end of the rank", 2)
    until(lambda: bench.cell().attempt(1).end.exists(), "its end")
    assert attempts.read(bench.cell(), 1).state == "failed"
    until(lambda: attempts.numbers(bench.cell()) == [1, 2], "the next attempt")
    assert not list(bench.cell().checkpoints.glob("*.a0001"))


def test_term_to_a_packed_job_starts_no_further_cell(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=40, packed=2)
    bench("submit", str(study), "--cluster", "local")
    until(lambda: list(bench.root.cells.glob("*/*/attempts/0001/metrics.jsonl")), "an epoch")
    for pid in descendants(job_process(bench.root).pid):
        os.kill(pid, signal.SIGTERM)
    until(lambda: bench.cell().attempt(1).end.exists(), "its end")
    until(lambda: not local.is_running(bench.root), "the end of the queue")
    assert len(list(bench.root.cells.glob("*/*"))) == 1
    assert attempts.read(bench.cell(), 1).state == "preempted"
    assert "1 retry     preempted (1 of 20), go on from step" in bench("plan", str(study))


def test_ctrl_c_in_the_foreground_saves_and_ends(bench: Bench, tmp_path: Path) -> None:
    study = str(manifest(tmp_path, epochs=60))
    words = ["run", "digits/small-lif/clean/s0", "--manifest", study]
    command = [sys.executable, str(bench.checkout / "launch.py"), *words]
    with subprocess.Popen(command, env=bench.env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert "epoch 1/60" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    assert attempts.read(bench.cell(), 1).state == "preempted"
    assert checkpoints(bench)
    assert "study" in bench("status")


CHAIN = """\
version: 1
name: chain
defaults:
  dataset: digits
  model: {name: small, neuron: if}
  epsilons: ["16/255"]
  attacks: [fgsm]
  evaluation: {samples: 20}
  regime: {name: clean, epochs: 1, lr: 0.02}
cells:
  - regime: {name: adversarial, epsilon: "8/255", epochs: 1, start: {parent: {regime: clean}}}
"""


def test_a_chain_of_trainings_runs_to_its_end_with_wait(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, text=CHAIN)
    shown = bench("submit", str(study), "--cluster", "local", "--wait")
    assert "sent 2 tasks" in shown
    assert "1 of them after their parents" in shown
    assert set(bench.states(study).values()) == {"completed"}
    assert len(list(bench.root.cells.glob("*/*"))) == 2
