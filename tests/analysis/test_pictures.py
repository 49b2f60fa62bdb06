"""The figure and the plain-text table."""

import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.curves import plot_curves
from analysis.summary_text import collected_text, robustness_text
from jobs.errors import UsageError
from snnlib.spec.attack import FGSM, PGD, Clean
from snnlib.spec.neuron import ATan
from tests.analysis.synthetic import SyntheticRoot, mask, spec


def test_figure_is_written_as_svg_and_png(results: pd.DataFrame, tmp_path: Path) -> None:
    svg, png = plot_curves(results, tmp_path / "new" / "curves.png", title="Digits")
    assert png.read_bytes().startswith(b"\x89PNG")
    texts = {element.text for element in ElementTree.parse(svg).iter() if element.text}
    wanted = {"Digits", "digits · pgd-10 · pixel", "small-lif, adversarial fgsm@8/255", "ε (/255)"}
    assert wanted <= texts
    assert any("2 seeds" in text and "400 samples" in text for text in texts)


def test_more_settings_than_looks_are_refused(results: pd.DataFrame, tmp_path: Path) -> None:
    one = results[results["configuration"] == results["configuration"].iloc[0]]
    many = pd.concat([one.assign(regime=f"r{i}", configuration=f"c{i}") for i in range(170)])
    with pytest.raises(UsageError, match="settings are more than one figure can tell apart"):
        plot_curves(many, tmp_path / "curves")


def test_figure_is_the_same_every_time(results: pd.DataFrame, tmp_path: Path) -> None:
    first, second = (plot_curves(results, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_text_of_a_figure_is_no_formula_and_no_control_character(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    hostile = results.assign(neuron="$\\frac{x$\x1b[31m")
    svg, _ = plot_curves(hostile, tmp_path / "curves")
    texts = "".join(ElementTree.parse(svg).getroot().itertext())
    assert "small-$\\frac{x$\ufffd[31m #" in texts


def test_figure_of_nothing_is_refused(results: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to draw, none of the 8 rows has an attack"):
        plot_curves(results[results["attack"] == "clean"], tmp_path / "curves")


def test_table_of_the_quickstart(made: SyntheticRoot) -> None:
    for seed, lost in ((0, 0), (1, 4)):
        what = spec(seed, adversarial=True)
        made.train(what)
        made.evaluate(what, Clean(), {Fraction(0): mask(394 - lost, 400)})
        for attack in (FGSM(), PGD()):
            made.evaluate(what, attack, {Fraction(8, 255): mask(300 - lost, 400)})
    lines = collected_text(collect([made.path])).splitlines()
    assert lines[0].startswith("results 6 rows (+6) · trainings 2 (+2) · attempts 2 (+2) → ")
    assert lines[1:] == [
        "worst case over attacks, in % (mean over 2 seeds ± half their range)",
        "                       clean       8/255",
        "small-lif adversarial  98.0 ± 0.5  74.5 ± 0.5",
        "attacks: fgsm, pgd-10 · linf in pixel space, clipped to [0, 1]",
        "digits test samples: n = 400 · seeds: 0, 1",
        "adversarial: fgsm@8/255",
    ]


def test_many_radii_fit_a_terminal(made: SyntheticRoot) -> None:
    for seed in (0, 1):
        made.train(spec(seed))
        grid = {Fraction(n, 255): mask(400 - n - seed, 400) for n in range(1, 31)}
        made.evaluate(spec(seed), FGSM(), grid)
    text = collected_text(collect([made.path]))
    assert max(map(len, text.splitlines()[1:])) <= 100
    assert "30/255" in text
    assert "23 more radii are in the table `results`" in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_cell_under_other_attacks_is_marked(made: SyntheticRoot, seeds: int) -> None:
    other = PGD(surrogate=ATan())
    for seed in range(seeds):
        made.train(spec(seed, "if"))
        made.evaluate(spec(seed, "if"), FGSM(), {Fraction(8, 255): mask(5, 10)})
    made.train(spec(0))
    made.evaluate(spec(0), other, {Fraction(8, 255): mask(3, 10)})
    text = collected_text(collect([made.path]))
    assert re.search(r"small-if  clean  50\.0( ± 0\.0)?\n", text)
    assert re.search(r"small-lif clean  30\.0\*\n", text)
    assert "attacks: fgsm · linf" in text
    assert "* not under all attacks yet, only under pgd-10 atan(alpha=2)" in text


def test_a_cell_under_fewer_attacks_is_marked(made: SyntheticRoot) -> None:
    for what in (spec(0), spec(0, "if")):
        made.train(what)
        made.evaluate(what, FGSM(), {Fraction(8, 255): mask(5, 10)})
    made.evaluate(spec(0), PGD(), {Fraction(8, 255): mask(3, 10)})
    lines = collected_text(collect([made.path])).splitlines()
    assert "small-if  clean  50.0*" in lines
    assert "small-lif clean  30.0" in lines
    assert "* not under all attacks yet, only under fgsm" in lines


def test_seeds_that_met_fewer_attacks_stay_out_of_the_mean(made: SyntheticRoot) -> None:
    for seed in (0, 1):
        made.train(spec(seed))
        made.evaluate(spec(seed), FGSM(), {Fraction(8, 255): mask(9 - seed, 10)})
    made.evaluate(spec(0), PGD(), {Fraction(8, 255): mask(3, 10)})
    assert "small-lif clean  30.0" in collected_text(collect([made.path])).splitlines()


def test_clean_rows_alone_and_none_at_all(results: pd.DataFrame, samples: pd.DataFrame) -> None:
    clean = robustness_text(results[results["attack"] == "clean"], samples)
    assert clean.startswith("clean accuracy, in % (mean over 2 seeds ± half their range)\n")
    assert "attacks" not in clean
    assert robustness_text(results.iloc[:0], samples) == (
        "no results yet: no finished training has a record"
    )


def test_load_default_is_results(grid: Path) -> None:
    assert len(analysis.load(root=grid)) == 88
