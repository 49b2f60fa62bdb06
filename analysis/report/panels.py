"""Robustness curves as SVG: a panel for each attack, side by side only where axes agree."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.naming import THREAT, each, epsilon_text, in_grey_levels
from analysis.report.markup import Markup, counted, joined, tag
from analysis.report.points import BLOCK, SERIES, WORST, Points
from analysis.report.worst import block_title
from snnlib.spec.data import CLASSES

Series = tuple[str, str]
"""Network and training of a curve."""
Places = Mapping[tuple[Any, ...], int]
"""`row_key` → its place in the table of results."""

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 340, 230, 36, 12, 8, 34
"""Size of a panel, and the margins of its axes."""
SHOWN = 8
"""Curves that are drawn at first; the legend adds others."""
COLOURS, DASHES, CAPS = 7, 4, 2


@dataclass(frozen=True)
class Line:
    """How one curve is drawn.

    Attributes:
        number: ties the curves of all panels to the legend.
        classes: colour says the network, dashes the training, marks which round of either.
        shown: whether it is drawn at first.
    """

    number: int
    classes: str
    shown: bool


@dataclass(frozen=True)
class Axis:
    """Radii from 0 to `most`; `grey` if all are whole 255ths."""

    most: float
    grey: bool

    def x(self, epsilon: float) -> float:
        """Place of a radius."""
        return _LEFT + (_W - _LEFT - _RIGHT) * epsilon / self.most


def row_key(row: Any, epsilon: tuple[int, int] | None = None) -> tuple[Any, ...]:
    """What names a row of the table of results; at another radius if one is given."""
    over, under = epsilon or (row.epsilon_num, row.epsilon_den)
    threat = ("", "", "") if not over else tuple(map(str, (row.norm, row.space, row.clip)))
    attack = row.attack_setting if over else "clean"
    return (row.configuration, row.split, row.samples_sha256, *threat, attack, over, under)


def curves(points: Points, places: Places) -> Markup:
    """Legend and panels of all curves.

    Args:
        points: of the study.
        places: where a point stands in the table of results, for the words that hover shows.
    """
    every = pd.concat([points.worst, _attacked(points)], ignore_index=True)
    drawn = every[every["norm"].notna()]
    if drawn.empty:
        return tag("p", "No attack has been evaluated yet.", class_="empty")
    lines = _lines(drawn, _ranked(points.worst)[:SHOWN])
    blocks = drawn.groupby(BLOCK, dropna=False, sort=True)
    return joined([_legend(lines), *(_block(block, lines, places) for _, block in blocks)])


def _attacked(points: Points) -> pd.DataFrame:
    """Curves of single attacks, each from the clean accuracy on."""
    attacked = points.attacked[points.attacked["attack"] != "clean"]
    clean = points.attacked[points.attacked["attack"] == "clean"]
    names = [*THREAT, "attack_setting", "attack_name"]
    on = ["configuration", "split", "samples_sha256"]
    starts = clean.drop(columns=names).merge(attacked[[*on, *names]].drop_duplicates(), on=on)
    return pd.concat([starts, attacked], ignore_index=True)


def _ranked(worst: pd.DataFrame) -> list[Series]:
    """Curves by their mean worst case over the radii, the best first."""
    means = worst[worst["epsilon"] > 0].groupby(SERIES)["mean"].mean()
    return [(str(a), str(b)) for a, b in means.sort_values(ascending=False).index]


def _lines(drawn: pd.DataFrame, best: Sequence[Series]) -> dict[Series, Line]:
    networks = sorted(set(drawn["network"]))
    trainings = sorted(set(drawn["training"]), key=lambda name: (name != "clean", name))
    present = set(zip(drawn["network"], drawn["training"], strict=True))
    pairs = [pair for pair in itertools.product(networks, trainings) if pair in present]
    found = {}
    for number, (network, training) in enumerate(pairs):
        n, t = networks.index(network), trainings.index(training)
        caps = (n // COLOURS + t // DASHES) % CAPS
        classes = f"c{n % COLOURS} d{t % DASHES} m{caps}"
        shown = len(pairs) <= SHOWN or (network, training) in best
        found[network, training] = Line(number, classes, shown)
    return found


def _legend(lines: Mapping[Series, Line]) -> Markup:
    buttons = [
        tag(
            "button",
            _swatch(line.classes),
            tag("span", ", ".join(name)),
            type="button",
            data_s=line.number,
            aria_pressed="true" if line.shown else "false",
        )
        for name, line in lines.items()
    ]
    shown = sum(line.shown for line in lines.values())
    few = f"{shown} of {len(lines)} curves are drawn at first, the most robust. "
    hint = (
        f"{few if shown < len(lines) else ''}Press a name to show or hide its curve. Line: mean "
        "over seeds; band: lowest to highest seed; dotted: chance. Hover over a panel, or focus it "
        "and use the arrow keys, to read its points."
    )
    every = [tag("button", word, type="button", data_all=word) for word in ("all", "none")]
    group = tag("div", *buttons, *every, class_="legend", role="group", aria_label="curves")
    return joined([tag("p", hint, class_="caption"), group])


def _swatch(classes: str) -> Markup:
    marks = [tag("path", d="M2 6H30", class_="line"), tag("path", d="M16 6h0", class_="dots")]
    size = {"viewBox": "0 0 32 12", "width": 32, "height": 12}
    return tag("svg", tag("g", *marks, class_=classes), **size, aria_hidden="true")


def _block(block: pd.DataFrame, lines: Mapping[Series, Line], places: Places) -> Markup:
    """Panels of one evaluation set and threat model: the worst case, then each attack."""
    axis = Axis(float(block["epsilon"].max()), in_grey_levels(block))
    panels: dict[str, list[Any]] = {}
    for row in each(block.sort_values("epsilon")):
        panels.setdefault(row.attack_name, []).append(row)
    names = sorted(panels, key=lambda name: (name != WORST, name))
    if len(names) == 2:
        names.remove(WORST)  # of one attack, that is the attack itself
    title = block_title(panels[names[0]][0])
    drawn = [_panel(name, panels[name], lines, places, axis) for name in names]
    return tag("article", tag("h3", title), tag("div", *drawn, class_="panels"))


def _panel(
    title: str, rows: Sequence[Any], lines: Mapping[Series, Line], places: Places, axis: Axis
) -> Markup:
    grouped: dict[Series, list[Any]] = {}
    for row in rows:
        grouped.setdefault((row.network, row.training), []).append(row)
    drawn = [_curve(grouped[name], lines[name], places, axis) for name in sorted(grouped)]
    chart = tag(
        "svg",
        _axes(rows, axis),
        *drawn,
        viewBox=f"0 0 {_W} {_H}",
        role="img",
        tabindex="0",
        aria_label=f"{title}: accuracy against epsilon, {counted(len(drawn), 'curve')}",
        class_="chart",
    )
    return tag("figure", tag("figcaption", title), chart)


def _curve(rows: Sequence[Any], line: Line, places: Places, axis: Axis) -> Markup:
    """One curve: a band over the seeds, a line, a dot for each point."""
    means, low, high = (
        [f"{_short(axis.x(row.epsilon))} {_short(_y(getattr(row, name)))}" for row in rows]
        for name in ("mean", "lowest", "highest")
    )
    band = tag("path", d=f"M{'L'.join([*low, *reversed(high)])}Z", class_="band")
    parts = [
        band if any(row.seeds > 1 for row in rows) else "",
        tag("path", d=f"M{'L'.join(means)}", class_="line"),
        tag("path", d="".join(f"M{place}h0" for place in means), class_="dots"),
    ]
    return tag(
        "g",
        *parts,
        class_=f"{line.classes}{'' if line.shown else ' off'}",
        data_s=line.number,
        data_p=" ".join(str(places.get(row_key(row), "-")) for row in rows),
    )


def _axes(rows: Sequence[Any], axis: Axis) -> Markup:
    """Grid, scales and the accuracy of chance."""
    end = _W - _RIGHT
    quarters = [(25 * step, _y(step / 4)) for step in range(5)]
    grid = "".join(f"M{_LEFT} {_short(y)}H{end}" for _, y in quarters)
    parts = [tag("path", d=grid, class_="grid")]
    parts += [
        _text(_LEFT - 5, y + 3.5, f"{n}{'%' * (n == 100)}", anchor="end") for n, y in quarters
    ]
    dataset = rows[0].dataset
    if dataset in CLASSES:
        chance = _short(_y(1 / CLASSES[dataset]))
        parts.append(tag("path", d=f"M{_LEFT} {chance}H{end}", class_="chance"))
    for row in _ticks(rows, axis):
        words = epsilon_text(row.epsilon_num, row.epsilon_den, grey=axis.grey)
        parts.append(_text(axis.x(row.epsilon), _H - 18, words.removesuffix("/255") or "0"))
    parts.append(_text((_LEFT + end) / 2, _H - 4, "ε (/255)" if axis.grey else "ε"))
    return joined(parts)


def _ticks(rows: Sequence[Any], axis: Axis) -> list[Any]:
    """Radii that have room for their names below the axis, the largest first."""
    radii = {row.epsilon: row for row in rows}
    kept: list[Any] = []
    for epsilon in sorted(radii, reverse=True):
        if not kept or axis.x(kept[-1].epsilon) - axis.x(epsilon) >= 22:
            kept.append(radii[epsilon])
    return kept


def _text(x: float, y: float, words: str, anchor: str = "middle") -> Markup:
    return tag("text", words, x=_short(x), y=_short(y), text_anchor=anchor)


def _y(share: float) -> float:
    """Place of an accuracy."""
    return _TOP + (_H - _TOP - _BOTTOM) * (1 - share)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
