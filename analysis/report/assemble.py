"""The page: sections, style and script in one file that needs no network and runs nothing foreign."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from string import Template

from analysis.report.markup import Markup, escaped, joined, tag
from analysis.report.origin import header, provenance
from analysis.report.panels import curves
from analysis.report.points import Points, points
from analysis.report.published import published
from analysis.report.rows import Rows
from analysis.report.sections import audits, cost, failures
from analysis.report.study import Study, Tables, of_study
from analysis.report.worst import findings

FILTERS = ("dataset", "network", "training", "attack", "space")
"""Columns of the results that can be chosen from a list."""
_NO_SCRIPT = "This table needs JavaScript; its numbers are in tables/results.parquet, too."


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        key: its anchor.
        title: above it.
        body: what it says.
    """

    key: str
    title: str
    body: Markup

    def html(self) -> Markup:
        """As an element."""
        return tag("section", tag("h2", self.title), self.body, id=self.key)


def page(study: Study, tables: Tables) -> str:
    """The whole page as HTML.

    Only what is in the page may run: the policy names the hashes of its one style and one script,
    and allows nothing to be loaded, embedded or sent.

    Args:
        study: what it is about.
        tables: as collected; rows of other studies are left out.
    """
    mine = of_study(tables, study)
    numbers = points(mine, study.own)
    rows = Rows(numbers)
    found = list(_sections(study, mine, rows, numbers))
    style, script = _file("style.css"), _file("script.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_file("template.html")).substitute(
        policy=policy,
        title=escaped(f"{study.name} · robustness report"),
        name=escaped(study.name),
        root=escaped(study.root),
        header=header(study, mine),
        links=joined(tag("a", s.title, href=f"#{s.key}") for s in found),
        sections=joined((s.html() for s in found), "\n"),
        data=rows.data(),
        style=style,
        script=script,
    )


def _sections(study: Study, tables: Tables, rows: Rows, found: Points) -> Iterator[Section]:
    yield Section("findings", "Worst case over attacks", findings(found))
    yield Section("curves", "Robustness curves", curves(found, rows.places))
    if study.references:
        body = published(study, tables.results)
        yield Section("published", "Beside published numbers", body)
    if not tables.audits.empty:
        labels = {cell.training_id: cell.label for cell in study.cells}
        yield Section("audits", "Audits", audits(tables.audits, labels))
    yield Section("results", "All results", _results(len(rows)))
    yield Section("failures", "Unfinished and failed", failures(study))
    yield Section("cost", "Cost", cost(study, tables.attempts))
    yield Section("provenance", "Provenance", provenance(study, tables))


def _results(count: int) -> Markup:
    """The empty table that the script fills, and what chooses among its rows."""
    if not count:
        return tag("p", "No network has been evaluated yet.", class_="empty")
    lists = [
        tag("label", name, " ", tag("select", tag("option", "all", value=""), data_column=name))
        for name in FILTERS
    ]
    words = tag("label", "search ", tag("input", type="search", id="words", autocomplete="off"))
    return joined(
        [
            tag("div", words, *lists, class_="filters", role="search"),
            tag("p", _NO_SCRIPT, id="count", class_="caption", role="status"),
            tag("div", tag("table", "", id="rows"), class_="scroll tall", tabindex="0"),
            tag("button", "more rows", type="button", id="more", hidden=True),
        ]
    )


def _file(name: str) -> Markup:
    return Markup((resources.files(__package__) / "page" / name).read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    """An inline element's source in a Content-Security-Policy (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
