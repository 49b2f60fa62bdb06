"""The plain-text table that `collect` and `demo` print."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.collecting import audits
from analysis.collecting.collect import Collected
from analysis.naming import THREAT, each, epsilon_text, in_grey_levels, seeds_text, threat_text
from analysis.selection import EPSILON, MASKS, attack_names, most_met
from analysis.statistics import summary, worst_case
from analysis.tables import read
from jobs.schema import TableName

WIDTH = 100
MOST_COLUMNS = 7
_SHOWN: tuple[TableName, ...] = ("results", "trainings", "attempts")
_TOLD: tuple[TableName, ...] = ("results", "audits")
_BLOCK = ["dataset", "split", "samples_sha256", *THREAT]


def collected_text(collected: Collected) -> str:
    """What a collection brought, and the worst case over attacks; 100 characters wide.

    Args:
        collected: of `analysis.collecting.collect.collect`, whose tables are on disk.

    Raises:
        SpikegridError: if the tables cannot be read back.
    """
    staged: tuple[TableName, ...] = ("gradients", "audits")
    tracked = [name for name in staged if collected.counts[name]]
    counts = " · ".join(
        f"{name} {collected.counts[name]:,} rows (+{collected.added[name]:,})"
        if name == "results"
        else f"{name} {collected.counts[name]:,} (+{collected.added[name]:,})"
        for name in (*_SHOWN, *tracked)
    )
    results, audited = (read(collected.paths[name], name) for name in _TOLD)
    samples = read(collected.paths["samples"], "samples", MASKS)
    head = f"{counts} → {_short(collected.paths['results'])}"
    return f"{head}\n{robustness_text(results, samples, audited)}"


def robustness_text(
    results: pd.DataFrame,
    samples: pd.DataFrame,
    audited: pd.DataFrame | None = None,
    width: int = WIDTH,
) -> str:
    """Worst-case accuracy of each network and regime, clean and at each epsilon.

    Args:
        results: from `analysis.load("results")`.
        samples: from `analysis.load("samples")`.
        audited: from `analysis.load("audits")`; verdicts follow the numbers.
        width: most characters of a line of numbers.
    """
    if results.empty:
        return "no results yet: no finished training has a record"
    points = comparable(worst_case(results, samples))
    blocks = points.groupby(_BLOCK, dropna=False, sort=True)
    words = {} if audited is None else audits.in_words(audited, results)
    return "\n\n".join(_block(block, width, words) for _, block in blocks)


def _short(path: Path) -> str:
    """A path from the current directory, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def comparable(worst: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds that met the same attacks; `partial` where others met more, or other ones.

    While a grid runs, some seeds have met fewer attacks; a mean over both would be of nothing.
    """
    points = summary(worst)
    points = points.assign(
        partial=points["attacks"] != most_met(points, points["seeds"]),
        strength=points["attacks"].map(lambda names: len(attack_names(names))),
    )
    order = {"partial": True, "strength": False, "seeds": False, "attacks": True}
    points = points.sort_values(list(order), ascending=list(order.values()))
    kept = points.drop_duplicates(["configuration", *_BLOCK, *EPSILON])
    return kept.drop(columns="strength").sort_values("epsilon")


def _block(block: pd.DataFrame, width: int, audited: Mapping[tuple[str, str], str]) -> str:
    """Heading, table and caption of one evaluation set under one threat model."""
    points = block.assign(text=[_cell(row) for row in each(block)])
    regimes = _regimes(points)
    points["regime_text"] = points["training"].map(regimes)
    rows = sorted(
        {(r.network, r.regime_text) for r in each(points)},
        key=lambda row: (row[0], row[1] != "clean", row[1]),
    )
    left = [max(len(row[side]) for row in rows) for side in (0, 1)]
    cells = {(row.network, row.regime_text, row.epsilon): row.text for row in each(points)}
    cell_width = max(len(text) for text in (*cells.values(), "255/255"))
    room = (width - sum(left) - 1) // (cell_width + 2)
    epsilons = points.drop_duplicates("epsilon").sort_values("epsilon")
    shown = _columns(points, max(2, min(room, MOST_COLUMNS)))
    radii = epsilons[epsilons["epsilon"].isin(shown)]
    grey = in_grey_levels(points)
    heads = [
        epsilon_text(r.epsilon_num, r.epsilon_den, grey=grey) if r.epsilon else "clean"
        for r in each(radii)
    ]
    told = {
        (r.network, r.regime_text): audited[r.configuration, r.space]
        for r in each(points)
        if (r.configuration, r.space) in audited
    }
    heads += ["audit"] if told else []
    lines = [" " * (sum(left) + 1) + "".join(f"  {head:<{cell_width}}" for head in heads)]
    for network, regime in rows:
        texts = [cells.get((network, regime, epsilon), "-") for epsilon in radii["epsilon"]]
        texts += [told.get((network, regime), "-")] if told else []
        line = f"{network:<{left[0]}} {regime:<{left[1]}}"
        lines.append(line + "".join(f"  {text:<{cell_width}}" for text in texts))
    hidden = len(epsilons) - len(shown)
    table = "\n".join(line.rstrip() for line in lines)
    caption = (
        part
        for line in _caption(points, regimes, hidden)
        for part in textwrap.wrap(line, width, subsequent_indent="  ")
    )
    return "\n".join([_heading(points), table, *caption])


def _cell(row: Any) -> str:
    """Mean in percent, and half the range over seeds; a star where others met other attacks."""
    half = f" ± {50 * (row.highest - row.lowest):.1f}" if row.seeds > 1 else ""
    return f"{100 * row.mean:.1f}{half}{'*' if row.partial else ''}"


def _regimes(points: pd.DataFrame) -> dict[str, str]:
    """Training → short name: the bare regime where no other of its name is shown."""
    pairs = points.drop_duplicates("training")[["training", "regime"]]
    shared = pairs["regime"].value_counts()
    return {
        row.training: row.regime if shared[row.regime] == 1 else row.training for row in each(pairs)
    }


def _columns(points: pd.DataFrame, most: int) -> list[float]:
    """Radii to show: those of most networks first; where too many, ends and evenly between."""
    coverage = points.groupby("epsilon")["configuration"].nunique()
    shown: list[float] = []
    for count in sorted(set(coverage), reverse=True):
        tier = coverage.index[coverage == count]
        places = np.linspace(0, len(tier) - 1, min(len(tier), most - len(shown)))
        shown += [tier[round(place)] for place in places.tolist()]
    return shown


def _heading(points: pd.DataFrame) -> str:
    spread = " ± half their range" if points["seeds"].max() > 1 else ", so no seed interval"
    attacked = (points["epsilon"] > 0).any()
    return f"{'worst case over attacks' if attacked else 'clean accuracy'}, in % (mean over {seeds_text(points)}{spread})"


def _caption(points: pd.DataFrame, regimes: dict[str, str], hidden: int) -> list[str]:
    """Attacks, space, samples, seeds, and whatever the table leaves out."""
    first = points.iloc[0]
    whole = points.loc[~points["partial"], "attacks"]
    attacks = sorted({name for text in whole for name in attack_names(text)})
    seeds = sorted({seed for found in points["seed_list"] for seed in found})
    numbers = ", ".join(map(str, seeds if len(seeds) <= 10 else [*seeds[:9], "…", seeds[-1]]))
    threat = threat_text(*(first[name] for name in THREAT))
    lines = [f"attacks: {', '.join(attacks)} · {threat}"] if attacks else []
    size = f"{first['dataset']} {first['split']} samples: n = {first['total']:,}"
    lines.append(f"{size} · seeds: {numbers}")
    short = {name: brief for name, brief in regimes.items() if brief != name}
    lines += [f"{brief}: {name.removeprefix(brief).strip()}" for name, brief in short.items()]
    if points["partial"].any():
        fewer = sorted({text for text in points.loc[points["partial"], "attacks"] if text})
        lines.append(f"* not under all attacks yet, only under {' or '.join(fewer)}")
    if hidden:
        lines.append(f"{hidden} more radii are in the table `results`")
    return lines
