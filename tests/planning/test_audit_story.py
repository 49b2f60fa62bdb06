"""What `show` and `audit` say of an audit on record."""

from pathlib import Path
from typing import Any

import pytest

from jobs.planning import stage_story
from snnlib.spec.stage import AuditStage
from tests.planning.test_stage_story import recorded

GAP = {"item": "masking_gap", "verdict": "suspicious", "value": 0.091, "text": "9.1 points more"}
NOISE = {"item": "noise", "verdict": "pass", "value": 0.0, "text": "nothing at random"}


def story(folder: Path, stage: AuditStage, *items: dict[str, Any]) -> dict[str, Any]:
    verdict = items[0]["verdict"]
    (told,) = stage_story.told(recorded(folder, stage, verdict=verdict, items=list(items)))
    return told


def test_show_names_every_item(tmp_path: Path) -> None:
    told = story(tmp_path, AuditStage(), GAP, NOISE)
    assert stage_story.text(told).splitlines() == [
        "stage audit: 5 images · suspicious",
        "  suspicious  masking_gap        9.1 points more",
        "  pass        noise              nothing at random",
    ]


@pytest.mark.parametrize(
    ("stage", "items", "line"),
    [
        (AuditStage(), [NOISE], "pass"),
        (AuditStage(), [GAP, NOISE], "suspicious; 9.1 points more"),
        (AuditStage(gradient="tsslbp"), [NOISE], "pass (judged by gradient tsslbp)"),
        (
            AuditStage(space="encoded", loss="margin"),
            [GAP],
            "suspicious (judged by loss margin, space encoded); 9.1 points more",
        ),
    ],
)
def test_a_verdict_on_one_line(
    tmp_path: Path, stage: AuditStage, items: list[dict[str, Any]], line: str
) -> None:
    assert stage_story.verdict(story(tmp_path, stage, *items)) == line


def test_an_audit_that_does_not_read_well_is_left_out(tmp_path: Path) -> None:
    assert stage_story.told(recorded(tmp_path, AuditStage(), items=[GAP])) == []
