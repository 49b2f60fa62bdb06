"""Canary, circuit breaker and retries on this machine, with real processes."""

import os
import re
import signal
from pathlib import Path

import pytest

from jobs import attempts, files, processes
from jobs.dispatch import holds, ledger, local
from jobs.layout import CellFiles
from tests.system.conftest import Bench, descendants, job_process, until

pytestmark = pytest.mark.slow

MANIFEST = """\
version: 1
name: study
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  epsilons: ["16/255"]
  attacks: [fgsm]
  evaluation: {samples: 20}
  regime: {name: clean, epochs: 1, lr: 0.02}
"""
DIVERGES = "lr: 1.0e+30, weight_decay: 1.0e+30, optimiser: sgd"


def manifest(folder: Path, rest: str, *, text: str = MANIFEST) -> Path:
    path = folder / "study.yaml"
    path.write_text(text + rest)
    return path


def tried(bench: Bench) -> list[CellFiles]:
    return [CellFiles(folder) for folder in sorted(bench.root.cells.glob("*/*"))]


def test_an_error_of_all_cells_stops_a_study_after_a_handful(bench: Bench, tmp_path: Path) -> None:
    text = MANIFEST.replace("lr: 0.02", DIVERGES)
    twelve = 'grid: {seed: "range(0, 12)"}\nresources: {cells_per_job: 3}\n'
    study = str(manifest(tmp_path, twelve, text=text))
    bench("submit", study, "--cluster", "local", "--max-parallel", "2", "--wait", code=1)
    until(lambda: not local.is_running(bench.root), "the end of the queue")
    assert 5 <= len(tried(bench)) <= 9
    states = list(bench.states(Path(study)).values())
    assert states.count("failed") == len(tried(bench))
    left = 12 - len(tried(bench))
    assert states.count("held") == left
    why = rf"held: {left} cells · \d cells failed alike: NotFinite: .*\(submission 1\)"
    assert re.search(why, bench("status", study))
    again = bench("submit", study, "--cluster", "local")
    assert f"nothing to send · {left} held, {12 - left} given up" in again
    assert "next: mend the cause, then: " in again
    by_error = bench("status", study, "--by", "error")
    assert re.findall(r"^ +(\d+)  NotFinite", by_error, re.MULTILINE) == [str(12 - left)]
    assert f"{left:>5,} train     new" in bench("resume", study, "-n")
    assert holds.in_force(bench.root.submission(1))
    bench("resume", study, "--limit", "1")
    assert not holds.in_force(bench.root.submission(1))


def test_a_canary_goes_first_and_then_the_others(bench: Bench, tmp_path: Path) -> None:
    study = str(manifest(tmp_path, "grid: {seed: [0, 1, 2]}\n"))
    assert "3 completed" in bench("submit", study, "--cluster", "local", "--canary", "--wait")
    claims = [next(files.read_lines(cell.attempt(1).claim)) for cell in tried(bench)]
    first, *others = sorted(claims, key=lambda claim: claim["claimed"])
    end = next(files.read_lines(bench.root.cell(first["training_id"]).attempt(1).end))
    assert first["label"] == "digits/small-lif/clean/s0"
    assert all(claim["claimed"] > end["ended"] for claim in others)


CANARY_FAILS = """\
cells:
  - {regime: {name: clean, epochs: 1, DIVERGES}}
  - {seed: 1}
  - {seed: 2}
""".replace("DIVERGES", DIVERGES)


def test_a_canary_that_fails_keeps_the_others_from_starting(bench: Bench, tmp_path: Path) -> None:
    study = str(manifest(tmp_path, CANARY_FAILS))
    bench("submit", study, "--cluster", "local", "--canary", "--wait", code=1)
    assert len(tried(bench)) == 1
    until(lambda: not local.is_running(bench.root), "the end of the queue")
    assert sorted(bench.states(Path(study)).values()) == ["failed", "held", "held"]
    shown = bench("status", study)
    assert re.search(r"held: 2 cells · its canary \S+ failed: NotFinite", shown)
    bench("resume", study, "--wait", code=1)
    assert sorted(bench.states(Path(study)).values()) == ["completed", "completed", "failed"]


def test_a_killed_rank_heals_by_itself_to_the_same_bits(bench: Bench, tmp_path: Path) -> None:
    study = str(manifest(tmp_path, "grid: {regime.epochs: [14]}\n"))
    bench("submit", study, "--cluster", "local")
    until(lambda: list(bench.root.cells.glob("*/*/checkpoints/step-*/COMPLETE")), "a checkpoint")
    rank = processes.identify(descendants(job_process(bench.root).pid)[-1])
    assert rank
    os.kill(rank.pid, signal.SIGKILL)
    until(lambda: bench.cell().attempt(1).end.exists(), "its end")
    assert set(bench.states(Path(study)).values()) <= {"queued", "pending", "running"}
    bench("submit", study, "--cluster", "local", "--wait")
    assert len(ledger.numbers(bench.root)) == 1
    found = [attempts.read(bench.cell(), n).state for n in attempts.numbers(bench.cell())]
    assert found == ["failed", "completed"]
    assert next(files.read_lines(bench.cell().attempt(2).events))["event"] == "resumed"
    assert "1 of 2 attempts failed" in bench("status", study, "--by", "node")
    healed = bench.results()
    quiet = str(tmp_path / "quiet")
    bench("submit", study, "--cluster", "local", "--wait", "--root", quiet)
    bench.root = type(bench.root)(Path(quiet))
    assert healed == bench.results()
