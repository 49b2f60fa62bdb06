"""Statistics against values worked out by hand."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.statistics import robustness_curves, summary, wilson, worst_case
from snnlib.spec.attack import FGSM, PGD, Clean
from tests.analysis.synthetic import SyntheticRoot, mask, spec

EIGHT = Fraction(8, 255)


# Newcombe 1998, Statistics in Medicine 17, 857-872, table I: method 3, rounded to four places
@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_agrees_with_published_intervals(
    correct: int, total: int, low: float, high: float
) -> None:
    np.testing.assert_allclose(wilson(correct, total), (low, high), atol=5e-5)


def test_wilson_takes_arrays_and_widens_with_confidence() -> None:
    low, high = wilson([5, 50], [10, 100])
    wider = wilson([5, 50], [10, 100], confidence=0.99)
    assert low.shape == (2,)
    assert (wider[0] < low).all()
    assert (wider[1] > high).all()
    assert high[0] - low[0] > high[1] - low[1]


def frames(made: SyntheticRoot) -> tuple[pd.DataFrame, pd.DataFrame]:
    collect([made.path])
    return analysis.load("results", made.path), analysis.load("samples", made.path)


def test_summary_keeps_seeds_and_samples_apart(made: SyntheticRoot) -> None:
    for seed, correct in enumerate((80, 90, 100)):
        made.train(spec(seed))
        made.evaluate(spec(seed), FGSM(), {EIGHT: mask(correct, 100)})
    point = summary(frames(made)[0]).iloc[0]
    assert (point["mean"], point.lowest, point.highest) == (pytest.approx(0.9), 0.8, 1.0)
    assert (point.seeds, point.seed_list, point.total) == (3, (0, 1, 2), 100)
    np.testing.assert_allclose((point.sample_low, point.sample_high), np.ravel(wilson(90, 100)))


def test_worst_case_is_an_and_of_masks_not_a_minimum_of_means(made: SyntheticRoot) -> None:
    made.train(spec(0))
    made.evaluate(spec(0), Clean(), {Fraction(0): (True, True, True, False)})
    made.evaluate(spec(0), FGSM(), {EIGHT: (True, True, False, True)})
    made.evaluate(spec(0), PGD(), {EIGHT: (False, True, True, True)})
    worst = worst_case(*frames(made)).sort_values("epsilon")
    assert worst["correct"].tolist() == [3, 1]
    assert worst["attacks"].tolist() == ["", "fgsm, pgd-10"]


def test_worst_case_combines_equal_samples_and_one_threat_model_only(made: SyntheticRoot) -> None:
    made.train(spec(0))
    made.evaluate(spec(0), FGSM(), {EIGHT: (True, False)})
    made.evaluate(spec(0), PGD(steps=3), {EIGHT: (False, True)}, samples_sha256="6" * 64)
    made.evaluate(spec(0), PGD(space="repeated"), {EIGHT: (False, True)})
    worst = worst_case(*frames(made))
    assert worst["correct"].tolist() == [1, 1, 1]
    assert sorted(worst["attacks"]) == ["fgsm", "pgd-10", "pgd-3"]


def test_a_worst_case_over_fewer_attacks_is_another_point(made: SyntheticRoot) -> None:
    for seed in (0, 1):
        made.train(spec(seed))
        made.evaluate(spec(seed), FGSM(), {EIGHT: mask(5, 10)})
    made.evaluate(spec(0), PGD(), {EIGHT: mask(3, 10)})
    points = summary(worst_case(*frames(made)))
    assert dict(zip(points["attacks"], points["mean"], strict=True)) == {
        "fgsm": 0.5,
        "fgsm, pgd-10": 0.3,
    }


def test_curves_start_at_the_clean_accuracy(results: pd.DataFrame) -> None:
    curves = robustness_curves(results)
    assert set(curves["attack_name"]) == {"fgsm", "pgd-10"}
    by = curves.groupby(["configuration", "attack_name"])
    assert by.size().tolist() == [6] * 8
    assert set(by["epsilon"].min()) == {0.0}
    clean = summary(results[results["attack"] == "clean"]).set_index("configuration")["mean"]
    starts = curves[curves["epsilon"] == 0].set_index("configuration")["mean"]
    assert starts.eq(clean.reindex(starts.index)).all()


def test_nothing_gives_nothing(made: SyntheticRoot) -> None:
    made.attempt(spec(0), 1, None)
    results, samples = frames(made)
    assert worst_case(results, samples).empty
    assert summary(results).empty
    assert robustness_curves(results).empty
