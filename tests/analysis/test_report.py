"""The page: what it shows, what it refuses to run, and how large it gets."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.collecting.collect import collect
from analysis.report import markup, panels, study, worst
from analysis.report.assemble import page
from analysis.report.points import points
from analysis.report.published import published
from analysis.report.study import Failure, Published, Tables, Unfinished
from tests.analysis import report_root
from tests.analysis.report_root import HOSTILE, SEEN

BARE = {"br", "meta", "img", "input", "hr", "link"}


class Seen(HTMLParser):
    """What a browser would find: elements with attributes, and the text of each."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        assert not self._open, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in BARE:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def names(self) -> set[str]:
        """Names of all elements."""
        return {name for name, _ in self.elements}


@pytest.fixture(scope="module")
def html(tables: Tables) -> str:
    return page(report_root.study(tables), tables)


def rows_of(content: str) -> tuple[list[str], list[list[Any]]]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', content)
    texts, rows = json.loads(data)
    return texts, rows


def section(content: str, key: str) -> str:
    (found,) = re.findall(rf'<section id="{key}">(.*?)</section>', content, re.DOTALL)
    return str(found)


def test_every_section_is_there_and_linked(html: str) -> None:
    keys = re.findall(r'<section id="(\w+)">', html)
    assert keys == ["findings", "curves", "results", "failures", "cost", "provenance"]
    assert all(f'href="#{key}"' in html for key in keys)


def test_the_main_finding_comes_first(html: str) -> None:
    text = "".join(Seen(section(html, "findings")).texts)
    assert "Up to 32/255 a network is surely above chance (10.0 %)" in text
    assert "worst case of 3 attacks" in text
    # 300 of 400 samples stand under the rectangle, whatever the others find
    assert "75.0 ± 0.0" in text


def test_spaces_never_share_an_axis(html: str) -> None:
    articles = re.findall(r"<article>(.*?)</article>", section(html, "curves"), re.DOTALL)
    titles = ["".join(Seen(one).texts).split(" space")[0] for one in articles]
    assert titles == ["digits · n = 400 · linf in pixel", "digits · n = 400 · linf in repeated"]
    assert [one.count("<svg") for one in articles] == [4, 1]


def test_curves_start_at_the_clean_accuracy(html: str) -> None:
    texts, rows = rows_of(html)
    first = re.findall(r'data-p="(\d+) (\d+) ', section(html, "curves"))
    clean, attacked = (rows[int(place)] for place in first[0])
    assert (texts[clean[3]], texts[clean[4]]) == ("clean", "0")
    assert (texts[clean[1]], texts[clean[2]]) == (texts[attacked[1]], texts[attacked[2]])
    assert texts[attacked[4]] == "4/255"


def test_every_result_carries_what_it_needs(html: str) -> None:
    texts, rows = rows_of(html)
    words = [[texts[place] for place in row[:11]] for row in rows]
    (row,) = [w for w in words if w[3] == "pgd-10 rectangle(gamma=1)" and "lif" in w[1] and w[2] == "clean" and w[4] == "8/255"]  # fmt: skip
    assert row[5:10] == ["pixel, linf", "rectangle(gamma=1)", "own", "0, 1", "40, 40 of 400"]


def test_shares_are_those_of_the_counts(html: str, tables: Tables) -> None:
    texts, rows = rows_of(html)
    by_count = {texts[row[9]]: row[12] for row in rows if row[18] == 2}
    for counts, share in by_count.items():
        one, two, total = map(int, re.findall(r"\d+", counts))
        assert share == pytest.approx(1e4 * (one + two) / 2 / total, abs=0.51)


def test_a_masked_gradient_is_warned_of(html: str, tables: Tables) -> None:
    found = points(tables, ())
    worst = [d for key, d in found.masked.items() if d.gap > 0.7]
    assert [(d.at, d.zero) for d in worst] == [((4, 255), 0.0)]
    assert "small-lif, clean</b>: other attacks find 76.6 points more at 4/255" in html


def test_each_evaluation_set_is_doubted_by_itself(tables: Tables) -> None:
    own = tables.results[tables.results["surrogate"].isin(["own"]) | (tables.results["attack"] == "clean")]  # fmt: skip
    results = pd.concat([tables.results, own.assign(samples_sha256="6" * 64)], ignore_index=True)
    more = tables.samples.assign(samples_sha256="6" * 64)
    samples = pd.concat([tables.samples, more], ignore_index=True)
    found = points(replace(tables, results=results, samples=samples), ())
    assert {key[2] for key in found.masked} == {"5" * 64}
    doubted = {row.samples_sha256 for row in found.worst.itertuples() if found.doubt(row)}
    assert doubted == {"5" * 64}


@pytest.mark.parametrize("blind", [False, True])
def test_suites_and_transfers_alone_tell_no_gap(tables: Tables, blind: bool) -> None:
    """A suite's members follow several gradients, a transfer that of another network."""
    names = {"fgsm": "autoattack", "pgd": "transfer"}
    attack = tables.results["attack"].astype("string").replace(names).astype("category")
    results = tables.results.assign(attack=attack, zero_gradient=100 * (attack != "clean"))
    results = results[~(blind & (attack == "autoattack"))]
    found = points(replace(tables, results=results), ()).masked
    assert {(d.gap, d.zero) for d in found.values()} == (set() if blind else {(0.0, 0.25)})


def test_vanishing_gradients_are_warned_of(tables: Tables) -> None:
    zero = (tables.results["attack"] == "fgsm") & (tables.results["neuron"] == "if")
    results = tables.results.assign(zero_gradient=zero.astype(int) * 100)
    html = page(report_root.study(tables), replace(tables, results=results))
    assert "no gradient in up to 25.0 % of the samples" in html


def test_only_its_own_style_and_script_may_run(html: str) -> None:
    policy = next(a["content"] for n, a in Seen(html).elements if n == "meta" and "content" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for name, kind in (("style", "style-src"), ("script", "script-src")):
        (inline,) = re.findall(rf"<{name}>(.*?)</{name}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy


def test_nothing_is_loaded_and_no_attribute_acts(html: str) -> None:
    for name, attributes in Seen(html).elements:
        assert not {key for key in attributes if key.startswith("on") or key in {"src", "style"}}
        assert (attributes.get("href") or "#").startswith("#")
        assert name not in {"img", "iframe", "link", "object", "base", "form"}


def hostile(tables: Tables) -> Iterator[tuple[study.Study, Tables]]:
    """Studies with foreign words in every place that takes any."""
    one = report_root.study(tables)
    failure = Failure(signature=HOSTILE, count=1, labels=HOSTILE, nodes=HOSTILE, example=HOSTILE, attempt=1, state=HOSTILE, reason=HOSTILE, tail=(HOSTILE,))  # fmt: skip
    held = Unfinished(state=HOSTILE, reason=HOSTILE, count=1, labels=HOSTILE)
    named = Published(where=HOSTILE, attack="fgsm", epsilon=(8, 255), value=1.0, source=HOSTILE, trainings=frozenset())  # fmt: skip
    texts = dict.fromkeys(("name", "source", "manifest", "root"), HOSTILE)
    yield replace(one, **texts, failures=(failure,), unfinished=(held,), references=(named,), notes=(HOSTILE,), commits={"c0de" * 4: HOSTILE}), tables  # type: ignore[arg-type]  # fmt: skip
    names = ("dataset", "model", "neuron", "regime", "split", "promise", "root", "torch", "host")
    results = tables.results.assign(**dict.fromkeys(names, HOSTILE), samples_sha256=HOSTILE)
    samples = tables.samples.assign(samples_sha256=HOSTILE)
    trainings = tables.trainings.assign(device=HOSTILE, host=HOSTILE)
    yield one, replace(tables, results=results, samples=samples, trainings=trainings)


@pytest.mark.parametrize("case", [0, 1])
def test_hostile_words_are_only_words(html: str, tables: Tables, case: int) -> None:
    content = page(*list(hostile(tables))[case])
    seen = Seen(content)
    assert seen.names() <= Seen(html).names() | {"pre", "li", "ul"}
    assert [name for name, _ in seen.elements].count("script") == 2
    assert SEEN in "".join(seen.texts)
    assert not {c for c in content if not c.isprintable()} - {"\n"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb", "a   b"),
        ("\x1b[31m", "\ufffd[31m"),
        ("\u202e\u2066\u200b", "\ufffd" * 3),
        ("\udcff", "\ufffd"),
        ("two\nlines", "two\nlines"),
        ("ε ± 雪", "ε ± 雪"),
        ("x" * 20, "xxxxxx … xxx"),
    ],
)
def test_text_is_made_harmless(text: str, shown: str) -> None:
    assert markup.plain(text, most=10) == shown


def test_markup_is_not_escaped_twice() -> None:
    inner = markup.tag("b", "<&>")
    assert markup.tag("p", inner, title='"<') == '<p title="&quot;&lt;"><b>&lt;&amp;&gt;</b></p>'


@pytest.fixture(scope="module")
def large(tables: Tables) -> str:
    """104 cells, 2,184 rows."""
    many = report_root.multiplied(tables, 13)
    return page(report_root.study(many), many)


def test_a_hundred_cells_fit_into_a_megabyte(large: str) -> None:
    assert "104 cells" in large
    assert len(large.encode()) < 1_000_000


def test_of_many_curves_the_most_robust_are_drawn_at_first(large: str) -> None:
    curves = section(large, "curves")
    assert curves.count('aria-pressed="true"') == 8
    assert "8 of 52 curves are drawn at first" in curves


def test_a_fifth_training_looks_unlike_the_first() -> None:
    names = [{"network": n, "training": f"{t}"} for n in "ab" for t in range(8)]
    lines = panels._lines(pd.DataFrame(names), [])
    assert len({line.classes for line in lines.values()}) == 16


def test_only_worst_cases_over_the_same_attacks_compete(tables: Tables) -> None:
    own = (tables.results["attack"] == "fgsm") == (tables.results["neuron"] == "lif")
    results = tables.results[own & (tables.results["surrogate"] == "own")]
    found = points(replace(tables, results=results), ()).worst
    marked = found[found["space"] == "pixel"].groupby("attacks")["partial"].unique()
    assert {name: list(values) for name, values in marked.items()} == {
        "fgsm": [False],
        "pgd-10": [True],
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (98.2, ["98.2 ± 0.3", "+0.0 [−1.8, +0.9]", "2"]),
        (50.0, ["98.2 ± 0.3", "+48.2 [+46.4, +49.1]", "2"]),
    ],
)
def test_published_numbers_stand_beside_ours(
    tables: Tables, value: float, shown: list[str]
) -> None:
    chosen = tables.trainings.query("neuron == 'lif' and regime == 'clean'")["training_id"]
    one = Published(where="lif", attack="clean", epsilon=(0, 1), value=value, source="a paper", trainings=frozenset(chosen))  # fmt: skip
    about = report_root.study(tables, references=(one,))
    found = published(about, tables.results)
    assert re.findall(r'<td class="n[^"]*">(.*?)</td>', re.sub("</?small>", "", found))[2:] == shown


def test_a_number_for_one_seed_stands_beside_that_seed(tables: Tables) -> None:
    chosen = tables.trainings.query("neuron == 'lif' and regime == 'clean' and seed == 0")
    one = Published(where="seed: 0", attack="clean", epsilon=(0, 1), value=50.0, source="s", trainings=frozenset(chosen["training_id"]))  # fmt: skip
    found = published(report_root.study(tables, references=(one,)), tables.results)
    assert re.findall(r'<td class="n">(?:([\d.]+)<small></small>|(1))</td>', found) == [
        ("98.5", ""),
        ("", "1"),
    ]


@pytest.mark.parametrize(
    ("trainings", "why"), [(frozenset({"0" * 16}), "not evaluated yet"), (frozenset(), "no cell")]
)
def test_a_published_number_without_ours_says_why(
    tables: Tables, trainings: frozenset[str], why: str
) -> None:
    one = Published(where="w", attack="bim", epsilon=(8, 255), value=1.0, source="s", trainings=trainings)  # fmt: skip
    about = report_root.study(tables, references=(one,))
    assert why in published(about, tables.results)


AUDIT = {
    "stage_id": "5" * 16,
    "text": "another attack finds more",
    "value": 0.3,
    "threshold": 0.08,
    "fail_threshold": 0.2,
    "epsilon": 8 / 255,
    "loss": "cross_entropy",
    "surrogate": "own",
    "gradient": "own",
    "space": "pixel",
    "verdict": "fail",
}


def test_audits_show_verdict_and_failing_items(tables: Tables) -> None:
    key = str(tables.trainings["training_id"].iloc[0])
    items = [("masking_gap", "fail", False), ("eot", "pass", True)]
    rows = [{**AUDIT, "training_id": key, "item": i, "item_verdict": v, "passed": p} for i, v, p in items]  # fmt: skip
    audited = replace(tables, audits=pd.DataFrame(rows))
    html = page(report_root.study(tables), audited)
    assert "masking_gap</b>: fail. another attack finds more (0.3 at ε = 8/255" in html
    assert "1 of 2 items pass" in html
    assert section(html, "findings").count('class="verdict fail"') == 1


def test_an_audit_may_be_newer_than_the_trainings(tables: Tables) -> None:
    keys = ["f" * 16, str(tables.trainings["training_id"].iloc[0])]
    audits = pd.DataFrame([{**AUDIT, "training_id": key} for key in keys])
    assert list(points(replace(tables, audits=audits), ()).verdicts.values()) == [
        ("fail", "1 of 2 seeds")
    ]


def test_a_mean_over_fewer_seeds_says_so(tables: Tables) -> None:
    alone = (tables.results["neuron"] == "lif") & (tables.results["seed"] == 1)
    html = worst.findings(points(replace(tables, results=tables.results[~alone]), ()))
    assert " of 1 seed</small>" in html
    assert " of 2 seeds" not in html
    assert " of 1 seed</small>" not in worst.findings(points(tables, ()))


def test_a_worst_case_without_all_that_was_asked_for_is_starred(tables: Tables) -> None:
    about = report_root.study(tables)
    for threat, starred in ((("linf", "pixel", True), True), (("l2", "pixel", True), False)):
        asked = [replace(c, attacks={**c.attacks, "f" * 16: threat}) for c in about.cells]
        table = section(page(replace(about, cells=tuple(asked)), tables), "findings")
        assert ("75.0*" in "".join(Seen(table).texts)) == starred


def test_rows_of_other_studies_are_left_out_and_counted(tables: Tables) -> None:
    about = report_root.study(tables)
    fgsm = tables.results.query("attack != 'fgsm'")["attack_id"]
    cells = tuple(replace(cell, attacks=dict.fromkeys(fgsm)) for cell in about.cells)
    html = page(replace(about, cells=cells), tables)
    assert "80 rows of these networks belong to other studies" in html
    assert "fgsm" not in {rows_of(html)[0][row[3]] for row in rows_of(html)[1]}


def test_a_study_without_results_is_a_page_too(tables: Tables) -> None:
    names = ("results", "samples", "trainings", "attempts")
    empty = replace(tables, **{name: getattr(tables, name).iloc[:0] for name in names})
    html = page(report_root.study(tables), empty)
    assert html.count("No network has been evaluated yet.") == 2
    assert "Nothing has run yet." in html


def test_clean_results_alone_are_a_page_too(tables: Tables) -> None:
    clean = replace(tables, results=tables.results.query("attack == 'clean'"))
    html = page(report_root.study(tables), clean)
    assert "No attack has been evaluated yet." in section(html, "curves")
    assert "97.2" in section(html, "findings")


def test_two_versions_of_the_code_are_noted(tables: Tables) -> None:
    codes = ["c0de" * 4] * (len(tables.results) - 1) + ["beef" * 4]
    html = page(
        report_root.study(tables), replace(tables, results=tables.results.assign(code=codes))
    )
    assert "2 versions of the code trained or attacked these networks" in html


def test_tables_without_audits_can_be_read(tmp_path: Path) -> None:
    report_root.write(tmp_path)
    collected = collect([tmp_path / "runs"])
    collected.paths["results"].with_name("audits.parquet").unlink(missing_ok=True)
    assert study.read(tmp_path / "runs").audits.empty
