"""Robust accuracy against the radius, with intervals."""

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.style import Drawing
from analysis.naming import in_grey_levels
from analysis.selection import check_one_panel, check_same_attacks, named
from analysis.statistics import robustness_curves
from jobs.errors import UsageError
from snnlib.spec.data import CLASSES

_HEIGHT = 2.0
_TICK_SHARE = 0.06
"""Radii closer than this share of the axis would have numbers that touch."""
_SHIFT = 0.006
"""Bars are this share of the axis apart, so that no interval hides another."""


def draw_curves(frame: pd.DataFrame) -> Drawing:
    """Accuracy over epsilon under one attack, or in the worst case: a line for each setting.

    Args:
        frame: of `worst_case`, or results of one attack (`select` keeps their clean rows).

    Raises:
        UsageError: rows are of several attacks, datasets, evaluation sets or threat models, or
            none has an attack.

    Example:
        >>> import analysis
        >>> drawing = analysis.draw_curves(analysis.worst_case(*analysis.example_study()))
        >>> drawing.name
        'curves-digits-linf-pixel-worst-case'
        >>> print(drawing.caption[:59])
        Accuracy (worst case over attacks) against epsilon. digits,
    """
    rows = named(frame)
    attacked = rows[rows["epsilon_num"] > 0]
    if attacked.empty:
        raise UsageError(
            f"curves: nothing to draw, none of the {len(rows)} rows has an attack; "
            "evaluate one, collect, and draw again"
        )
    check_one_panel(rows, "curves")
    check_same_attacks(rows, "curves")
    first, attacks = attacked.iloc[0], sorted(set(attacked["attack_name"]))
    if len(attacks) > 1:
        key = "attack_id" if first["attack_setting"] == first["attack_id"] else "attack_setting"
        raise UsageError(
            f"curves: {len(attacks)} attacks ({', '.join(attacks[:6])}); pass "
            "analysis.worst_case(results, samples), or choose one, e.g. "
            f"analysis.select(results, {key}={first[key]!r})"
        )
    points = robustness_curves(rows)
    lines = style.line_styles(points)
    shown = style.interval(points)
    with style.styled():
        made, (axes,) = style.figure(_HEIGHT + style.legend_in(lines))
        scale = 255 if in_grey_levels(points) else 1
        end = scale * points["epsilon"].max()
        for place, ((network, regime), line) in enumerate(lines.items()):
            curve = points[(points["network"] == network) & (points["training"] == regime)]
            shift = _SHIFT * end * (place - (len(lines) - 1) / 2)
            for _, one in curve.groupby("configuration", sort=True):
                ordered = one.sort_values("epsilon")
                style.draw_means(axes, ordered, line, shown, scale, shift)
        _finish(axes, 100 / CLASSES[first["dataset"]], sorted(set(points["epsilon"])), scale)
        worst = first["attack"] == "worst"
        axes.set_ylabel("worst-case accuracy (%)" if worst else f"accuracy, {attacks[0]} (%)")
        style.add_legend(made, lines)
        style.settle(made)
    what = "worst case over attacks" if worst else attacks[0]
    caption = (
        f"Accuracy ({what}) against epsilon. {style.what_text(points)}. "
        f"Bars: {shown.text}, shifted sideways to keep them apart. "
        "Dotted: chance."
    )
    name = style.stem("curves", first["dataset"], first["norm"], first["space"], attacks[0])
    return Drawing(made, name, caption)


def _finish(axes: Axes, chance: float, radii: list[float], scale: int) -> None:
    axes.axhline(chance, color="#777777", linewidth=0.7, linestyle=":", zorder=0)
    axes.annotate(
        "chance",
        (0.03, chance),
        (0, 1.5),
        color="#666666",
        fontsize=6,
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
    )
    axes.set_ylim(0, 100)
    axes.set_xlim(left=-0.025 * scale * radii[-1])
    ticks: list[float] = []
    for radius in radii:
        if not ticks or radius - ticks[-1] >= _TICK_SHARE * radii[-1]:
            ticks.append(radius)
    axes.set_xticks([scale * tick for tick in ticks], [f"{scale * tick:.4g}" for tick in ticks])
    axes.set_xlabel("ε (/255)" if scale == 255 else "ε (pixel range)")
