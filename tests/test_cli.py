"""Commands, exit codes, and one clear message for each mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import COMMANDS, main
from tests.examples import TINY, finish, run_root

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _quiet_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setenv("SPIKEGRID_ROOT", str(tmp_path / "runs"))
    monkeypatch.delenv("SPIKEGRID_SITE", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_bare_launch_lists_the_commands_in_the_order_of_need(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n    {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "nothing.yaml"], "nothing.yaml"),
        (["plan", "quickstar"], "did you mean 'quickstart'?"),
        (["plan", "quickstart", "--only", "seed"], "expected key=value"),
        (["plan", "quickstart", "--only", "seed=9"], "there is 0, 1"),
        (["status"], "nothing was submitted yet"),
        (["show", "zzzz"], "no such cell"),
        (["show", "digits/small-lif/clen/s0"], "did you mean digits/small-lif/clean/s0"),
        (["logs", "digits/small-lif/clean/s0"], "has no such attempt"),
        (["collect"], "no such run root"),
        (["collect", "--root", "/nowhere"], "no such run root"),
    ],
)
def test_mistakes_end_in_2_with_one_message(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_an_unknown_command_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["sumbit"])
    assert stop.value.code == 2
    assert "invalid choice: 'sumbit'" in capsys.readouterr().err


def test_a_bad_manifest_shows_every_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(TINY.replace("epochs: 1", "epohcs: 1").replace("neuron: if", "neuron: fi"))
    assert main(["submit", str(path)]) == 2
    message = capsys.readouterr().err
    assert f"{path}:5:32: defaults.model.neuron" in message
    assert "did you mean 'epochs'?" in message
    assert message.endswith("2 errors, nothing written\n")
    assert not (tmp_path / "runs").exists()


def test_plan_writes_nothing_and_runs_nothing(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert main(["plan", str(tiny)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny · 2 cells · 2 trainings · 4 rows"
    assert "2 train     new" in lines[1]
    assert lines[-1].startswith("next: ")
    assert not (tmp_path / "runs").exists()


def test_plan_as_json_is_one_document(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tiny), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert [cell["action"] for cell in document["cells"]] == ["train", "train"]


def test_plan_works_from_another_directory(tiny: Path, tmp_path: Path) -> None:
    launcher = CHECKOUT / "launch.py"
    done = subprocess.run(
        [sys.executable, launcher, "plan", tiny.name], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 cells" in done.stdout
    assert str(launcher) in done.stdout


def test_a_recorded_grid_needs_nothing_and_a_longer_one_evaluations_only(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.expand.manifest import read

    root = run_root(tmp_path)
    for cell in read(tiny).cells:
        finish(root, cell, attacks=1)
    main(["plan", str(tiny)])
    assert "2 evaluate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words", "message"),
    [
        ("", ["--cluster", "slurm"], "sbatch is not on the PATH"),
        ("resources: {gpus_per_node: 1}\n", ["--cluster", "local"], "this machine has 0"),
        ("resources: {nodes: 2}\n", ["--cluster", "local"], "this is one machine"),
    ],
)
def test_what_this_machine_cannot_do_ends_in_3(
    tiny: Path,
    more: str,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/bin-without-slurm")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    tiny.write_text(TINY + more)
    assert main(["submit", str(tiny), *words]) == 3
    assert message in capsys.readouterr().err


def test_a_run_root_that_cannot_be_written_ends_in_3(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = ["submit", str(tiny), "--cluster", "local", "--root", str(tmp_path / "file" / "runs")]
    assert main(words) == 3
    assert "choose another folder with --root" in capsys.readouterr().err


def test_a_newer_run_root_is_refused_before_any_write(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "format.json").write_text('{"format": 99}\n')
    assert main(["submit", str(tiny), "--cluster", "local"]) == 3
    assert "has layout 99" in capsys.readouterr().err
    assert os.listdir(tmp_path / "runs") == ["format.json"]


def test_hours_are_bounded_on_request(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", str(tiny), "--cluster", "local", "--max-gpu-hours", "1"]
    assert main(words) == 2
    assert "2 jobs could take up to 2 hours" in capsys.readouterr().err


def test_explain_names_the_keys_that_differ(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = "digits/small-if/clean/s0", "digits/small-if/clean/s1"
    assert main(["explain", a, b, "--manifest", str(tiny)]) == 0
    assert "seed: 0 → 1" in capsys.readouterr().out


def test_schema_is_draft_7(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "draft-07" in json.loads(capsys.readouterr().out)["$schema"]


def test_status_exit_code_tells_what_is_left(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.expand.manifest import read

    assert main(["status", str(tiny), "--exit-code"]) == 4
    root = run_root(tmp_path)
    for cell in read(tiny).cells:
        finish(root, cell)
    assert main(["status", str(tiny), "--exit-code"]) == 0
    assert "2 completed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("status --onyl state=failed", "launch.py status: error: there is no flag --onyl; did you"),
        ("status --onyl=x", "there is no flag --onyl; did you mean '--only'?"),
        ("plan tiny --jsn", "did you mean '--json'?"),
        ("status --qqqqqq", "there is no flag --qqqqqq\n"),
        ("status a b", "unexpected 'b'; a text with spaces needs quotes"),
        ("submit tiny --cluster slrum", "did you mean 'slurm'?"),
        ("stats", "did you mean 'status'?"),
    ],
)
def test_a_word_that_nobody_knows(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
