"""The LaTeX table: numbers, escapes, what is bold, and what is refused."""

import pandas as pd
import pytest

import analysis
from jobs.errors import UsageError

WORST = analysis.worst_case(*analysis.example_study())
MASKED = analysis.with_masks(*analysis.example_study())


def body(text: str) -> list[str]:
    return text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()


def test_a_table_of_worst_cases() -> None:
    text = analysis.to_latex(WORST, epsilons=["4/255", "16/255"], label="tab:x")
    assert text.startswith(
        "\\begin{table}\n\\centering\n\\caption{Accuracy in \\% (mean over 3 seeds"
    )
    assert "\\label{tab:x}" in text
    assert "&  & & \\multicolumn{2}{c}{worst case} \\\\\n\\cmidrule(lr){4-5}" in text
    assert "Network & Training & Clean & $4/255$ & $16/255$ \\\\" in text
    assert "over fgsm, pgd-10, pgd-10 sigmoid(alpha=4)." in text
    assert text.count("{") == text.count("}")
    assert [line.count("&") for line in body(text)] == [4] * 4


def test_only_what_is_significantly_best_is_bold() -> None:
    lines = body(analysis.to_latex(WORST))
    bold = [[("mathbf" in cell) for cell in line.split("&")[2:]] for line in lines]
    # small-plif adversarial wins at every radius above 0; clean accuracies are too close
    assert bold == [[False] * 4, [False] * 4, [False, True, True, True], [False] * 4]
    alone = analysis.select(WORST, neuron="plif", regime="adversarial")
    assert "mathbf" not in analysis.to_latex(alone)
    assert "Bold" not in analysis.to_latex(alone)


@pytest.mark.parametrize(("seeds", "bold"), [(10, False), (0, True)])
def test_what_was_not_compared_with_every_rival_is_not_bold(seeds: int, bold: bool) -> None:
    adversarial = analysis.select(WORST, regime="adversarial")
    rival = analysis.select(adversarial, neuron="lif")
    rival = rival.assign(seed=rival["seed"] + seeds, configuration="f" * 16, network="rival")
    rival["training_id"] = rival["training_id"].str[::-1]
    text = analysis.to_latex(pd.concat([adversarial, rival]))
    assert ("mathbf" in text, "Bold" in text) == (bold, bold)


def test_each_set_of_attacks_is_named_with_its_radii() -> None:
    results, samples = analysis.example_study()
    some = results[(results["attack"] != "pgd") | (results["epsilon_num"] == 16)]
    text = analysis.to_latex(analysis.worst_case(some, samples))
    assert (
        "Worst case for each sample at $4/255$, $8/255$ over fgsm; "
        "at $16/255$ over fgsm, pgd-10, pgd-10 sigmoid(alpha=4)."
    ) in text


def test_one_seed_has_no_spread_and_deviation_is_offered() -> None:
    one = analysis.to_latex(analysis.select(WORST, seed=0))
    assert "\\pm" not in one
    assert "mean over 1 seed)" in one
    wide, narrow = (analysis.to_latex(WORST, spread=s) for s in ("interval", "deviation"))
    assert "$95.0 \\pm 2.5$" in wide
    assert "$95.0 \\pm 1.0$" in narrow


def test_two_seeds_have_their_range_and_other_seeds_are_not_tested() -> None:
    two = analysis.to_latex(analysis.select(WORST, seed=[0, 1]))
    assert "half the range of two seeds" in two
    lonely = WORST[(WORST["neuron"] != "plif") | (WORST["seed"] == 0)]
    text = analysis.to_latex(lonely)
    assert "mathbf" in analysis.to_latex(WORST)
    assert "mathbf" not in text
    assert "Bold" not in text


def test_attacks_stand_side_by_side() -> None:
    text = analysis.to_latex(MASKED, epsilons=["8/255"])
    assert "Clean & $8/255$ & $8/255$ & $8/255$ \\\\" in text
    assert "\\multicolumn{1}{c}{pgd-10 sigmoid(alpha=4)}" in text
    assert "Worst case" not in text


def test_a_network_without_a_row_has_a_dash() -> None:
    some = WORST[(WORST["neuron"] != "lif") | (WORST["epsilon_num"] != 8)]
    assert [line.count("--") for line in body(analysis.to_latex(some))] == [1, 1, 0, 0]


def test_names_with_markup_are_printed_as_they_are() -> None:
    hostile = WORST.assign(network=r"a_b & \input{x} 5% #1 $y$ ~^" + "\x1b[0m")
    text = analysis.to_latex(hostile)
    assert r"a\_b \& \textbackslash{}input\{x\} 5\% \#1 \$y\$ \textasciitilde{}" in text
    assert "\x1b" not in text


def changed(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    half = (frame["seed"] == 1) & (frame["epsilon_num"] > 0)
    return frame.assign(**{column: frame[column].astype(object).mask(half, value)})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (WORST.drop(columns="mask"), "no masks, so nothing tells whether the best"),
        (WORST.iloc[:0], "no rows; is there a collected result"),
        (changed(WORST, "space", "encoded"), "2 threat models .*choose one, e.g. analysis.select"),
        (changed(WORST, "samples_sha256", "6"), "2 evaluation sets"),
        (changed(WORST, "attacks", "fgsm"), "some networks met .*by analysis.most_attacked"),
    ],
)
def test_what_cannot_stand_in_one_table_is_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        analysis.to_latex(frame)


def test_a_radius_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no rows at epsilon 1/85; there are 0, 4/255, 8/255"):
        analysis.to_latex(WORST, epsilons=["3/255"])
