"""Collecting what is new: the same tables to the byte as if everything had been read."""

import hashlib
import os
import random
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from analysis.collecting import gather, incremental, listing, remembered, sources, unchanged
from analysis.collecting.collect import Collected, NothingYet, collect
from jobs import forked, identity
from jobs.upkeep import tombstones
from snnlib.spec.attack import FGSM, PGD, Clean, Transfer
from tests.analysis.synthetic import SyntheticRoot, mask, quickstart, spec

TWO = Fraction(2, 255)


def contents(collected: Collected) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in collected.paths.items()}


def scratch(root: Path, *others: Path) -> dict[str, bytes]:
    """What a collection gives that remembers nothing."""
    out = root.parent / "scratch"
    shutil.rmtree(out, ignore_errors=True)
    return contents(collect([root, *others], out))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of trainings that are read, one by one."""
    seen: list[str] = []
    usual = sources.read_cell

    def counted(cells: str, training_id: str, dead: set[str]) -> sources.Found:
        seen.append(training_id)
        return usual(cells, training_id, dead)

    monkeypatch.setattr(gather, "read_cell", counted)
    return seen


def change(made: SyntheticRoot, chance: random.Random) -> None:
    """One thing that happens to a run root, or that somebody does to it."""
    what = spec(chance.randrange(6), chance.choice(["if", "lif"]))
    cells = sorted(made.root.cells.glob("*/*"))
    cell = chance.choice(cells)
    (cell / "evaluations").mkdir(exist_ok=True)
    records = sorted(cell.glob("evaluations/*.json"))
    match chance.randrange(9):
        case 0 if not made.root.cell(identity.training_id(what)).attempts.exists():
            made.train(what)
        case 1:
            number = len(list(cell.glob("attempts/*"))) + 1
            (cell / "attempts" / f"{number:04d}").mkdir(parents=True)
        case 2:
            tombstones.invalidate(made.root, cell.name, None, {"reason": "wrong"})
        case 3 if records:
            attack_id = chance.choice(records).name.partition("-")[0]
            tombstones.invalidate(made.root, cell.name, attack_id, {"reason": "wrong"})
        case 4 if records:
            chance.choice(records).unlink()
        case 5:
            shutil.rmtree(cell)
        case 6:
            (cell / "evaluations" / f"{'a' * 16}-{chance.randrange(9)}.json").write_bytes(b"{}")
        case 7:  # the setting of its source may be gone, or come later
            source = identity.training_id(spec(chance.randrange(6), chance.choice(["if", "lif"])))
            made.evaluate(what, Transfer(source=source), {TWO: mask(4, 10)})
        case _:
            made.evaluate(what, PGD(steps=chance.randrange(1, 9)), {TWO: mask(4, 10)})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settled", [0, unchanged.SETTLED_NS])
def test_whatever_happens_between_the_tables_are_those_from_scratch(
    tmp_path: Path, seed: int, settled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "SETTLED_NS", settled)
    made, chance = quickstart(tmp_path / "runs", seeds=1, total=20), random.Random(seed)
    collect([made.path])
    for _ in range(5):
        for _ in range(chance.randrange(1, 4)):
            change(made, chance)
        found = collect([made.path])
        assert contents(found) == scratch(made.path)
        assert found.warnings == collect([made.path]).warnings


def test_only_what_is_new_is_read(made: SyntheticRoot, read: list[str]) -> None:
    old, new = (made.train(spec(seed)) for seed in (0, 1))
    made.evaluate(spec(0), Clean(), {Fraction(0): mask(9, 10)})
    collect([made.path])
    made.evaluate(spec(1), FGSM(), {TWO: mask(4, 10)})
    read.clear()
    found = collect([made.path])
    assert read == [new] != [old]
    assert (found.added["results"], found.added["trainings"], found.changed) == (1, 0, True)
    assert (collect([made.path]).changed, read) == (False, [new])


def test_an_end_that_comes_is_read(made: SyntheticRoot, read: list[str]) -> None:
    made.train(spec(0))
    attempt = made.attempt(spec(0), 2, None)
    collect([made.path])
    (attempt / "end.json").write_text('{"state": "failed", "reason": "x"}')
    read.clear()
    assert (len(read), collect([made.path]).changed, len(read)) == (0, True, 1)


def test_what_has_a_warning_is_read_again(made: SyntheticRoot, read: list[str]) -> None:
    made.train(spec(0))
    path = made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    collect([made.path])
    path.write_bytes(whole)
    found = collect([made.path])
    assert (len(read), found.counts["results"], found.warnings) == (2, 1, [])


def test_a_tombstone_that_comes_meanwhile_is_honoured_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, usual = quickstart(tmp_path / "runs", seeds=1, total=20), listing.held
    key = min(path.name for path in made.root.cells.glob("*/*"))

    def held(cells: str, training_id: str) -> listing.Held:
        if not made.root.invalidated.exists():
            made.tombstone(key)
        return usual(cells, training_id)

    monkeypatch.setattr(listing, "held", held)
    assert collect([made.path]).counts["trainings"] == 4
    monkeypatch.setattr(listing, "held", usual)
    found = collect([made.path])
    assert (found.counts["trainings"], contents(found)) == (3, scratch(made.path))


@pytest.mark.parametrize("harm", ["delete", "flip", "cut", "code", "older"])
def test_without_what_was_remembered_all_is_read(
    tmp_path: Path, read: list[str], harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = quickstart(tmp_path / "runs", seeds=1, total=20)
    before = contents(collect([made.path]))
    path = remembered.path(made.root.tables)
    data = path.read_bytes()
    match harm:
        case "delete":
            path.unlink()
        case "flip":
            path.write_bytes(data[:-99] + bytes([data[-99] ^ 1]) + data[-98:])
        case "cut":
            path.write_bytes(data[:999])
        case "older":  # whose rows lay behind its first line
            old = data.partition(b"\n")[2] + b"\xff" * 9
            path.write_bytes(hashlib.sha256(old).hexdigest().encode() + b"\n" + old)
        case _:
            monkeypatch.setattr(remembered, "code", lambda: "other")
    read.clear()
    found = collect([made.path])
    assert (len(read), contents(found), found.added["results"]) == (4, before, 0)


def test_a_damaged_table_is_made_anew(made: SyntheticRoot, read: list[str]) -> None:
    """What is kept beside the tables says what they hold, and holds no row itself."""
    cell = made.train(spec(0))
    found = collect([made.path])
    before = contents(found)
    found.paths["results"].write_bytes(b"PAR1")
    read.clear()
    found = collect([made.path])
    assert (contents(found), found.changed, read) == (before, True, [cell])


def test_other_run_roots_are_not_mistaken_for_these(tmp_path: Path) -> None:
    one, other = (SyntheticRoot(tmp_path / name) for name in ("one", "other"))
    one.train(spec(0))
    other.train(spec(1))
    both = contents(collect([one.path, other.path]))
    alone = contents(collect([one.path]))
    assert (scratch(one.path), scratch(one.path, other.path)) == (alone, both)
    assert contents(collect([one.path, other.path])) == both


def test_a_parent_settles_the_configuration_of_its_children(made: SyntheticRoot) -> None:
    """Seeds whose parents come later are seeds of one setting all the same."""
    parents = [spec(seed, adversarial=True) for seed in (0, 1)]
    for seed, parent in enumerate(parents):
        made.train(spec(seed, start=SyntheticRoot(made.path.parent / "other").train(parent)))
    collect([made.path])
    for parent in parents:
        made.train(parent)
    assert contents(collect([made.path])) == scratch(made.path)


def test_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = quickstart(tmp_path / "runs", seeds=1, total=20)
    alone = scratch(made.path)
    monkeypatch.setattr(incremental, "SHARE", 1)
    monkeypatch.setattr(forked, "PROCESSES", 3)
    assert scratch(made.path) == alone


def test_nothing_yet_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(NothingYet, match="no cell has been started"):
        collect([tmp_path])
    assert os.listdir(tmp_path) == ["cells"]


def test_all_code_that_makes_tables_counts() -> None:
    found = remembered._sources("analysis.collecting.incremental")
    expected = (
        "analysis.collecting.columns",
        "analysis.collecting.gradients",
        "jobs.records",
        "jobs.schema",
    )
    assert {*expected, "jobs.expand.systems", "analysis.collecting.parquet"} <= found.keys()
    assert not {name for name in found if name.startswith(("analysis.report", "analysis.figures"))}
