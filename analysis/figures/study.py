"""All figures of a collected run root, or of one study in it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from analysis.figures.robustness import draw_curves
from analysis.figures.sparsity import draw_sparsity
from analysis.figures.style import Drawing
from analysis.figures.tradeoff import draw_tradeoff
from analysis.figures.training import draw_training
from analysis.selection import MASKS, PANEL, most_attacked, named
from analysis.statistics import worst_case
from analysis.tables import load
from jobs.errors import UsageError

Kind = Literal["curves", "tradeoff", "sparsity", "training"]
KINDS: tuple[Kind, ...] = ("curves", "tradeoff", "sparsity", "training")
Cells = Mapping[str, Collection[str]]
"""Training id → ids of its attacks."""


class Drawings(NamedTuple):
    """Figures of a kind, and why others of it were not drawn."""

    drawn: list[Drawing]
    passed_over: list[str]


def drawings(
    kind: Kind,
    root: Path | str | None = None,
    *,
    cells: Cells | None = None,
    epsilon: str | Fraction | None = None,
) -> Drawings:
    """The figures of a kind: one for each dataset, evaluation set and threat model that has it.

    Of curves also one for each attack, beside the worst case over them.

    Args:
        kind: which.
        root: a run root that was collected, as in `analysis.load`.
        cells: what to draw; everything when unset.
        epsilon: the radius of trade-off and sparsity; the most telling one when unset.

    Raises:
        UsageError: if none can be drawn; the message says why.
    """
    if kind == "training":
        trainings = load("trainings", root)
        if cells is not None:
            trainings = trainings[trainings["training_id"].isin(list(cells))]
        parts = [part for _, part in trainings.groupby("dataset", observed=True)]
        return _drawn((one, partial(draw_training, one)) for one in parts or [trainings])
    results = _chosen(load("results", root), cells)
    samples = _chosen(load("samples", root, MASKS), cells)
    if not (results["attack"] != "clean").any():
        raise UsageError(
            f"{kind}: nothing to draw, none of the {len(results)} results has an attack; "
            "evaluate one, collect, and draw again"
        )
    panels = list(_panels(results))
    if kind == "sparsity":
        gradients = _chosen(load("gradients", root), cells)
        sparsity = partial(draw_sparsity, gradients, samples=samples, epsilon=epsilon)
        return _drawn((one, partial(sparsity, one)) for one in panels)
    if kind == "tradeoff":
        return _drawn((one, partial(_tradeoff, one, samples, epsilon)) for one in panels)
    return _drawn((one, draw) for one in panels for draw in _curves(one, samples))


def _drawn(work: Iterable[tuple[pd.DataFrame, Callable[[], Drawing]]]) -> Drawings:
    """Drawings of the panels that have what it takes; the first refusal if none has."""
    found: list[tuple[pd.DataFrame, Drawing]] = []
    refused: list[UsageError] = []
    passed_over: list[str] = []
    for panel, draw in work:
        try:
            found.append((panel, draw()))
        except UsageError as error:
            refused.append(error)
            passed_over.append(f"{_panel_text(panel)}: {error}")
    if refused and not found:
        raise refused[0]
    return Drawings(_told_apart(found), passed_over)


def _panel_text(panel: pd.DataFrame) -> str:
    """Which data set and threat model a refusal is about."""
    last = panel.iloc[-1]  # clean rows, which come first, have no threat model
    known = [str(last[name]) for name in ("dataset", "norm", "space") if name in panel]
    return " ".join(known)


def _chosen(table: pd.DataFrame, cells: Cells | None) -> pd.DataFrame:
    """Rows of the cells; where rows have attacks, of the cells' attacks."""
    if cells is None:
        return table
    rows = table[table["training_id"].isin(list(cells))]
    if "attack_id" not in rows:
        return rows
    pairs = zip(rows["training_id"], rows["attack_id"], strict=True)
    return rows[np.array([attack in cells[training] for training, attack in pairs], bool)]


def _panels(results: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Results that can be compared, with the clean rows on their samples."""
    rows = named(results)
    clean = rows[rows["attack"] == "clean"]
    attacked = rows[rows["attack"] != "clean"]
    for _, panel in attacked.groupby(PANEL, dropna=False, sort=True):
        starts = clean[clean["samples_sha256"] == panel["samples_sha256"].iloc[0]]
        met = starts["training_id"].isin(set(panel["training_id"]))
        yield pd.concat([starts[met], panel], ignore_index=True)


def _worst(panel: pd.DataFrame, samples: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Worst cases over the most attacks, and how many networks lack some of them."""
    worst = worst_case(panel, samples)
    kept = most_attacked(worst)
    keys = ["training_id", "epsilon"]
    lost = set(worst[keys].itertuples(index=False)) - set(kept[keys].itertuples(index=False))
    return kept, len({training for training, _ in lost})


def _tradeoff(
    panel: pd.DataFrame, samples: pd.DataFrame, epsilon: str | Fraction | None
) -> Drawing:
    worst, left = _worst(panel, samples)
    return _noted(draw_tradeoff(worst, epsilon), left)


def _curves(panel: pd.DataFrame, samples: pd.DataFrame) -> Iterator[Callable[[], Drawing]]:
    """What draws the worst case, and each attack."""
    attacks = sorted(set(panel.loc[panel["attack"] != "clean", "attack_name"]))
    if len(attacks) > 1:
        yield partial(_worst_curves, panel, samples)
    for attack in attacks:
        own = panel[(panel["attack"] == "clean") | (panel["attack_name"] == attack)]
        yield partial(draw_curves, own)


def _worst_curves(panel: pd.DataFrame, samples: pd.DataFrame) -> Drawing:
    worst, left = _worst(panel, samples)
    return _noted(draw_curves(worst), left)


def _noted(drawing: Drawing, left: int) -> Drawing:
    if not left:
        return drawing
    verb = "network has" if left == 1 else "networks have"
    note = (
        f"{left} {verb} not met all attacks yet and {'is' if left == 1 else 'are'} left out there."
    )
    return replace(drawing, caption=f"{drawing.caption} {note}")


def _told_apart(drawn: Sequence[tuple[pd.DataFrame, Drawing]]) -> list[Drawing]:
    """Drawings; where several have one name, with their numbers of samples, or else a number."""
    shared = Counter(one.name for _, one in drawn)
    sized = [
        replace(one, name=f"{one.name}-n{panel['total'].iloc[-1]}") if shared[one.name] > 1 else one
        for panel, one in drawn
    ]
    found: list[Drawing] = []
    seen: Counter[str] = Counter()
    for one in sized:
        seen[one.name] += 1
        again = f"-{seen[one.name]}" if seen[one.name] > 1 else ""
        found.append(replace(one, name=one.name + again))
    return found
