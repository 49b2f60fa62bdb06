"""The manifest's published numbers beside ours, with the difference and its interval."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.naming import each, epsilon_text, threat_text
from analysis.report.markup import Markup, heads, joined, percent, table, tag
from analysis.report.study import Published, Study
from analysis.selection import named
from analysis.statistics import summary


def published(study: Study, results: pd.DataFrame) -> Markup:
    """A row for each number and each of our settings that it speaks of; empty without numbers."""
    # names are made once: those of a part of the rows could differ
    whole = named(results)
    rows = [row for one in study.references for row in _rows(one, whole)]
    columns = heads(
        "source",
        "network",
        "attack",
        "ε",
        "published",
        "ours",
        "difference",
        "seeds",
        numbers_from=3,
    )
    caption = (
        "Accuracy in %. The difference is ours minus the published number, in points; its 95 % interval is that of "
        "our samples alone (Wilson), as the publications give none; ± is half the range over our seeds."
    )
    return joined([table(columns, rows), tag("p", caption, class_="caption")])


def _rows(one: Published, results: pd.DataFrame) -> Iterator[list[Markup]]:
    over, under = one.epsilon
    # it may speak of some seeds of a setting alone
    mine = results[results["training_id"].isin(list(one.trainings))]
    mine = mine[mine["attack"] == one.attack]
    mine = mine[(mine["epsilon_num"] == over) & (mine["epsilon_den"] == under)]
    head = [tag("th", one.source, scope="row")]
    radius = epsilon_text(over, under, grey=True) if over else "0"
    value = tag("td", f"{one.value:.2f}", class_="n")
    if mine.empty:
        why = "no cell of the manifest" if not one.trainings else "not evaluated yet"
        words = [tag("td", one.where), tag("td", one.attack), tag("td", radius, class_="n")]
        yield [*head, *words, value, tag("td", why, colspan=3, class_="none")]
        return
    for row in each(summary(mine)):
        yield [*head, *_names(row), tag("td", radius, class_="n"), value, *_ours(row, one.value)]


def _names(row: Any) -> list[Markup]:
    attack = row.attack_name
    if isinstance(row.norm, str):
        attack += f", {threat_text(row.norm, row.space, row.clip)}"
    return [tag("td", f"{row.network}, {row.training}"), tag("td", attack)]


def _ours(row: Any, value: float) -> list[Markup]:
    low, high = (100 * bound - value for bound in (row.sample_low, row.sample_high))
    half = f" ± {50 * (row.highest - row.lowest):.1f}" if row.seeds > 1 else ""
    # the interval tells a difference from none
    told = "n" if low <= 0 <= high else "n up" if low > 0 else "n down"
    difference = f"{_signed(100 * row.mean - value)} [{_signed(low)}, {_signed(high)}]"
    return [
        tag("td", percent(row.mean), tag("small", half), class_="n"),
        tag("td", difference, class_=told),
        tag("td", row.seeds, class_="n"),
    ]


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}")
