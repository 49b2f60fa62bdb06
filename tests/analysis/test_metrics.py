"""Metrics of networks, against values worked out by hand."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.masking import gaps
from analysis.statistics import student, wilson
from jobs.errors import UsageError
from snnlib.spec.attack import FGSM, PGD, Clean, Square
from snnlib.spec.neuron import Triangle
from tests.analysis.synthetic import SyntheticRoot, mask, spec

EIGHT = Fraction(8, 255)


def frames(made: SyntheticRoot) -> tuple[pd.DataFrame, pd.DataFrame]:
    collect([made.path])
    return analysis.load("results", made.path), analysis.load("samples", made.path)


def curve(made: SyntheticRoot, clean: int, *robust: int, seed: int = 0) -> None:
    """A network with so many of 10 right: clean, then under FGSM at 2/10, 4/10, …"""
    made.train(spec(seed))
    made.evaluate(spec(seed), Clean(), {Fraction(0): mask(clean, 10)})
    points = {Fraction(2 * (n + 1), 10): mask(right, 10) for n, right in enumerate(robust)}
    made.evaluate(spec(seed), FGSM(), points)


def test_students_interval_of_three() -> None:
    # t(0.975, 2 degrees of freedom) = 4.302653
    assert student(1.0, 3) == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert np.isnan(student(np.nan, 1))


def test_the_area_is_a_mean_over_radii(made: SyntheticRoot) -> None:
    curve(made, 10, 6, 0)
    results, _ = frames(made)
    assert analysis.area_under_curve(results)["area"].tolist() == [pytest.approx(0.55)]
    half = analysis.area_under_curve(results, "3/10").iloc[0]  # 0.3 there, between 0.6 and 0
    assert half["area"] == pytest.approx((0.8 * 0.2 + 0.45 * 0.1) / 0.3)
    assert (half["until"], half["points"]) == (pytest.approx(0.3), 3)


def test_areas_over_different_radii_are_refused(made: SyntheticRoot) -> None:
    curve(made, 10, 6, 0)
    curve(made, 10, 7, seed=1)
    results, _ = frames(made)
    with pytest.raises(UsageError, match=r"ends at epsilon 0\.2, .* at 0\.4, .*until='1/5'"):
        analysis.area_under_curve(results)
    with pytest.raises(UsageError, match=r"seed 1 under fgsm ends at 0\.2, before until=2/5"):
        analysis.area_under_curve(results, "2/5")
    assert len(analysis.area_under_curve(results, "1/5")) == 2


@pytest.mark.parametrize(
    ("accuracies", "eps50", "outside"),
    [
        ((10, 6, 4, 0), 0.3, ""),
        ((10, 5, 4, 0), 0.2, ""),
        ((10, 2, 8, 0), 0.125, ""),
        ((10, 9, 8, 7), np.nan, "beyond"),
        ((4, 3, 2, 1), np.nan, "below"),
        ((5, 3, 2, 1), 0.0, ""),
    ],
)
def test_eps50_is_where_the_curve_first_crosses(
    made: SyntheticRoot, accuracies: tuple[int, ...], eps50: float, outside: str
) -> None:
    curve(made, *accuracies)
    row = analysis.eps50(frames(made)[0]).iloc[0]
    assert row["eps50"] == pytest.approx(eps50, nan_ok=True)
    assert (row["outside"], row["last"]) == (outside, pytest.approx(0.6))


def test_a_mean_over_seeds_with_one_outside_is_unknown(made: SyntheticRoot) -> None:
    curve(made, 10, 6, 4)
    curve(made, 10, 9, 8, seed=1)
    point = analysis.over_seeds(analysis.eps50(frames(made)[0]), "eps50").iloc[0]
    assert np.isnan(point["mean"])
    assert point["seeds"] == 2


def test_curves_without_a_clean_row_are_refused(made: SyntheticRoot) -> None:
    made.train(spec())
    made.evaluate(spec(), FGSM(), {EIGHT: mask(5, 10)})
    results, samples = frames(made)
    for function in (analysis.eps50, analysis.area_under_curve):
        with pytest.raises(UsageError, match="seed 0 under fgsm has no clean accuracy to start at"):
            function(results)
    with pytest.raises(UsageError, match="s0 has no clean row, so it is unknown what was right"):
        analysis.attack_success_rate(results, samples)


def test_success_is_of_what_was_right_before(made: SyntheticRoot) -> None:
    made.train(spec())
    made.evaluate(spec(), Clean(), {Fraction(0): (True, True, True, False)})
    made.evaluate(spec(), FGSM(), {EIGHT: (True, False, False, True)})
    row = analysis.attack_success_rate(*frames(made)).iloc[0]
    assert (row["fooled"], row["attackable"], row["success_rate"]) == (2, 3, pytest.approx(2 / 3))
    assert (row["success_low"], row["success_high"]) == pytest.approx(np.ravel(wilson(2, 3)))


def test_the_gap_is_what_only_other_attacks_break(made: SyntheticRoot) -> None:
    made.train(spec())
    made.evaluate(spec(), Clean(), {Fraction(0): (True, True, True, True)})
    made.evaluate(spec(), PGD(), {EIGHT: (False, True, True, True)})
    made.evaluate(spec(), PGD(surrogate=Triangle()), {EIGHT: (True, False, True, True)})
    made.evaluate(spec(), Square(queries=9), {EIGHT: (True, True, False, True)})
    row = analysis.masking_gap(*frames(made)).iloc[0]
    assert (row["own_accuracy"], row["worst_accuracy"], row["gap"]) == (0.75, 0.25, 0.5)
    assert (row["gap_low"], row["gap_high"]) == pytest.approx(np.ravel(wilson(2, 4)))
    assert row["own_attacks"] == "pgd-10"
    assert row["other_attacks"].startswith("pgd-10 triangle(gamma=1), square")


def test_without_other_attacks_the_gap_is_unknown(made: SyntheticRoot) -> None:
    curve(made, 10, 6)
    results, samples = frames(made)
    gaps = analysis.masking_gap(results, samples)
    assert gaps[["gap", "gap_low", "gap_high"]].isna().all(axis=None)
    with pytest.raises(UsageError, match="no attack went through the networks' own surrogate"):
        analysis.masking_gap(results.assign(surrogate="atan(alpha=2)"), samples)


def test_gaps_against_other_attacks_are_other_quantities() -> None:
    results, samples = analysis.example_study()
    fewer = (results["seed"] == 1) & (results["attack"] == "fgsm")
    gaps = analysis.masking_gap(results[~fewer], samples)
    means = analysis.over_seeds(gaps, "gap")
    assert set(zip(means["own_attacks"], means["seed_list"], strict=True)) == {
        ("pgd-10", (1,)),
        ("fgsm, pgd-10", (0, 2)),
    }
    with pytest.raises(UsageError, match="6 rows for 3 seeds; one seed would count twice"):
        analysis.over_seeds(pd.concat([gaps, gaps]).assign(own_attacks=""), "gap")


@pytest.mark.parametrize(
    "other",
    [
        PGD(restarts=5, gradient="tsslbp"),
        PGD(random_start=False, gradient="tsslbp"),
        PGD(clip=False, gradient="tsslbp"),
        PGD(draws=3, gradient="tsslbp"),
    ],
)
def test_only_the_gradient_rule_differs_in_a_pair(made: SyntheticRoot, other: PGD) -> None:
    made.train(spec())
    made.evaluate(spec(), PGD(), {EIGHT: mask(5, 10)})
    made.evaluate(spec(), other, {EIGHT: mask(6, 10)})
    assert gaps(frames(made)[0]).empty
    made.evaluate(spec(), PGD(gradient="tsslbp"), {EIGHT: mask(8, 10)})
    assert gaps(frames(made)[0])["gap"].tolist() == [pytest.approx(0.3)]


def test_there_is_no_area_without_an_attack() -> None:
    results, samples = analysis.example_study()
    clean = analysis.worst_case(results[results["attack"] == "clean"], samples)
    for frame, until in ((clean, None), (results, "0")):
        with pytest.raises(UsageError, match="would end at radius 0, where there is no area"):
            analysis.area_under_curve(frame, until)


def test_sparsity_weighs_layers_by_their_size() -> None:
    layers = pd.DataFrame(
        {
            "kind": ["image", "encoder", "conv", "neuron"],
            "output_size": [10, 99, 100, 300],
            "output_zero_share": [0.1, 1.0, 0.2, 0.6],
            "output_near_zero_share": [0.3, 1.0, 0.2, 0.8],
        }
    ).assign(training_id="a", stage_id="s", model_sha256="m", threshold=1e-3)
    row = analysis.gradient_sparsity(layers).iloc[0]
    assert (row["layers_zero"], row["layers_near_zero"]) == pytest.approx((0.5, 0.65))
    assert (row["image_zero"], row["image_near_zero"]) == pytest.approx((0.1, 0.3))


def finish(made: SyntheticRoot, **changed: object) -> Path:
    """A training of two epochs; `changed` replaces what its second line says."""
    made.train(spec())
    (path,) = made.path.glob("cells/*/*/training.json")
    line: dict[str, object] = {
        "epoch": 1,
        "loss": 2.0,
        "train_accuracy": 0.5,
        "validation_correct": 8,
    }
    line |= {"validation_total": 10, "lr": 0.02, "seconds": 1.0, "firing_rates": {"a": 1, "b": 2}}
    history = [line, {**line, "epoch": 2, "firing_rates": {}, **changed}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "history": history}))
    collect([made.path])
    return path


def test_training_curves_have_a_row_for_each_epoch(made: SyntheticRoot) -> None:
    finish(made, validation_correct=0, validation_total=0)
    curves = analysis.training_curves(analysis.load("trainings", made.path))
    assert curves["epoch"].tolist() == [1, 2]
    assert curves["accuracy"].tolist() == [0.8, 0.5]
    assert curves["firing_rate"].fillna(-1).tolist() == [1.5, -1]
    assert set(curves["network"]) == {"small-lif"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"loss": "low"}, "epoch_loss is [2.0, 'low'], expected list[float64]"),
        ({"validation_correct": 0.5}, "epoch_validation_correct is [8, 0.5]"),
        ({"firing_rates": 7}, "its history has another shape"),
    ],
)
def test_a_foreign_history_is_left_out_and_the_training_stays(
    made: SyntheticRoot, changed: dict[str, object], words: str
) -> None:
    finish(made, **changed)
    (warning,) = collect([made.path]).warnings
    assert words in warning
    assert warning.endswith("left out")
    trainings = analysis.load("trainings", made.path)
    assert (len(trainings), len(analysis.training_curves(trainings))) == (1, 0)


def test_a_training_without_a_history_has_no_curves(made: SyntheticRoot) -> None:
    made.train(spec())
    collect([made.path])
    trainings = analysis.load("trainings", made.path)
    assert trainings["epoch_loss"].isna().all()
    assert analysis.training_curves(trainings).empty
    with pytest.raises(UsageError, match="lacks epoch_lr; take a frame of"):
        analysis.training_curves(trainings.drop(columns="epoch_lr"))
