"""Which rows go together."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.selection import check_one_panel, named
from jobs.errors import UsageError

RESULTS, SAMPLES = analysis.example_study()


def test_clean_rows_stay_where_attacks_are_chosen_only() -> None:
    chosen = analysis.select(RESULTS, neuron="lif", space="pixel", attack=["fgsm"])
    assert set(chosen["attack"]) == {"clean", "fgsm"}
    assert set(chosen["neuron"]) == {"lif"}
    assert set(analysis.select(RESULTS, epsilon_num=8)["attack"]) == {"fgsm", "pgd"}


@pytest.mark.parametrize("radius", ["8/255", 8 / 255, ["0", "8/255"]])
def test_a_radius_may_be_a_fraction(radius: object) -> None:
    found = set(analysis.select(RESULTS, epsilon=radius)["epsilon_num"])
    assert found == ({0, 8} if isinstance(radius, list) else {8})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"epsilon": "x"}, "no row has epsilon='x'; there is 0, 4/255, 8/255, 16/255$"),
     ({"space": "repeated"}, "no row has space='repeated'; there is pixel"),
     ({"neurn": "lif"}, "no column 'neurn'")],
)  # fmt: skip
def test_what_is_not_there_is_named(wanted: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        analysis.select(RESULTS, **wanted)


def test_results_without_samples_are_named() -> None:
    with pytest.raises(UsageError, match="1 of 120 results have no samples, first digits/small-"):
        analysis.with_masks(RESULTS, SAMPLES.iloc[1:])
    other = RESULTS.assign(correct=RESULTS["correct"] - (RESULTS.index == 3))
    with pytest.raises(UsageError, match="1 of 120 results count otherwise than their samples"):
        analysis.with_masks(other, SAMPLES)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("dataset", "mnist", r"2 datasets \(digits; mnist\)|2 datasets \(mnist; digits\)"),
        ("samples_sha256", "6" * 64, "2 evaluation sets .*select.results, samples_sha256="),
        ("space", "encoded", "2 threat models .*a radius means another thing.*space='"),
        ("norm", "l2", "2 threat models .*norm='"),
    ],
)
def test_what_says_different_things_is_not_put_side_by_side(
    column: str, value: str, message: str
) -> None:
    other = RESULTS.astype({column: "object"})
    half = (other["seed"] == 1) & (other["attack"] != "clean")
    mixed = other.assign(**{column: other[column].where(~half, value)})
    with pytest.raises(UsageError, match=message):
        check_one_panel(named(mixed), "to_latex")


def test_a_seed_that_would_count_twice_is_refused() -> None:
    twice = pd.concat([RESULTS, RESULTS.iloc[[3]].assign(model_sha256="other")])
    with pytest.raises(UsageError, match="4 rows for 3 seeds; one seed would count twice"):
        analysis.summary(twice)


def test_worst_cases_over_fewer_attacks_are_left_out() -> None:
    some = RESULTS[(RESULTS["neuron"] != "lif") | (RESULTS["attack"] != "pgd")]
    worst = analysis.worst_case(some, SAMPLES)
    kept = analysis.most_attacked(worst)
    assert set(kept.loc[kept["epsilon_num"] > 0, "neuron"]) == {"plif"}
    assert len(kept[kept["epsilon_num"] == 0]) == 12


def test_of_equally_many_attacks_those_of_more_networks_are_the_reference() -> None:
    # three networks met fgsm alone, nine pgd alone
    fgsm = RESULTS["attack"] == "fgsm"
    one = (RESULTS["neuron"] == "lif") & (RESULTS["regime"] == "clean")
    pgd = (RESULTS["attack"] == "pgd") & (RESULTS["surrogate"] == "own")
    worst = analysis.worst_case(RESULTS[(fgsm & one) | (pgd & ~one)], SAMPLES)
    kept = analysis.most_attacked(worst)
    assert (len(worst), len(kept)) == (36, 27)
    assert set(kept["attacks"]) == {"pgd-10"}


@pytest.mark.parametrize("function", [analysis.summary, analysis.robustness_curves,
    analysis.eps50, analysis.area_under_curve])  # fmt: skip
def test_inputs_are_left_as_they_are(function: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    before = RESULTS.copy(deep=True)
    function(RESULTS)
    pd.testing.assert_frame_equal(RESULTS, before)


def test_seed_and_sample_intervals_are_apart() -> None:
    point = analysis.summary(
        analysis.select(RESULTS, neuron="lif", regime="clean", epsilon_num=8)
    ).iloc[-1]
    assert point["seed_low"] < point["lowest"] <= point["mean"] <= point["highest"]
    assert point["sample_high"] - point["sample_low"] > point["highest"] - point["lowest"]
    one = analysis.summary(analysis.select(RESULTS, seed=0))
    assert one[["seed_low", "seed_high", "deviation"]].isna().all(axis=None)
    assert np.isfinite(one["sample_low"]).all()
