"""All figures of a collected run root, or of one study in it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from analysis.figures.robustness import draw_curves
from analysis.figures.sparsity import draw_sparsity
from analysis.figures.style import Drawing
from analysis.figures.tradeoff import draw_tradeoff
from analysis.figures.training import draw_training
from analysis.selection import PANEL, most_attacked, named
from analysis.statistics import worst_case
from analysis.tables import load
from jobs.errors import UsageError

Kind = Literal["curves", "tradeoff", "sparsity", "training"]
KINDS: tuple[Kind, ...] = ("curves", "tradeoff", "sparsity", "training")
Cells = Mapping[str, Collection[str]]
"""Training id → ids of its attacks."""


def drawings(
    kind: Kind,
    root: Path | str | None = None,
    *,
    cells: Cells | None = None,
    epsilon: str | Fraction | None = None,
) -> list[Drawing]:
    """The figures of a kind: one for each dataset, evaluation set and threat model that has it.

    Of curves also one for each attack, beside the worst case over them.

    Args:
        kind: which.
        root: a run root that was collected, as in `analysis.load`.
        cells: what to draw; everything when unset.
        epsilon: the radius of trade-off and sparsity; the most telling one when unset.

    Raises:
        UsageError: if the tables hold nothing of the kind.
    """
    if kind == "training":
        trainings = load("trainings", root)
        if cells is not None:
            trainings = trainings[trainings["training_id"].isin(list(cells))]
        parts = [part for _, part in trainings.groupby("dataset", observed=True)]
        return _told_apart(_drawn(draw_training, parts or [trainings]))
    results, samples = (_chosen(load(table, root), cells) for table in ("results", "samples"))
    if not (results["attack"] != "clean").any():
        raise UsageError(
            f"{kind}: nothing to draw, none of the {len(results)} results has an attack; "
            "evaluate one, collect, and draw again"
        )
    panels = list(_panels(results))
    if kind == "sparsity":
        gradients = _chosen(load("gradients", root), cells)
        return _told_apart(
            _drawn(lambda one: draw_sparsity(gradients, one, samples, epsilon=epsilon), panels)
        )
    if kind == "tradeoff":
        return _told_apart(_drawn(lambda one: _tradeoff(one, samples, epsilon), panels))
    return _told_apart(one for panel in panels for one in _curves(panel, samples))


def _drawn(
    draw: Callable[[pd.DataFrame], Drawing], panels: Sequence[pd.DataFrame]
) -> Iterator[Drawing]:
    """Drawings of the panels that have what it takes; the first refusal if none has."""
    refused: list[UsageError] = []
    for panel in panels:
        try:
            yield draw(panel)
        except UsageError as error:
            refused.append(error)
    if panels and len(refused) == len(panels):
        raise refused[0]


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


def _curves(panel: pd.DataFrame, samples: pd.DataFrame) -> Iterator[Drawing]:
    attacks = sorted(set(panel["attack_name"]) - {"clean"})
    if len(attacks) > 1:
        worst, left = _worst(panel, samples)
        yield _noted(draw_curves(worst), left)
    for attack in attacks:
        yield draw_curves(panel[(panel["attack"] == "clean") | (panel["attack_name"] == attack)])


def _noted(drawing: Drawing, left: int) -> Drawing:
    if not left:
        return drawing
    verb = "network has" if left == 1 else "networks have"
    note = (
        f"{left} {verb} not met all attacks yet and {'is' if left == 1 else 'are'} left out there."
    )
    return replace(drawing, caption=f"{drawing.caption} {note}")


def _told_apart(drawn: Iterator[Drawing]) -> list[Drawing]:
    """Drawings, with a number behind names that came before."""
    found: list[Drawing] = []
    seen: dict[str, int] = {}
    for one in drawn:
        seen[one.name] = seen.get(one.name, 0) + 1
        again = f"-{seen[one.name]}" if seen[one.name] > 1 else ""
        found.append(replace(one, name=one.name + again))
    return found
