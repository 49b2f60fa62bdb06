"""What was declared invalid is out of the tables, what was made since is in."""

from fractions import Fraction
from pathlib import Path

import pytest

from analysis.collecting.collect import collect
from jobs.upkeep import tombstones
from snnlib.spec.attack import Clean
from tests.analysis.synthetic import SyntheticRoot, mask, spec

ZERO = {Fraction(0): mask(9, 10)}
NOTE = {"reason": "wrong split"}


@pytest.fixture
def made(tmp_path: Path) -> SyntheticRoot:
    """Two trainings with a clean row each."""
    found = SyntheticRoot(tmp_path / "runs")
    for seed in (0, 1):
        found.train(spec(seed))
        found.evaluate(spec(seed), Clean(), ZERO)
    return found


def test_what_is_left_out_is_said(made: SyntheticRoot) -> None:
    (key, _) = (path.name for path in sorted(made.root.cells.glob("*/*")))
    assert collect([made.path]).invalid == []
    tombstones.invalidate(made.root, key, None, NOTE)
    found = collect([made.path])
    assert (found.counts["results"], found.counts["trainings"]) == (1, 1)
    assert found.invalid == ["1 row of 1 training (invalidated: wrong split)"]
    assert (found.warnings, found.counts["attempts"]) == ([], 2)


def test_reasons_are_counted_together_and_cut(made: SyntheticRoot) -> None:
    keys = [path.name for path in made.root.cells.glob("*/*")]
    for key in keys:
        tombstones.invalidate(made.root, key, None, NOTE)
    assert collect([made.path]).invalid == ["2 rows of 2 trainings (invalidated: wrong split)"]
    for number in range(7):
        tombstones.invalidate(made.root, keys[0], None, {"reason": f"bug {number}"})
    lines = collect([made.path]).invalid
    assert (len(lines), lines[-1]) == (6, "and for 3 more reasons")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"rows"', []),
        ("[" * 100_000, []),
        ('{"training_id": [], "reason": "x"}', ["0 rows of 1 training (invalidated: x)"]),
    ],
)
def test_a_foreign_tombstone_stops_nothing(
    made: SyntheticRoot, content: str, told: list[str]
) -> None:
    made.root.invalidated.mkdir()
    made.root.tombstone("0" * 16 + "-0001").write_text(content)
    assert collect([made.path]).invalid == told
