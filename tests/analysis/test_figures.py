"""Figures for papers: files, captions, looks, and what is not drawn."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.figures import style
from analysis.figures.sparsity import spearman
from analysis.figures.style import COLUMN_IN, Drawing
from jobs.errors import UsageError

RESULTS, SAMPLES = analysis.example_study()
WORST = analysis.worst_case(RESULTS, SAMPLES)


def gradients(results: pd.DataFrame = RESULTS) -> pd.DataFrame:
    """Tracked gradients of every network, one layer each, the clean ones sparser."""
    networks = results.drop_duplicates("training_id")
    near = np.where(networks["regime"] == "clean", 0.6, 0.3) + networks["seed"] / 50
    networks = networks[["training_id", "model_sha256"]]
    layer: dict[str, Any] = {"stage_id": "s", "threshold": 1e-3, "kind": "conv", "output_size": 64}
    return networks.assign(**layer, output_zero_share=0.1, output_near_zero_share=near)


@pytest.fixture(params=["curves", "tradeoff", "sparsity", "training"])
def draw(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Drawing]:
    """Draws a figure of each kind."""
    match request.param:
        case "curves":
            return lambda: analysis.draw_curves(WORST)
        case "tradeoff":
            return lambda: analysis.draw_tradeoff(WORST)
        case "sparsity":
            return lambda: analysis.draw_sparsity(gradients(), RESULTS, SAMPLES)
        case _:
            trainings = analysis.example_trainings()
            return lambda: analysis.draw_training(trainings)


@pytest.mark.slow
def test_files_are_vectors_that_repeat_and_say_what_they_show(
    draw: Callable[[], Drawing], tmp_path: Path
) -> None:
    drawing = draw()
    pdf, svg, png = drawing.save(tmp_path / "new")
    again = draw().save(tmp_path / "again")
    assert [p.read_bytes() for p in (pdf, svg, png)] == [p.read_bytes() for p in again]
    content = pdf.read_bytes()
    assert b"/Subtype /Type3" not in content  # conferences refuse those
    assert b"/CreationDate" not in content
    assert re.search(rb"/FontFile2", content)
    assert drawing.caption in "".join(ElementTree.parse(svg).getroot().itertext())
    assert float(drawing.figure.get_figwidth()) == COLUMN_IN
    assert png.read_bytes().startswith(b"\x89PNG")


def test_settings_differ_without_colour() -> None:
    points = analysis.robustness_curves(WORST)
    lines = style.line_styles(points)
    assert len(lines) == 4
    assert len({(line.marker, str(line.dashes), line.filling) for line in lines.values()}) == 4
    one = style.line_styles(points[points["network"] == "small-lif"])
    assert len({line.colour for line in one.values()}) == 2


@pytest.mark.parametrize(("trainings", "dashes"), [(12, True), (6, False)])
def test_settings_that_would_look_alike_are_refused(trainings: int, dashes: bool) -> None:
    def drawn(count: int) -> None:
        names = [{"network": n, "training": f"{t:02d}"} for n in "ab" for t in range(count)]
        lines = style.line_styles(pd.DataFrame(names))
        style.add_legend(style.figure(2)[0], lines, dashes=dashes)

    drawn(trainings)
    with pytest.raises(UsageError, match=f"{2 * trainings + 2} settings are more than one figure"):
        drawn(trainings + 1)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([0, 1, 2], "Student's 95 % interval of the mean over seeds"),
        ([0, 1], "lowest to highest seed"),
        ([0], "Wilson's 95 % interval over samples"),
    ],
)
def test_the_caption_says_which_interval_is_shown(seeds: list[int], text: str) -> None:
    caption = analysis.draw_curves(analysis.select(WORST, seed=seeds)).caption
    assert f"Bars: {text}" in caption
    assert f"mean over {len(seeds)} seed{'s' * (len(seeds) > 1)}; linf in pixel space" in caption


def test_the_radius_is_the_most_telling_or_as_asked() -> None:
    assert analysis.draw_tradeoff(WORST).name.endswith("worst-case-16-255")
    assert analysis.draw_tradeoff(WORST, "4/255").name.endswith("worst-case-4-255")
    with pytest.raises(UsageError, match=r"no network has epsilon 1/2; there are 0, 4/255"):
        analysis.draw_tradeoff(WORST, "1/2")


def test_both_accuracies_of_a_mark_are_over_the_same_seeds() -> None:
    some = WORST[(WORST["seed"] == 0) | (WORST["epsilon_num"] == 0)]
    (axes,) = analysis.draw_tradeoff(some, "8/255").figure.axes
    large = [line for line in axes.lines if line.get_markersize() == 5]
    clean = WORST[(WORST["seed"] == 0) & (WORST["epsilon_num"] == 0)]
    drawn = sorted(float(x) for line in large for x in np.asarray(line.get_xdata()))
    assert drawn == pytest.approx(sorted(100 * clean["accuracy"]))


def test_a_trade_off_needs_clean_accuracies() -> None:
    with pytest.raises(UsageError, match=r"epsilon 0\.03137 has its clean accuracy; evaluate"):
        analysis.draw_tradeoff(WORST[WORST["epsilon_num"] > 0], "8/255")


def test_radii_of_another_norm_are_no_grey_levels() -> None:
    l2 = WORST.assign(norm="l2", epsilon_den=1, epsilon=WORST["epsilon_num"].astype(float))
    assert analysis.draw_tradeoff(l2, "4").name.endswith("-l2-pixel-worst-case-4")
    (axes,) = analysis.draw_curves(l2).figure.axes
    assert axes.get_xlabel() == "ε (pixel range)"


JUDGED = analysis.example_trainings()
NONE = [np.zeros(3, np.int64)] * 3


@pytest.mark.parametrize(
    ("lost", "select", "label", "words"),
    [
        ([], "best_val", "validation", "accuracy on validation samples (under the regime's"),
        (["lif"], "best_val", "validation", "1 setting has no such samples, so that only the loss"),
        (["lif", "plif"], "best_val", "training", "accuracy on training samples, over epochs"),
        (["lif"], "best_test", "test", "accuracy on clean test samples, over epochs"),
        ([], "best_test", "test or validation", "accuracy on clean test samples of small-plif cle"),
    ],
)
def test_accuracies_on_other_samples_are_not_drawn_as_validated(
    lost: list[str], select: str, label: str, words: str
) -> None:
    trainings, spec = JUDGED.copy(), json.dumps({"regime": {"select": select}})
    trainings["spec"] = trainings["spec"].mask(trainings["neuron"] == "plif", spec)
    for neuron in lost:
        mine = trainings.index[trainings["neuron"] == neuron]
        trainings["epoch_validation_total"] = trainings["epoch_validation_total"].mask(
            trainings.index.isin(mine), pd.Series(NONE, mine)
        )
    drawing = analysis.draw_training(trainings)
    assert drawing.figure.axes[1].get_ylabel() == f"{label} accuracy (%)"
    assert words in drawing.caption


@pytest.mark.slow
def test_names_are_no_formulas_and_no_control_characters(tmp_path: Path) -> None:
    hostile = WORST.assign(
        network=WORST["network"].mask(WORST["neuron"] == "lif", "$\\frac{x$\x1b[31m")
    )
    _, svg, _ = analysis.draw_tradeoff(hostile, "8/255").save(tmp_path)
    assert "\\frac{x$\ufffd[31m" in svg.read_text()
    ElementTree.parse(svg)


def test_rank_correlation_and_its_p() -> None:
    x = pd.Series([1.0, 2, 3, 4, 5, 6, 7, 8])
    rho, p = spearman(x, x**3)
    assert rho == pytest.approx(1.0)
    assert p < 1e-3
    # 1 - 6 sum d^2 / n (n^2 - 1), d = 1, -1, 0, 0
    assert spearman(x[:4], pd.Series([2.0, 1, 3, 4]))[0] == pytest.approx(0.8)
    assert np.isnan(spearman(x, x * 0)).all()


def test_what_says_different_things_is_not_drawn_together() -> None:
    encoded = RESULTS["space"].astype(object).mask(RESULTS["seed"] == 1, "encoded")
    mixed = RESULTS.assign(space=encoded.where(RESULTS["attack"] != "clean"))
    fewer = RESULTS[(RESULTS["attack"] != "pgd") | (RESULTS["neuron"] != "lif")]
    refused: dict[str, Callable[[], Drawing]] = {
        "curves: 2 threat models": lambda: analysis.draw_curves(
            analysis.worst_case(mixed, SAMPLES)
        ),
        r"curves: 3 attacks \(fgsm, pgd-10": lambda: analysis.draw_curves(RESULTS),
        "tradeoff: fgsm, pgd-10.*: choose one": lambda: analysis.draw_tradeoff(RESULTS),
        "curves: at epsilon .* some networks met": lambda: analysis.draw_curves(
            analysis.worst_case(fewer, SAMPLES)
        ),
        "none of the 12 rows has an attack": lambda: analysis.draw_curves(
            RESULTS[RESULTS["attack"] == "clean"]
        ),
        "sparsity: no network has both": lambda: analysis.draw_sparsity(
            gradients().iloc[:0], RESULTS, SAMPLES
        ),
        "sparsity: no gap to draw": lambda: analysis.draw_sparsity(
            gradients(), analysis.select(RESULTS, attack="fgsm"), SAMPLES
        ),
    }
    for message, draw in refused.items():
        with pytest.raises(UsageError, match=message):
            draw()
