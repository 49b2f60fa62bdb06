"""Figures: robust accuracy against epsilon."""

import io
import math
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from analysis.figures.style import Line, Name, check_looks, line_styles, make_printable
from analysis.naming import THREAT, each, in_grey_levels, seeds_text, threat_text
from analysis.statistics import robustness_curves
from jobs import files
from jobs.errors import UsageError
from snnlib.spec.data import CLASSES

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "spikegrid",
    # names come from files: a dollar sign in one is no formula
    "text.parse_math": False,
}
_PANEL = ["dataset", "split", "samples_sha256", *THREAT, "attack_name"]
_COLUMNS = 3
_WIDTH, _HEIGHT = 3.9, 3.1


def plot_curves(
    results: pd.DataFrame, path: Path, *, title: str = "Robust accuracy over epsilon"
) -> list[Path]:
    """Draw robust accuracy against epsilon as SVG and PNG.

    One panel for each attack (and dataset, evaluation set, threat model), one line for each
    network and regime: the mean over seeds in a band from the lowest to the highest seed.

    Args:
        results: from `analysis.load("results")`, whole or filtered.
        path: of the figure; its suffix is replaced by .svg and .png.
        title: above all panels.

    Returns:
        The files written.

    Raises:
        UsageError: if no row has an attack, or there are more settings than looks.
    """
    if not (results["attack"] != "clean").any():
        raise UsageError(
            f"{path}: nothing to draw, none of the {len(results)} rows has an attack; "
            "evaluate one, collect, and plot again"
        )
    points = robustness_curves(results)
    with mpl.rc_context(_STYLE):
        figure = _figure(points, title)
        make_printable(figure)
        written = []
        for suffix, canvas in ((".svg", FigureCanvasSVG), (".png", FigureCanvasAgg)):
            content = io.BytesIO()
            canvas(figure).print_figure(
                content,
                format=suffix[1:],
                dpi=160,
                metadata={"Date": None} if suffix == ".svg" else None,
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(path.with_suffix(suffix), content.getvalue())
            written.append(path.with_suffix(suffix))
    return written


def _figure(points: pd.DataFrame, title: str) -> Figure:
    panels = [panel for _, panel in points.groupby(_PANEL, dropna=False, sort=True)]
    columns = 2 if len(panels) == 4 else min(_COLUMNS, len(panels))
    lanes = math.ceil(len(panels) / columns)
    width = 0.4 + _WIDTH * columns
    lines = line_styles(points)
    check_looks(lines)
    caption = textwrap.wrap(_caption(points), int(17.5 * width))
    longest = max(len(network) + len(regime) for network, regime in lines)
    across = min(len(lines), max(1, int(width / (0.75 + 0.07 * longest))))
    below = 0.2 + 0.14 * len(caption) + 0.19 * math.ceil(len(lines) / across)
    height = 0.3 + _HEIGHT * lanes + below
    figure = Figure(figsize=(width, height))
    engine = ConstrainedLayoutEngine(w_pad=0.12, rect=(0, below / height, 1, 1 - below / height))
    figure.set_layout_engine(engine)
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    grid = figure.subplots(lanes, columns, squeeze=False, sharey=True)
    _fill(list(grid.flat), panels, lines, 255 if in_grey_levels(points) else 1)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy (%)")
    figure.legend(
        handles=[_handle(name, line) for name, line in lines.items()],
        loc="lower left",
        bbox_to_anchor=(0.01, (0.08 + 0.14 * len(caption)) / height),
        ncols=across,
        frameon=False,
        handlelength=3.2,
        borderpad=0,
    )
    style: dict[str, Any] = {"fontsize": 7.5, "color": "#444444", "va": "bottom"}
    figure.text(0.018, 0.08 / height, "\n".join(caption), **style)
    return figure


def _fill(
    places: list[Axes], panels: list[pd.DataFrame], lines: dict[Name, Line], scale: int
) -> None:
    for axes, panel in zip(places, panels, strict=False):
        _draw(axes, panel, lines, scale)
        axes.set_xlabel("ε (/255)" if scale == 255 else "ε (pixel range)")
    for axes in places[len(panels) :]:
        axes.remove()


def _handle(name: Name, line: Line) -> Line2D:
    return Line2D([], [], label=f"{name[0]}, {name[1]}", **line.style(size=4.5, width=1.5))


def _draw(axes: Axes, panel: pd.DataFrame, lines: dict[Name, Line], scale: int) -> None:
    for (network, regime), line in lines.items():
        curve = panel[(panel["network"] == network) & (panel["training"] == regime)]
        curve = curve.sort_values("epsilon")
        x, low, high = curve["epsilon"] * scale, 100 * curve["lowest"], 100 * curve["highest"]
        axes.fill_between(x, low, high, color=line.colour, alpha=0.2, linewidth=0)
        axes.plot(x, 100 * curve["mean"], clip_on=False, **line.style(size=4.5, width=1.5))
    first = panel.iloc[0]
    chance = 100 / CLASSES[first["dataset"]]
    axes.axhline(chance, color="#777777", linewidth=0.8, linestyle=":", zorder=0)
    axes.annotate(
        "chance",
        (0.02, chance),
        (0, -2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="top",
        fontsize=7,
        color="#666666",
    )
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(" · ".join((first["dataset"], first["attack_name"], first["space"])), loc="left")


def _caption(points: pd.DataFrame) -> str:
    """What the figure shows of how many: seeds, samples, threat models."""
    sizes = sorted(
        {
            f"{r.dataset} {r.split}: n\u00a0=\u00a0{r.total:,} samples a network"
            for r in each(points)
        }
    )
    threats = sorted({threat_text(r.norm, r.space, r.clip) for r in each(points)})
    return (
        f"Mean over {seeds_text(points)}; band: lowest to highest seed. {'; '.join(sizes)}. "
        f"Attacks: {'; '.join(threats)}. ε\u00a0=\u00a00 is the clean accuracy."
    )
