"""What is listed again: whatever may have changed, and nothing else."""

import os
import time
from fractions import Fraction
from pathlib import Path

import pytest

from analysis.collecting import listing, remembered, unchanged
from analysis.collecting.collect import collect
from jobs.layout import RunRoot
from snnlib.spec.attack import FGSM, Clean
from tests.analysis.synthetic import SyntheticRoot, mask, quickstart, spec

CLEAN = {Fraction(0): mask(9, 10)}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of trainings that are listed, one by one."""
    seen: list[str] = []
    usual = listing.held

    def counted(cells: str, training_id: str) -> listing.Held:
        seen.append(training_id)
        return usual(cells, training_id)

    monkeypatch.setattr(listing, "held", counted)
    return seen


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of some trainings that were collected and looked at again, all a while ago."""
    monkeypatch.setattr(unchanged, "SETTLED_NS", 0)
    made = quickstart(tmp_path / "runs", seeds=1, total=20)
    for _ in range(2):
        collect([made.path])
    return sorted(made.root.cells.glob("*/*"))


def again(cells: list[Path], listed: list[str]) -> list[str]:
    listed.clear()
    collect([cells[0].parents[2]])
    return listed


def test_what_did_not_change_is_not_listed(cells: list[Path], listed: list[str]) -> None:
    assert again(cells, listed) == []


@pytest.mark.parametrize("what", ["spec.json", "training.json"])
def test_a_file_that_is_written_anew_in_its_place_is_seen(
    cells: list[Path], listed: list[str], what: str
) -> None:
    path = cells[1] / what
    times = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert again(cells, listed) == [cells[1].name]


def test_a_record_that_goes_is_seen(cells: list[Path], listed: list[str]) -> None:
    next(cells[2].glob("evaluations/*.json")).unlink()
    assert again(cells, listed) == [cells[2].name] * 2  # to see it, and to read it


def test_a_new_attempt_is_seen_until_it_has_ended(cells: list[Path], listed: list[str]) -> None:
    attempt = cells[0] / "attempts" / "0007"
    attempt.mkdir()
    assert again(cells, listed) == [cells[0].name] * 2
    assert again(cells, listed) == [cells[0].name]
    for name in ("claim.json", "end.json"):
        (attempt / name).write_text("{}")
    assert again(cells, listed) == [cells[0].name] * 2
    assert [len(again(cells, listed)) for _ in range(3)] == [1, 0, 0]


def test_a_stage_is_seen(cells: list[Path], listed: list[str]) -> None:
    stages = cells[3] / "stages"
    stages.mkdir()
    assert again(cells, listed) == [cells[3].name]
    (stages / f"{'a' * 16}.json").write_text("{}")
    assert again(cells, listed) == [cells[3].name] * 2


def test_several_processes_see_what_one_sees(
    cells: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = RunRoot(cells[0].parents[2])
    last = remembered.load(root.tables, [str(root.path)])
    assert last is not None
    next(cells[2].glob("evaluations/*.json")).unlink()
    some = [*listing.holders([root], []).items()]
    one = unchanged.look(some, last.look, time.time_ns())
    assert one.stamps.keys() == {cell.name for cell in cells} - {cells[2].name}
    monkeypatch.setattr(unchanged, "SHARE", 1)
    assert unchanged.look(some, last.look, time.time_ns()) == one


def test_a_tombstone_is_seen(cells: list[Path], listed: list[str]) -> None:
    SyntheticRoot(cells[0].parents[2]).tombstone(cells[1].name)
    assert again(cells, listed) == [cells[1].name] * 2
    assert again(cells, listed) == [cells[1].name]


def test_what_changed_a_moment_ago_is_listed_again(made: SyntheticRoot, listed: list[str]) -> None:
    """Its time of change may not tell a change after it was listed from one before."""
    cell = made.train(spec(0))
    made.evaluate(spec(0), Clean(), CLEAN)
    for _ in range(3):
        collect([made.path])
    listed.clear()
    collect([made.path])
    assert listed == [cell]


def test_a_training_in_two_run_roots_is_seen_in_either(
    tmp_path: Path, listed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "SETTLED_NS", 0)
    roots = [SyntheticRoot(tmp_path / name) for name in ("one", "other")]
    for root in roots:
        root.train(spec(0))
        root.evaluate(spec(0), Clean(), CLEAN)

    def again() -> int:
        listed.clear()
        collect([root.path for root in roots])
        return len(listed)

    assert [again() for _ in range(3)] == [2, 2, 0]
    roots[1].evaluate(spec(0), FGSM(), {Fraction(2, 255): mask(4, 10)})
    assert again() == 4
