"""resume: of several manifests and submissions, each gets what it can."""

from pathlib import Path

import pytest

from jobs import files
from jobs.cli import main
from jobs.dispatch import local
from jobs.layout import RunRoot
from tests.commands.conftest import write
from tests.dispatch.test_chunks import DEAD
from tests.examples import cell, submission
from tests.fake_slurm import FakeSlurm


def test_a_choice_need_fit_one_manifest_only(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    write("more", "2")
    assert main(["submit", "clean.yaml"]) == main(["submit", "more.yaml"]) == 0
    capsys.readouterr()
    assert main(["resume", "--only", "seed=2"]) == 0
    assert capsys.readouterr().out.startswith("more: nothing to send · 1 on the way")
    assert main(["resume", "--only", "seed=3"]) == 2
    assert main(["status", "--only", "seed=2"]) == 0
    assert main(["status", "--only", "seed=3"]) == 2


def test_one_that_cannot_be_sent_does_not_stop_the_others(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    write("more", "2")
    assert main(["submit", "clean.yaml"]) == main(["submit", "more.yaml"]) == 0
    assert main(["cancel"]) == 0
    slurm.refuse("sbatch: error: invalid partition specified: nowhere")
    assert main(["resume"]) == 3
    said = capsys.readouterr().err
    assert said.count("the cluster has no such partition") == 2
    assert "clean: " in said
    assert "more: " in said


def test_one_that_is_wrong_by_now_is_named(
    slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("more", "2")
    assert main(["submit", "clean.yaml"]) == main(["submit", "more.yaml"]) == 0
    RunRoot(tmp_path / "runs").submission(2).manifest.write_text("version: 9\n")
    assert main(["resume"]) == 0
    assert "submission 2 (more): passed over: " in capsys.readouterr().err


def strand(root: RunRoot) -> None:
    """The first submission, as if its launcher had died before it sent anything."""
    paths = root.submission(1)
    plan = files.read_json(paths.plan)
    files.replace(paths.plan, files.dumps({**plan, "launcher": DEAD}))
    for path in paths.folder.glob("chunk-*.json"):
        path.unlink()


def test_what_waits_in_another_manifests_submission_is_sent(
    slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("same", "0, 1")
    assert main(["submit", "clean.yaml"]) == 0
    strand(RunRoot(tmp_path / "runs"))
    capsys.readouterr()
    assert main(["resume", "same.yaml"]) == 0
    shown = capsys.readouterr()
    assert "submission 1: sent what waited, as job 2" in shown.err
    assert "same: nothing to send · 2 on the way" in shown.out


def test_what_waits_for_slurm_is_sent_although_the_last_went_to_this_machine(
    slurm: FakeSlurm,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = RunRoot(tmp_path / "runs")
    assert main(["submit", "clean.yaml"]) == 0
    strand(root)
    submission(root, [cell(7)], cluster="local", manifest="clean")
    monkeypatch.setattr(local, "ensure_running", lambda root: None)
    capsys.readouterr()
    assert main(["resume", "clean.yaml"]) == 0
    shown = capsys.readouterr()
    assert "submission 1: sent what waited, as job 2" in shown.err
    assert "clean: nothing to send · 2 on the way" in shown.out


def test_slots_are_those_of_this_machines_queue(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("profiles: {default: {slots: 1, array_parallelism: 100}}\n")
    site.chmod(0o600)
    monkeypatch.setenv("SPIKEGRID_SITE", str(site))
    assert main(["submit", "clean.yaml"]) == 0
    (script,) = (tmp_path / "runs").glob("submissions/*/submitit/chunk-000/submission.sh")
    assert "--array=0-1%2\n" in script.read_text()
