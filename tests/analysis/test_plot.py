"""`launch.py plot`: which figures it draws of a run root or a manifest, and what it says."""

import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from analysis.collecting.collect import collect
from analysis.figures.study import drawings
from jobs.cli import main
from jobs.errors import UsageError
from jobs.expand.manifest import parse
from snnlib.spec.attack import FGSM, PGD, Clean
from tests.analysis.synthetic import SyntheticRoot, mask, spec
from tests.examples import TINY


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collected run root of another study."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    made = SyntheticRoot(tmp_path / "runs")
    for seed in (0, 1):
        made.train(spec(seed))
        made.evaluate(spec(seed), Clean(), {Fraction(0): mask(98 - seed, 100)})
        for attack, right in ((FGSM(), 60), (PGD(), 50)):
            made.evaluate(spec(seed), attack, {Fraction(8, 255): mask(right + seed, 100)})
    collect([made.path])
    return made.path


@pytest.mark.slow
def test_all_that_can_be_drawn_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "--root", str(root)]) == 0
    names = sorted(path.name for path in (root / "tables" / "figures").glob("*.pdf"))
    stem = "digits-linf-pixel"
    assert names == [
        f"curves-{stem}-fgsm.pdf",
        f"curves-{stem}-pgd-10.pdf",
        f"curves-{stem}-worst-case.pdf",
        f"tradeoff-{stem}-worst-case-8-255.pdf",
    ]
    shown = capsys.readouterr()
    assert "curves-digits-linf-pixel-fgsm.pdf (also .svg, .png)\nAccuracy (fgsm)" in shown.out
    assert shown.out.splitlines()[-1].startswith("next: ")
    assert "not drawn: sparsity: no network has both tracked gradients and results" in shown.err


def test_one_kind_at_one_radius_in_a_folder(root: Path, tmp_path: Path) -> None:
    words = ["--kind", "tradeoff", "--epsilon", "8/255", "--out", str(tmp_path / "out")]
    assert main(["plot", "--root", str(root), *words]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_manifest_takes_its_own_cells_and_attacks(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    again = root / "tables" / "results.parquet"
    words = ["plot", str(path), "--root", str(root), "--kind", "curves"]
    assert main(words) == 2
    assert "curves: nothing to draw, none of the 0 results" in capsys.readouterr().err
    made = SyntheticRoot(root)
    for cell in parse(TINY.encode(), "tiny.yaml").cells:
        made.train(cell.training)
        for attack, radius in ((Clean(), 0), (FGSM(), 8), (PGD(), 8)):
            made.evaluate(cell.training, attack, {Fraction(radius, 255): mask(90 - radius, 100)})
    before = again.read_bytes()
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert ("pgd" in shown, "worst" in shown, "n = 100 samples" in shown) == (False, False, True)
    assert again.read_bytes() != before


@pytest.mark.parametrize("left_out", [".parts", "nothing"])
def test_tables_without_their_run_root_are_drawn_as_they_are(
    root: Path, tmp_path: Path, left_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "laptop"
    shutil.copytree(root / "tables", copied / "tables", ignore=shutil.ignore_patterns(left_out))
    shutil.rmtree(root)
    words = ["--kind", "tradeoff", "--out", str(tmp_path / "out")]
    assert main(["plot", "--root", str(copied), *words]) == 0
    assert "the tables stay as they were collected" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.pdf"))) == 1


def test_a_network_that_lacks_an_attack_is_left_out_of_the_worst_case(root: Path) -> None:
    made = SyntheticRoot(root)
    made.train(spec(0, "if"))
    made.evaluate(spec(0, "if"), Clean(), {Fraction(0): mask(97, 100)})
    made.evaluate(spec(0, "if"), FGSM(), {Fraction(8, 255): mask(60, 100)})
    collect([root])
    (drawing,) = drawings("tradeoff", root).drawn
    assert "1 network has not met all attacks yet and is left out there." in drawing.caption


def test_a_panel_without_the_radius_is_passed_over_and_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = SyntheticRoot(root)
    made.evaluate(spec(0), PGD(norm="l2"), {Fraction(1, 2): mask(50, 100)})
    words = ["--kind", "tradeoff", "--epsilon", "8/255", "--out", str(tmp_path / "out")]
    assert main(["plot", "--root", str(root), *words]) == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("*.pdf"))
    assert names == ["tradeoff-digits-linf-pixel-worst-case-8-255.pdf"]
    said = "not drawn: digits l2 pixel: tradeoff: no network has epsilon 8/255; there are 0, 0.5"
    assert said in capsys.readouterr().err
    with pytest.raises(UsageError, match="tradeoff: no network has epsilon 1/4; there are 0, "):
        drawings("tradeoff", root, epsilon="1/4")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epsilon", "0"], "expected a radius, e.g. 8/255 or 0.03, got '0'"),
        (["--kind", "pie"], "invalid choice: 'pie'"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plot", *words])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "curves", "--epsilon", "8/255"], "--epsilon: curves shows all radii"),
        (["--kind", "tradeoff", "--out", "/dev/null/x"], "name another folder with --out"),
    ],
)
def test_what_cannot_be_done_names_the_way_out(
    root: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", "--root", str(root), *words]) > 1
    assert message in capsys.readouterr().err


def test_nothing_collected_names_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert main(["plot", "--root", str(tmp_path)]) == 2
    assert "no cell has been started here" in capsys.readouterr().err
