"""Robust against clean accuracy: what robustness costs."""

from fractions import Fraction

import pandas as pd

from analysis.figures import style
from analysis.figures.style import Drawing
from analysis.naming import radii_text
from analysis.selection import check_one_panel, check_same_attacks, named, with_starts
from analysis.statistics import summary
from jobs.errors import UsageError

_HEIGHT = 2.2


def draw_tradeoff(frame: pd.DataFrame, epsilon: str | Fraction | None = None) -> Drawing:
    """Accuracy under attack against clean accuracy: a large mark for each setting, small for seeds.

    Args:
        frame: of `worst_case`, or results of one attack (`select` keeps their clean rows).
        epsilon: the radius, e.g. "8/255"; when unset that of the largest differences.

    Raises:
        UsageError: rows are of several attacks, datasets, evaluation sets or threat models, or
            there is none at the radius or without an attack.

    Example:
        >>> import analysis
        >>> worst = analysis.worst_case(*analysis.example_study())
        >>> analysis.draw_tradeoff(worst, "8/255").name
        'tradeoff-digits-linf-pixel-worst-case-8-255'
    """
    rows = with_starts(named(frame))
    check_one_panel(rows, "tradeoff")
    check_same_attacks(rows, "tradeoff")
    if rows["attack_setting"].nunique() > 1:
        raise UsageError(
            f"tradeoff: {', '.join(sorted(set(rows['attack_name'])))}: choose one attack, e.g. "
            "analysis.select(results, attack='pgd'), or pass analysis.worst_case(results, samples)"
        )
    points = summary(rows)
    at = float(Fraction(epsilon)) if epsilon is not None else _telling(points)
    if at not in set(points["epsilon"]):
        there = radii_text(points)
        raise UsageError(f"tradeoff: no network has epsilon {epsilon}; there are {there}")
    # both coordinates of a mean are over the same seeds
    rows = rows[rows["training_id"].isin(set(rows.loc[rows["epsilon"] == at, "training_id"]))]
    points = summary(rows)
    both = _both(rows.assign(mean=rows["correct"] / rows["total"]), at, ["training_id"])
    means = _both(points, at, [])
    if means.empty:
        raise UsageError(
            f"tradeoff: no network at epsilon {at:.4g} has its clean accuracy; evaluate and collect "
            "it, or keep the clean rows (analysis.select does)"
        )
    lines = style.line_styles(means)
    here = points[points["epsilon"] == at]
    radius = style.radius_text(here)
    with style.styled():
        made, (axes,) = style.figure(_HEIGHT + style.legend_in(lines))
        for name, line in lines.items():
            look = {**line.style(), "linestyle": "none"}
            mine = both[(both["network"] == name[0]) & (both["training"] == name[1])]
            small = {**look, "markersize": 1.8, "markeredgewidth": 0.4, "alpha": 0.6}
            axes.plot(100 * mine["mean_clean"], 100 * mine["mean"], **small)
            mine = means[(means["network"] == name[0]) & (means["training"] == name[1])]
            large = {**look, "markersize": 5, "markeredgewidth": 1}
            axes.plot(100 * mine["mean_clean"], 100 * mine["mean"], **large)
        axes.set_xlabel("clean accuracy (%)")
        worst = rows["attack"].iloc[0] == "worst"
        what = "worst-case accuracy" if worst else f"accuracy, {rows['attack_name'].iloc[0]}"
        axes.set_ylabel(f"{what} (%)\nat ε = {radius}")
        axes.margins(0.08)
        style.add_legend(made, lines, dashes=False)
        style.settle(made)
    first = here.iloc[0]
    caption = (
        f"Accuracy under attack ({first['attack_name']}, epsilon {radius}) against clean accuracy. "
        f"{style.what_text(here)}. Large: means; small: seeds."
    )
    parts = ("tradeoff", first["dataset"], first["norm"], first["space"], first["attack_name"])
    return Drawing(made, style.stem(*parts, radius), caption)


def _telling(points: pd.DataFrame) -> float:
    means = points.groupby("epsilon")["mean"]
    return style.most_telling(points, means.max() - means.min(), "tradeoff")


def _both(frame: pd.DataFrame, at: float, more: list[str]) -> pd.DataFrame:
    """Rows at the radius with their clean accuracy as `mean_clean`."""
    keys = ["configuration", "samples_sha256", *more]
    clean = frame.loc[frame["epsilon"] == 0, [*keys, "mean"]]
    return frame[frame["epsilon"] == at].merge(clean, on=keys, suffixes=("", "_clean"))
