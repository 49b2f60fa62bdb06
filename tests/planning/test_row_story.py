"""How samples fell, behind a row of `show`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import records
from jobs.breaks import Breaks
from jobs.layout import CellFiles
from jobs.planning import row_story, views
from tests.examples import cell, record

ONE = cell()
FGSM_ID = list(ONE.attack_ids)[1]
FELL = Breaks(step=(3, 40, 8), member=(0, 0, 1), linf=0.06, l2=0.9)


def told(
    folder: Path, fell: Breaks | None, *members: str, examples: bytes | None = None
) -> dict[str, Any]:
    """What `show` says of the first row of a record that says how samples fell."""
    found = record(ONE, FGSM_ID)
    rows = tuple(replace(row, breaks=fell) for row in found.rows)
    found = replace(found, rows=rows, members=members, attack={**found.attack, "norm": "l2"})
    paths = CellFiles(folder)
    return row_story.told(paths, records.write(paths, found, examples), found, rows[0])


@pytest.mark.parametrize(
    ("fell", "members", "text"),
    [
        (None, (), ""),
        (FELL, (), "  broken after 8 steps (most 40), linf 0.02, l2 0.3"),
        (
            replace(FELL, step=(1, 1, 1)),
            ("apgd", "square"),
            "  broken after 1 step, linf 0.02, l2 0.3 · by apgd 2, square 1",
        ),
    ],
)
def test_how_samples_fell_in_words(
    tmp_path: Path, fell: Breaks | None, members: tuple[str, ...], text: str
) -> None:
    assert row_story.text(told(tmp_path, fell, *members)) == text


def test_where_nothing_fell_nothing_is_said() -> None:
    none = Breaks(step=(), member=(), linf=0.0, l2=0.0)
    assert row_story.text(none.figures(())) == ""


def test_examples_are_named_where_they_lie(tmp_path: Path) -> None:
    rows = [
        {"attack": "fgsm", **told(tmp_path / "with", FELL, examples=b"tensors")},
        {"attack": "fgsm", **told(tmp_path / "without", FELL)},
    ]
    (line,) = row_story.examples([rows[0], *rows])
    assert line.startswith(f"examples of fgsm: {tmp_path / 'with' / 'evaluations' / FGSM_ID}-")


def test_a_norm_that_is_not_the_usual_one_is_said(tmp_path: Path) -> None:
    row: Mapping[str, Any] = {
        "attack": "autoattack",
        "space": "pixel",
        "surrogate": "own",
        "epsilon": "1/2",
        "correct": 5,
        "total": 10,
        "zero_gradient": 0,
        **told(tmp_path, FELL),
    }
    assert "autoattack   ε = 1/2" in views.row_text(row, wide=12)
    assert "l2 in pixel space, surrogate own" in views.row_text(row)
    assert "surrogate own, gradient tsslbp" in views.row_text({**row, "gradient": "tsslbp"})
