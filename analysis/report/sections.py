"""Audits, failures and cost: what to trust less, what went wrong, and what it took."""

from typing import Any

import pandas as pd

from analysis.naming import each
from analysis.report.markup import Markup, counted, escaped, heads, joined, table, tag
from analysis.report.study import Failure, Study
from snnlib.spec.audit import VERDICTS

LINE = 400
"""Characters of a log's line at most."""
MOST_FAILURES = 40
"""Causes whose logs are shown."""


def audits(found: pd.DataFrame, labels: dict[str, str]) -> Markup:
    """A row for each audit of a network: its verdict, and the items that it did not pass.

    Args:
        found: the table `audits`, one row for each network, audit and item.
        labels: training id → name for people.
    """
    rows: list[tuple[str, str, list[Markup]]] = []
    for _, items in found.groupby(["training_id", "stage_id"], sort=True, observed=True):
        first = next(iter(each(items)))
        name, verdict = labels.get(first.training_id, first.training_id), str(first.verdict)
        attacker = f"{first.loss}, surrogate {first.surrogate}, gradient {first.gradient}"
        failing = [tag("li", *_item(row)) for row in each(items) if not row.passed]
        passed = f"{len(items) - len(failing)} of {counted(len(items), 'item')} pass"
        told = [
            tag("th", name, scope="row"),
            tag("td", f"{first.space} space, {attacker}"),
            tag("td", tag("span", verdict, class_=f"verdict {verdict}")),
            tag("td", tag("ul", *failing) if failing else "", passed),
        ]
        rows.append((verdict, name, told))
    order: list[str] = list(VERDICTS)
    rows.sort(key=lambda row: (-order.index(row[0]) if row[0] in order else -9, row[1]))
    columns = heads("network", "judged attacker", "verdict", "items that do not pass")
    return table(columns, [told for *_, told in rows])


def _item(row: Any) -> list[object]:
    """An item that did not pass: what was found, and from where on that counts."""
    at = "" if pd.isna(row.epsilon) else f" at ε = {255 * row.epsilon:.3g}/255"
    limit = f"{row.value:.3g}{at}, suspicious from {row.threshold:.3g}, fails from {row.fail_threshold:.3g}"
    return [tag("b", row.item), f": {row.item_verdict}. {row.text} ({limit})"]


def failures(study: Study) -> Markup:
    """What is not finished and why; of each cause the end of a log."""
    if not (study.unfinished or study.failures):
        return tag("p", "Every cell is finished.", class_="empty")
    parts = []
    if study.unfinished:
        rows = [
            [
                tag("th", tag("span", one.state, class_="verdict"), scope="row"),
                tag("td", f"{one.count:,}", class_="n"),
                tag("td", one.reason),
                tag("td", one.labels),
            ]
            for one in study.unfinished
        ]
        parts.append(table(heads("state", "cells", "why", "which"), rows))
    parts += [_failure(one) for one in study.failures[:MOST_FAILURES]]
    if more := study.failures[MOST_FAILURES:]:
        cells = counted(sum(one.count for one in more), "cell")
        parts.append(tag("p", f"{counted(len(more), 'more cause')} of {cells}: status --by error"))
    return joined(parts)


def _failure(one: Failure) -> Markup:
    mark = tag("span", counted(one.count, "cell"), class_="verdict fail")
    shown = f"{one.example}, attempt {one.attempt}: {one.state}. {one.reason}"
    log = tag("pre", joined((escaped(line, LINE) for line in one.tail), "\n"), tabindex="0")
    return tag(
        "details",
        tag("summary", mark, " ", tag("b", one.signature)),
        tag("p", f"Cells: {one.labels}. Machines: {one.nodes}."),
        tag("p", f"The last lines of {shown}" if one.tail else shown),
        log if one.tail else tag("p", "It kept no log.", class_="none"),
        class_="failure",
    )


def cost(study: Study, attempts: pd.DataFrame) -> Markup:
    """Hours of all attempts by how they ended, and of the GPUs or cores that their jobs held.

    Where a claim of an older version does not say what that was, what the manifest asks for counts.
    """
    if attempts.empty:
        return tag("p", "Nothing has run yet.", class_="empty")
    shapes = {cell.training_id: cell for cell in study.cells}
    asked = [shapes[key] for key in attempts["training_id"]]
    gpus = attempts["gpus"].fillna(pd.Series([cell.gpus for cell in asked], attempts.index))
    cores = attempts["processes"].fillna(
        pd.Series([cell.processes for cell in asked], attempts.index)
    )
    hours = attempts["seconds"] / 3600
    costs = attempts.assign(
        hours=hours, gpu=hours * gpus, core=hours * cores.where(gpus == 0, 0), told=hours.notna()
    )
    kinds = {"gpu": "GPU hours", "core": "core hours"}
    columns = ["hours", *(key for key in kinds if costs[key].any())]
    groups = costs.groupby(costs["state"].astype(str))
    sums = groups[[*columns, "told"]].sum().assign(attempts=groups.size())
    sums = sums.sort_values(["hours", "attempts"], ascending=False)
    rows = [_cost_row(state, row, columns) for state, row in sums.iterrows()]
    rows.append(_cost_row("all", sums.sum(), columns))
    names = heads("ended as", "attempts", "hours", *map(kinds.get, columns[1:]), numbers_from=1)
    parts = [table(names, rows)]
    if silent := int((~costs["told"]).sum()):
        words = "no end is written: what runs, or was killed; its hours are not known"
        parts.append(tag("p", f"Of {counted(silent, 'attempt')} {words}.", class_="caption"))
    return joined(parts)


def _cost_row(name: object, row: Any, columns: list[str]) -> list[Markup]:
    shown = [f"{row[key]:,.2f}" if row["told"] else "\N{EN DASH}" for key in columns]
    numbers = [tag("td", text, class_="n") for text in (f"{int(row['attempts']):,}", *shown)]
    return [tag("th", name, scope="row"), *numbers]
