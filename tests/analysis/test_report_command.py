"""`report` on the command line: what it collects, where the page goes, what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import analysis
from jobs import identity
from jobs.cli import main
from jobs.commands.reporting import speaks_of
from jobs.expand.manifest import read
from tests.analysis import report_root
from tests.analysis.report_root import SEEN
from tests.analysis.synthetic import SyntheticRoot, spec


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest beside its run root, to be copied."""
    return report_root.write(tmp_path_factory.mktemp("written")).parent


@pytest.fixture
def manifest(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest beside its run root `runs`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("SPIKEGRID_SITE", raising=False)
    monkeypatch.setenv("SPIKEGRID_ROOT", str(tmp_path / "runs"))
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "shown.yaml"


def test_it_collects_and_tells_the_studys_story(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(manifest)]) == 0
    path = manifest.parent / "runs/tables/report.html"
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"shown: {path} (0.0")
    assert said[-1].startswith("next: ")
    html = path.read_text()
    assert "12 cells</b>: 8 completed · 3 new · 1 failed" in html
    assert "RuntimeError: it broke</pre>" in html
    assert "core hours" in html  # its one attempt held no GPU


def test_a_terminal_sees_no_escapes(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = next((manifest.parent / "runs/cells").glob("*/*/evaluations/*.json"))
    torn.with_name(f"\x1b[31m{torn.name}").write_text("{")
    torn.write_text(SEEN)
    page = manifest.with_suffix(".html")
    assert main(["report", str(manifest), "--out", str(page)]) == 0
    captured = capsys.readouterr()
    assert "content does not match its name" in captured.err
    assert "\x1b" not in captured.err + captured.out
    assert "on these numbers" in page.read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "nothing was submitted yet; name a manifest"),
        (["nothing.yaml"], 2, "nothing.yaml"),
        (["shown.yaml", "--root", "empty"], 2, "there is no such run root; submit a manifest"),
        (["shown.yaml", "--out", "runs"], 3, "name another file with --out"),
    ],
)
def test_mistakes_name_the_way_out(
    manifest: Path,
    words: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(manifest.parent)
    assert main(["report", *words]) == code
    assert message in capsys.readouterr().err


def test_tables_of_several_run_roots_stay_merged(manifest: Path, tmp_path: Path) -> None:
    other = SyntheticRoot(tmp_path / "other")
    other.train(spec(2, "if"))
    runs = str(tmp_path / "runs")
    main(["collect", "--root", runs, "--root", str(other.path)])
    main(["report", str(manifest)])
    assert "of 9 trained networks" in (tmp_path / "runs/tables/report.html").read_text()


def test_merged_run_roots_keep_their_precedence(manifest: Path, tmp_path: Path) -> None:
    """Of the later ones the first counts, though the tables meet the other one's attempts first."""
    one, other = (SyntheticRoot(tmp_path / name) for name in ("one", "other"))
    first, second = sorted((spec(seed, "if") for seed in range(3, 6)), key=identity.training_id)[:2]
    other.train(first)
    for made, model in ((one, "1" * 64), (other, "2" * 64)):
        made.train(second, model)
    roots = [tmp_path / "runs", one.path, other.path]
    main(["collect", *(f"--root={root}" for root in roots)])
    main(["report", str(manifest)])
    trainings = analysis.load("trainings", tmp_path / "runs").set_index("training_id")
    assert trainings.loc[identity.training_id(second), "model_sha256"] == "1" * 64


def test_a_merged_run_root_that_went_away_takes_nothing_along(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = SyntheticRoot(tmp_path / "other")
    other.train(spec(2, "if"))
    main(["collect", "--root", str(tmp_path / "runs"), "--root", str(other.path)])
    shutil.rmtree(other.path)
    assert main(["report", str(manifest)]) == 0
    assert f"{other.path}, a part of them, is not there" in capsys.readouterr().err
    assert "of 9 trained networks" in (tmp_path / "runs/tables/report.html").read_text()


@pytest.mark.parametrize(
    ("where", "cells"),
    [
        ({}, 12),
        ({"model.neuron": "lif"}, 6),
        ({"model": {"neuron": "if", "time_steps": 4}, "seed": 0}, 2),
        ({"regime": "adversarial", "regime.epsilon": "8/255"}, 6),
        ({"regime.epsilon": "0.5"}, 0),
        ({"model.neuron.tau": 2}, 6),
        ({"attacks": ["fgsm"]}, 0),
        ({"faithful": "A"}, 0),
    ],
)
def test_a_reference_speaks_of_the_cells_that_it_fits(
    manifest: Path, where: dict[str, Any], cells: int
) -> None:
    found = [cell for cell in read(manifest).cells if speaks_of(where, cell)]
    assert len(found) == cells


def test_tables_that_cannot_be_written_are_shown_as_they_are(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["collect", "--root", str(tmp_path / "runs")])
    SyntheticRoot(tmp_path / "runs").train(spec(2, "if"))
    in_the_way = tmp_path / "runs/tables/gradients.parquet"
    in_the_way.unlink()
    in_the_way.mkdir()
    page = manifest.with_suffix(".html")
    assert main(["report", str(manifest), "--out", str(page)]) == 0
    assert "the tables stay as they were collected" in capsys.readouterr().err
    assert "the tables are older than this page" in page.read_text()
