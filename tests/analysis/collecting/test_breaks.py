"""How samples fell, in the tables: figures for each row, a number for each sample."""

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.collecting.breaks import SUMMARIES, numbers, of_row
from analysis.collecting.collect import collect
from jobs import records
from jobs.breaks import Breaks, encode, packed
from snnlib.spec.attack import FGSM, PGD, Clean
from tests.analysis.synthetic import SyntheticRoot, mask, spec

LOW, HIGH = Fraction(4, 255), Fraction(8, 255)
NONE = Breaks(step=(), member=(), linf=0.0, l2=0.0)
FELL = Breaks(step=(40, 3, 70_000), member=(0, 0, 0), linf=0.06, l2=0.9)
SUITE = replace(FELL, step=(3, 40, 8), member=(2, 0, 2))
Tables = dict[str, pd.DataFrame]


def tell(path: Path, told: tuple[Breaks, Breaks], members: tuple[str, ...] = ()) -> None:
    """Have a record say how samples fell at its two radii, and how long each took."""
    found = records.read(path)
    rows = [replace(row, breaks=fell) for row, fell in zip(found.rows, told, strict=True)]
    data = records.encode(
        replace(
            found,
            rows=tuple(rows),
            members=members,
            measured={**found.measured, "row_seconds": [0.25, 1.5]},
        )
    )
    path.unlink()
    path.with_name(f"{found.attack_id}-{records.content_hash(data)}.json").write_bytes(data)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Clean, an attack that tells how samples fell, a suite that does, and an older record."""
    made, what, older = SyntheticRoot(tmp_path), spec(), spec(1)
    masks = {LOW: mask(10, 10), HIGH: mask(7, 10, 1)}
    for trained in (what, older):
        made.train(trained)
        made.evaluate(trained, FGSM(), masks)
    made.evaluate(what, Clean(), {Fraction(0): mask(9, 10)})
    tell(made.evaluate(what, PGD(), masks), (NONE, FELL))
    members = ("apgd", "fab", "square")
    tell(made.evaluate(what, PGD(steps=5), masks), (NONE, SUITE), members)
    collect([tmp_path])
    return {name: analysis.load(name, tmp_path) for name in ("results", "samples")}


def at(frame: pd.DataFrame, radius: Fraction, steps: int) -> pd.Series:
    """The row of PGD with so many steps at a radius."""
    chosen = frame[(frame["steps"] == steps) & (frame["epsilon_num"] == radius.numerator)]
    return chosen.iloc[0]


def test_a_row_has_figures_of_its_broken_samples(tables: Tables) -> None:
    row = at(tables["results"], HIGH, 10)
    found = row[["mean_linf", "mean_l2", "median_step", "max_step", "row_seconds"]].tolist()
    assert found == pytest.approx([0.02, 0.3, 40, 70_000, 1.5])
    assert pd.isna(row["broken_by"])
    assert at(tables["results"], HIGH, 5)["broken_by"] == "apgd:1,square:2"


def test_where_nothing_fell_or_nobody_said_there_are_no_figures(tables: Tables) -> None:
    results = tables["results"]
    absent = results[(results["attack"] != "pgd") | (results["correct"] == results["total"])]
    names = ["broken_by", "mean_linf", "mean_l2", "median_step", "max_step"]
    assert len(absent) == len(results) - 2
    assert absent[names].isna().all(axis=None)
    assert results["row_seconds"].isna().sum() == (results["attack"] != "pgd").sum()


def test_every_sample_has_its_step_beside_its_mask(tables: Tables) -> None:
    keys = ["training_id", "attack_id", "epsilon_num", "epsilon_den"]
    samples = tables["samples"].merge(tables["results"][[*keys, "steps"]], on=keys)
    row = at(samples, HIGH, 5)
    expected = dict(zip((~row["mask"]).nonzero()[0].tolist(), (3, 40, 8), strict=True))
    assert row["step"].tolist() == [expected.get(place, -1) for place in range(10)]
    assert row["member"][~row["mask"]].tolist() == [2, 0, 2]
    assert at(samples, HIGH, 10)["member"] is None
    assert at(samples, LOW, 10)["step"].tolist() == [-1] * 10


def test_older_records_and_clean_have_no_list(tables: Tables) -> None:
    samples, results = tables["samples"], tables["results"]
    silent = samples["step"].map(lambda steps: steps is None)
    assert silent.tolist() == (results["attack"] != "pgd").tolist()


@pytest.mark.parametrize("most", [1, 200, 300, 70_000])
@pytest.mark.parametrize("broken", [1, 2, 999])
def test_packed_numbers_have_the_same_figures(most: int, broken: int) -> None:
    draw = random.Random(most + broken)
    fell = Breaks(
        step=tuple(draw.randrange(most) for _ in range(broken)),
        member=tuple(draw.randrange(3) for _ in range(broken)),
        linf=1.5,
        l2=2.5,
    )
    how = packed(encode(fell), broken, 3)
    found = of_row(records.PackedRow((1, 255), 1, broken + 1, 0, b"", how), "abc")
    assert found is not None
    assert found.summaries == tuple(fell.figures("abc")[name] for name in SUMMARIES)
    assert tuple(numbers(found.step, broken)) == fell.step


def test_more_steps_than_a_table_holds_are_skipped(tmp_path: Path) -> None:
    made, what = SyntheticRoot(tmp_path), spec()
    made.train(what)
    endless = replace(FELL, step=(2**31, 3, 8))
    masks = {LOW: mask(10, 10), HIGH: mask(7, 10, 1)}
    tell(made.evaluate(what, PGD(), masks), (NONE, endless))
    assert "signed integer is greater than maximum" in collect([tmp_path]).warnings[0]


def test_an_older_twin_of_a_record_is_no_disagreement(tmp_path: Path) -> None:
    made, what = SyntheticRoot(tmp_path), spec()
    made.train(what)
    masks = {LOW: mask(10, 10), HIGH: mask(7, 10, 1)}
    tell(made.evaluate(what, PGD(), masks), (NONE, FELL))
    made.evaluate(what, PGD(), masks)
    assert collect([tmp_path]).warnings == []
