"""Each thing that should not be is found, and what is as it should be is left alone."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from snnlib.spec.attack import FGSM, PGD, AnyAttack, Clean, Square
from snnlib.spec.neuron import Triangle
from tests.analysis.synthetic import SyntheticRoot, mask, spec

NONE, SMALL, LARGE, ALL = Fraction(0), Fraction(8, 255), Fraction(16, 255), Fraction(1)
Radii = dict[Fraction, int]


@pytest.fixture
def checked(made: SyntheticRoot) -> Callable[..., pd.DataFrame]:
    """Findings of networks with so many of 100 right, by seed and attack."""

    def found(*networks: dict[AnyAttack, Radii], **changed: Any) -> pd.DataFrame:
        for seed, outcomes in enumerate(networks):
            made.train(spec(seed))
            for attack, radii in outcomes.items():
                masks = {e: mask(right, 100) for e, right in radii.items()}
                made.evaluate(spec(seed), attack, masks, **(changed if seed else {}))
        collect([made.path])
        tables = (analysis.load(name, made.path) for name in ("results", "samples", "attempts"))
        return analysis.check(*tables)

    return found


WEAK: dict[str, dict[AnyAttack, Radii]] = {
    "robust_above_clean": {Clean(): {NONE: 60}, FGSM(): {SMALL: 80}},
    "rising_with_epsilon": {Clean(): {NONE: 99}, FGSM(): {SMALL: 50, LARGE: 70}},
    "iterative_weaker": {Clean(): {NONE: 99}, FGSM(): {SMALL: 50}, PGD(): {SMALL: 70}},
    "blind_stronger": {Clean(): {NONE: 99}, PGD(): {SMALL: 70}, Square(): {SMALL: 40}},
    "unbounded_survived": {Clean(): {NONE: 99}, PGD(): {ALL: 40}},
}


@pytest.mark.parametrize("name", WEAK)
def test_each_sign_of_a_failed_attack_is_found(
    checked: Callable[..., pd.DataFrame], name: str
) -> None:
    found = checked(WEAK[name])
    assert found["check"].tolist() == [name]
    row = found.iloc[0]
    assert row["where"].startswith("digits/small-lif/clean/s0 under ")
    assert row["severity"] == ("error" if name == "robust_above_clean" else "warning")
    assert row["way_out"]


SOUND: list[dict[AnyAttack, Radii]] = [
    {Clean(): {NONE: 99}, FGSM(): {SMALL: 50, LARGE: 53}},
    {Clean(): {NONE: 90}, FGSM(): {SMALL: 92}},
    {Clean(): {NONE: 99}, FGSM(): {SMALL: 50}, PGD(surrogate=Triangle()): {SMALL: 70}},
    {Clean(): {NONE: 99}, PGD(): {SMALL: 40, ALL: 12}, Square(): {SMALL: 70, ALL: 60}},
]


@pytest.mark.parametrize("outcomes", SOUND)
def test_chance_and_other_attackers_are_no_finding(
    checked: Callable[..., pd.DataFrame], outcomes: dict[AnyAttack, Radii]
) -> None:
    assert checked(outcomes)["check"].tolist() == []


@pytest.mark.parametrize(
    ("other", "samples_sha256"), [(PGD(space="encoded"), "5"), (PGD(steps=100), "6")]
)
def test_what_survives_in_one_space_or_set_is_not_hidden_by_another(
    made: SyntheticRoot, other: PGD, samples_sha256: str
) -> None:
    made.train(spec())
    made.evaluate(spec(), PGD(), {ALL: mask(180, 200)})
    made.evaluate(spec(), other, {ALL: mask(10, 100)}, samples_sha256=samples_sha256 * 64)
    collect([made.path])
    found = analysis.check(*(analysis.load(name, made.path) for name in ("results", "samples")))
    (what,) = found.loc[found["check"] == "unbounded_survived", "what"]
    assert what.startswith("180 of 200 samples withstand a radius of 1 in pixel space")


def test_trainings_that_share_a_label_are_told_apart(made: SyntheticRoot) -> None:
    # as of two manifests; only one met pgd
    ids = []
    for steps in (4, 8):
        ids.append(made.train(spec(time_steps=steps)))
        made.evaluate(spec(time_steps=steps), FGSM(), {SMALL: mask(50, 100)})
    made.evaluate(spec(time_steps=4), PGD(), {SMALL: mask(40, 100)})
    collect([made.path])
    results, samples = (analysis.load(name, made.path) for name in ("results", "samples"))
    vanished = results.assign(zero_gradient=results["total"])
    found = analysis.check(vanished, samples).set_index("check")["where"]
    assert found["missing_rows"] == f"digits/small-lif/clean/s0 #{ids[1][:8]}"
    assert found["zero_gradients"].str.endswith("under fgsm").sum() == 2


@pytest.mark.parametrize(("others", "found"), [(0, ["rising_with_epsilon"]), (9, [])])
def test_many_pairs_need_more_evidence(
    checked: Callable[..., pd.DataFrame], others: int, found: list[str]
) -> None:
    # six samples more: p = 2/64 for one pair, but not for one of ten
    lost: dict[AnyAttack, Radii] = {Clean(): {NONE: 99}, FGSM(): {SMALL: 50, LARGE: 56}}
    flat: dict[AnyAttack, Radii] = {Clean(): {NONE: 99}, FGSM(): {SMALL: 50, LARGE: 50}}
    assert checked(lost, *[flat] * others)["check"].tolist() == found


def test_what_the_grid_lacks_is_named(
    checked: Callable[..., pd.DataFrame], made: SyntheticRoot
) -> None:
    made.attempt(spec(7, "if"), 1, {"state": "failed", "reason": "out of memory"})
    full: dict[AnyAttack, Radii] = {Clean(): {NONE: 99}, FGSM(): {SMALL: 50, LARGE: 40}}
    made.train(spec(0, adversarial=True))
    made.evaluate(spec(0, adversarial=True), Clean(), {NONE: mask(99, 100)})
    found = checked(full, {Clean(): {NONE: 99}, FGSM(): {SMALL: 50}}).set_index("check")
    assert found.loc["missing_cells", "what"] == (
        "has no result; its attempt 1 is failed (out of memory)"
    )
    rows = found.loc[["missing_rows"]].set_index("where")["what"]
    assert rows["digits/small-lif/clean/s1"] == "lacks fgsm at 16/255, which others have"
    assert rows["digits/small-lif/adversarial/s0"].startswith("lacks fgsm at 8/255, fgsm at 16/255")
    assert found.loc["missing_seeds", "what"] == "no results for seeds 1, which others have"


@pytest.mark.parametrize(
    ("changed", "check", "severity"),
    [
        ({"samples_sha256": "6" * 64}, "test_sets", "error"),
        ({"codes": ["beef"]}, "code_versions", "warning"),
    ],
)
def test_what_must_not_be_compared_is_found(
    checked: Callable[..., pd.DataFrame], changed: dict[str, Any], check: str, severity: str
) -> None:
    outcomes: dict[AnyAttack, Radii] = {Clean(): {NONE: 99}, FGSM(): {SMALL: 50}}
    found = checked(outcomes, outcomes, **changed).set_index("check")
    assert found.loc[[check], "severity"].unique().tolist() == [severity]


def test_spaces_networks_and_zero_gradients() -> None:
    results, samples = analysis.example_study()
    pgd = (results["attack"] == "pgd") & (results["seed"] == 1)
    changed = results.assign(
        zero_gradient=(results["total"] // 4).where(pgd, 0),
        space=results["space"].astype(object).mask(pgd, "encoded"),
    )
    other = results["model_sha256"].iloc[0]
    twin = (results["model_sha256"] == other) & (results["attack"] == "fgsm")
    for frame in (changed, samples):
        fgsm = twin if frame is changed else frame["attack_id"].isin(results[twin]["attack_id"])
        mine = fgsm & (frame["model_sha256"] == other)
        frame["model_sha256"] = frame["model_sha256"].mask(mine, "f" * 64)
    found = analysis.check(changed, samples).set_index("check")
    assert found.loc["threat_models", "severity"] == "note"
    assert found.loc["two_networks", "severity"] == "error"
    assert "50 of 200 samples have no input gradient" in found.loc["zero_gradients"]["what"].iloc[0]


def test_nothing_has_no_findings() -> None:
    results, samples = analysis.example_study()
    assert analysis.check(results.iloc[:0], samples).columns.tolist() == [
        "severity",
        "check",
        "where",
        "what",
        "way_out",
    ]
