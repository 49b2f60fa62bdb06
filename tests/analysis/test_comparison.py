"""Paired comparisons, against values worked out by hand or by enumeration."""

import itertools

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.comparison import holm, mcnemar, sign_flip
from jobs.errors import UsageError


@pytest.fixture(scope="module")
def worst() -> pd.DataFrame:
    return analysis.worst_case(*analysis.example_study())


@pytest.fixture(scope="module")
def masked() -> pd.DataFrame:
    return analysis.with_masks(*analysis.example_study())


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (9, 1, 22 / 1024), (1, 9, 22 / 1024), (5, 5, 1.0), (6, 0, 2 / 64)],
)
def test_mcnemar_is_a_coin_for_each_disagreement(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar(only_a, only_b) == pytest.approx(p, rel=1e-12)


def test_mcnemar_of_many_is_the_normal_limit() -> None:
    # z = (5200 - 4800 - 1) / sqrt(10,000) = 3.99, two-sided p = 6.61e-5
    assert mcnemar(5200, 4800) == pytest.approx(6.61e-5, rel=0.01)


@pytest.mark.parametrize("differences", [[3, -1, 2], [1, 1, 1, -2, 0], [2, 2, -1, 3, -3, 1]])
def test_sign_flips_agree_with_enumeration(differences: list[int]) -> None:
    sums = [
        abs(sum(s * abs(d) for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    share = np.mean([total >= abs(sum(differences)) for total in sums])
    assert sign_flip(differences) == pytest.approx(share, rel=1e-12)


def test_holm_passes_what_is_no_test() -> None:
    assert holm([]).tolist() == []
    found = holm([0.02, np.nan, 0.01])
    assert found[[0, 2]].tolist() == [0.02, 0.02]
    assert np.isnan(found[1])


def test_one_row_for_each_radius_and_both_intervals(worst: pd.DataFrame) -> None:
    a, b = (analysis.select(worst, regime="clean", neuron=n) for n in ("plif", "lif"))
    found = analysis.compare(a, b).set_index("epsilon_num")
    assert found.index.tolist() == [0, 4, 8, 16]
    row = found.loc[8]
    assert (row["a"], row["b"], row["attack"]) == (
        "small-plif clean",
        "small-lif clean",
        "worst case",
    )
    assert row["accuracy_a"] - row["accuracy_b"] == pytest.approx(row["difference"])
    assert (row["only_a"] - row["only_b"]) / (3 * 200) == pytest.approx(row["difference"])
    assert row["sample_low"] < row["difference"] < row["sample_high"]
    assert row["p"] <= row["p_holm"] <= 4 * row["p"] * (1 + 1e-12)


def test_one_seed_is_mcnemar_and_has_no_seed_interval(worst: pd.DataFrame) -> None:
    a, b = (analysis.select(worst, neuron=n, regime="adversarial", seed=0) for n in ("plif", "lif"))
    row = analysis.compare(a, b).iloc[-1]
    assert row["p"] == pytest.approx(mcnemar(int(row["only_a"]), int(row["only_b"])))
    assert (row["seeds"], row["seed_list"]) == (1, (0,))
    assert np.isnan([row["seed_low"], row["seed_high"]]).all()


def test_seeds_that_differ_take_significance_away(worst: pd.DataFrame) -> None:
    a = analysis.select(worst, neuron="plif", regime="adversarial").copy()
    b = analysis.select(worst, neuron="lif", regime="adversarial")
    # one seed of three is broken: many samples differ, but another training might turn it round
    a["mask"] = [m & (s < 2) for s, m in zip(a["seed"], a["mask"], strict=True)]
    row = analysis.compare(a, b).iloc[-1]
    assert row["p_holm"] < 0.05
    assert row["seed_low"] < 0 < row["seed_high"]
    assert not row["significant"]


def test_the_bootstrap_repeats_by_its_seed(worst: pd.DataFrame) -> None:
    a, b = (analysis.select(worst, regime="clean", neuron=n) for n in ("plif", "lif"))
    first, again, other = (analysis.compare(a, b, seed=s, resamples=99) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first["sample_low"].equals(other["sample_low"])


def test_the_bootstrap_covers_as_theory_says() -> None:
    # 40 of 200 samples gained, 10 lost: mean .15, standard error sqrt(.25 - .15**2) / sqrt(200)
    a = np.repeat([True, False, False], [40, 10, 150])
    b = np.repeat([False, True, False], [40, 10, 150])
    results, samples = analysis.example_study()
    rows = analysis.with_masks(analysis.select(results, neuron="lif", seed=0), samples)
    rows = rows[rows["attack"] == "clean"]
    mine, other = (rows[rows["regime"] == name].copy() for name in ("clean", "adversarial"))
    mine["mask"], other["mask"] = pd.Series([a], mine.index), pd.Series([b], other.index)
    row = analysis.compare(mine, other).iloc[0]
    error = np.sqrt(0.25 - 0.15**2) / np.sqrt(200)
    assert (row["sample_low"], row["sample_high"]) == pytest.approx(
        (0.15 - 1.96 * error, 0.15 + 1.96 * error), abs=0.006
    )


def test_attacks_are_compared_on_equal_networks(masked: pd.DataFrame) -> None:
    clean = analysis.select(masked, regime="clean", neuron="lif")
    pgd, fgsm = (analysis.select(clean, attack=n) for n in ("pgd", "fgsm"))
    found = analysis.compare(analysis.select(pgd, surrogate="own"), fgsm, of="attacks")
    assert found[["a", "b"]].drop_duplicates().to_numpy().tolist() == [["pgd-10", "fgsm"]]
    assert found["epsilon_num"].tolist() == [4, 8, 16]
    assert (found["difference"] < 0).all()


def test_what_cannot_be_paired_is_refused(worst: pd.DataFrame, masked: pd.DataFrame) -> None:
    lif, plif = (analysis.select(worst, neuron=n, regime="clean") for n in ("lif", "plif"))
    results, _ = analysis.example_study()
    refused = {
        "a has no masks; pass analysis.worst_case": (results, lif),
        "b has no rows": (plif, lif.iloc[:0]),
        r"b is 4 of them .*analysis.select\(b, configuration=": (plif, worst),
        "share no samples_sha256 .*choose rows that agree": (plif, lif.assign(samples_sha256="6")),
        "share no space": (plif, lif.assign(space="encoded")),
        "share no seed": (plif[plif["seed"] == 0], lif[lif["seed"] == 1]),
        "attacks is .*fgsm in b, so their numbers": (plif, lif.assign(attacks="fgsm")),
        "stands several times": (pd.concat([plif, plif]), lif),
    }
    for message, (a, b) in refused.items():
        with pytest.raises(UsageError, match=message):
            analysis.compare(a, b)


def test_attacks_that_are_not_the_same_are_named(masked: pd.DataFrame) -> None:
    hard = analysis.select(masked, regime="clean", epsilon="8/255", surrogate="own")
    a, b = hard[hard["neuron"] == "plif"], hard[hard["neuron"] == "lif"]
    one, other = a[a["attack"] == "fgsm"], b[b["attack"] == "pgd"]
    with pytest.raises(UsageError, match=r"share no attack_setting \(a: fgsm; b: pgd-10\)"):
        analysis.compare(one, other)


def test_attacks_of_two_threat_models_are_not_compared(masked: pd.DataFrame) -> None:
    lif = analysis.select(masked, regime="clean", neuron="lif")
    fgsm, pgd = analysis.select(lif, attack="fgsm"), analysis.select(lif, attack="pgd")
    other = analysis.select(pgd, surrogate="own").assign(space="encoded")
    with pytest.raises(UsageError, match="space is encoded in a and pixel in b"):
        analysis.compare(other, fgsm, of="attacks")
