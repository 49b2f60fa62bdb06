"""Where the numbers come from: the manifest, code, machines, seeds and test sets behind them."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from analysis.naming import each
from analysis.report.markup import Markup, counted, escaped, joined, tag
from analysis.report.study import Study, Tables

MOST_TEXT = 200_000
"""Characters of the manifest at most."""
_LISTED = 12


def header(study: Study, tables: Tables) -> Markup:
    """Cells by state as a bar, and the few facts that tell one report from another."""
    facts = {
        "manifest": _hash(study.manifest)[:12],
        "code": _some([code[:12] for code in _codes(tables)]),
        "seeds": _some(sorted({int(seed) for seed in tables.trainings["seed"]})),
        "test sets": _some(_sets(tables)),
        "repeats": _some(sorted(set(tables.results["promise"].dropna()))),
        "ran": _span(tables.attempts),
        "made": when(study.at),
    }
    pairs = [tag("div", tag("dt", key), tag("dd", value)) for key, value in facts.items() if value]
    return joined([_states(study.states), tag("dl", *pairs, class_="facts")])


def provenance(study: Study, tables: Tables) -> Markup:
    """All of it, the manifest's text included."""
    results, trainings = tables.results, tables.trainings
    codes = [f"{code} {_commit(study, code)}".strip() for code in _codes(tables)]
    facts: dict[str, Iterable[object]] = {
        "study": [study.name],
        "manifest": [study.source, f"SHA-256 {_hash(study.manifest)}"],
        "run root": [study.root, *sorted(set(results["root"].astype(str)) - {study.root})],
        "code": codes,
        "torch": _tally(pd.concat([trainings["torch"], results["torch"]]), "trainings and rows"),
        "device": _tally(trainings["device"], "trainings"),
        "machines": _tally(trainings["host"], "trainings"),
        "test sets": _sets(tables, whole=True),
        "seeds": [_some(sorted({int(seed) for seed in trainings["seed"]}))],
        "how far rows repeat": _tally(results["promise"], "rows"),
        "faithful to": _tally(trainings["faithful"], "trainings"),
        "trainings began and ended": [_span(tables.attempts)],
        "rows": [
            f"{len(results):,} of {counted(len(trainings), 'trained network')}",
            *_others(tables),
        ],
        "page made": [when(study.at)],
    }
    pairs = [
        tag("div", tag("dt", key), *(tag("dd", value) for value in values if value))
        for key, values in facts.items()
        if any(values)
    ]
    text = tag("pre", escaped(study.manifest, MOST_TEXT), tabindex="0")
    manifest = tag("details", tag("summary", "the manifest's text"), text)
    return joined([tag("dl", *pairs, class_="origin"), _notes(study, tables), manifest])


def when(seconds: float) -> str:
    """A moment in UTC, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _states(states: Counter[str]) -> Markup:
    """Shares of the states as one bar, and in words."""
    total, start, parts = max(1, states.total()), 0.0, []
    for state, number in states.most_common():
        width = 1000 * number / total
        parts.append(
            tag(
                "rect",
                x=f"{start:.1f}",
                width=f"{width:.1f}",
                height=10,
                class_=f"state {_kind(state)}",
            )
        )
        start += width
    words = " · ".join(f"{number:,} {state}" for state, number in states.most_common())
    bar = tag(
        "svg",
        *parts,
        viewBox="0 0 1000 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )
    return joined(
        [bar, tag("p", tag("b", counted(states.total(), "cell")), f": {words}", class_="states")]
    )


def _kind(state: str) -> str:
    match state:
        case "completed":
            return "done"
        case "failed" | "out_of_memory" | "given_up" | "timeout" | "node_fail" | "lost":
            return "bad"
        case "running":
            return "busy"
        case "queued" | "pending":
            return "wait"
        case _:
            return "open"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _codes(tables: Tables) -> list[str]:
    """Code that trained or attacked, most rows first."""
    of_trainings = (code for codes in tables.trainings["codes"] for code in codes)
    tally = Counter([*tables.results["code"], *of_trainings])
    return [code for code, _ in tally.most_common() if code]


def _commit(study: Study, code: str) -> str:
    commit = study.commits.get(code, "")
    return f"(commit {commit})" if commit else ""


def _sets(tables: Tables, *, whole: bool = False) -> list[str]:
    """Evaluation sets with their fingerprints."""
    names = ["dataset", "split", "samples_sha256", "total"]
    return [
        f"{r.dataset} {r.split}, n = {r.total:,}, {r.samples_sha256 if whole else r.samples_sha256[:12]}"
        for r in each(tables.results.drop_duplicates(names).sort_values(names))
    ]


def _others(tables: Tables) -> list[str]:
    if not tables.others:
        return []
    return [f"{tables.others:,} rows of these networks belong to other studies and are not shown"]


def _span(attempts: pd.DataFrame) -> str:
    started, ended = attempts["started"].dropna(), attempts["ended"].dropna()
    if started.empty:
        return ""
    last = f" to {when(ended.max())}" if not ended.empty else ""
    return f"{when(started.min())}{last}"


def _tally(values: "pd.Series[Any]", what: str) -> list[str]:
    """The values, the most frequent first; how many have each, unless all have one."""
    counts, total = values.dropna().astype(str).value_counts(), len(values)
    shown = [
        str(name) if number == total else f"{name} ({number:,} of {total:,} {what})"
        for name, number in counts.head(_LISTED).items()
    ]
    return [*shown, f"and {len(counts) - _LISTED} more"] if len(counts) > _LISTED else shown


def _some(values: list[Any]) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return f"{', '.join(map(str, values[:_LISTED]))}{more}"


def _notes(study: Study, tables: Tables) -> Markup:
    """What makes numbers of this page hard to compare, and what was left out of it."""
    codes, results = _codes(tables), tables.results
    lines = [*study.notes[:50]]
    if len(study.notes) > 50:
        lines.append(f"and {len(study.notes) - 50} more: launch.py collect lists them")
    if len(codes) > 1:
        lines.insert(0, f"{len(codes)} versions of the code trained or attacked these networks")
    sets = results.groupby(["dataset", "split"], observed=True)["samples_sha256"].nunique()
    lines += [
        f"{' '.join(map(str, index))}: {number} different evaluation sets, shown apart"
        for index, number in zip(sets.index.to_list(), sets, strict=True)
        if number > 1
    ]
    if not lines:
        return Markup()
    head = tag("summary", f"{counted(len(lines), 'note')} on these numbers")
    return tag("details", head, tag("ul", *(tag("li", line) for line in lines)), open=True)
