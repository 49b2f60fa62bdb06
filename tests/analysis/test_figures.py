"""Figures for papers: files, captions, looks, and what is not drawn."""

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
    assert len({(line.marker, str(line.dashes), line.hollow) for line in lines.values()}) == 4
    one = style.line_styles(points[points["network"] == "small-lif"])
    assert len({line.colour for line in one.values()}) == 2


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
    with pytest.raises(UsageError, match=r"no network has epsilon 0\.5; there are 0, 0\.0156"):
        analysis.draw_tradeoff(WORST, "1/2")


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
