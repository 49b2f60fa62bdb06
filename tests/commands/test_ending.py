"""cancel: everything that was sent for a manifest ends, and nothing of others."""

from pathlib import Path

import pytest

from jobs.cli import main
from jobs.layout import RunRoot
from tests.commands.conftest import write
from tests.fake_slurm import FakeSlurm


def live(slurm: FakeSlurm) -> int:
    return sum(state == "PENDING" for state in slurm.states().values())


def test_parents_end_with_what_they_were_sent_for(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "children.yaml"]) == 0
    assert live(slurm) == 4
    assert main(["cancel", "children.yaml"]) == 0
    assert live(slurm) == 0
    shown = capsys.readouterr()
    assert "cancelled 4 cells" in shown.out
    assert "2 of them: not in children as it is now, but sent with it as parent" in shown.err
    assert main(["cancel", "children.yaml"]) == 0
    assert "nothing of it is queued or running" in capsys.readouterr().out


def test_parents_that_another_manifest_sent_stay(slurm: FakeSlurm) -> None:
    assert main(["submit", "clean.yaml"]) == main(["submit", "children.yaml"]) == 0
    assert main(["cancel", "children.yaml"]) == 0
    assert {job for job, state in slurm.states().items() if state == "PENDING"} == {"1_0", "1_1"}
    assert main(["cancel", "clean.yaml"]) == 0
    assert live(slurm) == 0


def test_what_was_sent_before_an_edit_ends_too(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "clean.yaml"]) == 0
    write("clean", "5")
    assert main(["cancel", "clean.yaml", "--only", "seed=1"]) == 0
    assert slurm.states() == {"1_0": "PENDING", "1_1": "CANCELLED"}
    assert main(["cancel", "clean.yaml"]) == 0
    assert live(slurm) == 0
    assert main(["cancel", "clean.yaml", "--only", "seed=7"]) == 2
    assert "there is 0, 1, 5" in capsys.readouterr().err


def test_without_a_name_a_choice_need_fit_one_manifest_only(slurm: FakeSlurm) -> None:
    write("more", "2")
    assert main(["submit", "clean.yaml"]) == main(["submit", "more.yaml"]) == 0
    assert main(["cancel", "--only", "seed=2"]) == 0
    assert live(slurm) == 2
    assert main(["cancel", "--only", "seed=3"]) == 2


def test_a_manifest_that_is_wrong_by_now_does_not_keep_its_jobs(
    slurm: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "clean.yaml"]) == 0
    RunRoot(tmp_path / "runs").submission(1).manifest.write_text("version: 9\n")
    assert main(["cancel", "--only", "seed=0"]) == 2
    assert "submission 1 (clean): passed over: " in capsys.readouterr().err
    assert main(["cancel"]) == 0
    assert live(slurm) == 0


def test_a_parent_is_chosen_by_its_label_although_it_is_no_cell(slurm: FakeSlurm) -> None:
    assert main(["submit", "children.yaml"]) == 0
    assert main(["cancel", "children.yaml", "--only", "label=digits/small-if/clean/s1"]) == 0
    states = slurm.states().items()
    assert [job for job, state in states if state == "CANCELLED"] == ["1_1"]


def test_a_choice_where_nothing_was_sent_finds_nothing(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", "--only", "seed=3"]) == 0
    assert capsys.readouterr().out == "nothing of it is queued or running\n"
