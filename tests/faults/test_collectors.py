"""Collectors that die, find no room or meet each other: tables stay whole."""

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import pytest

from analysis.collecting import parquet
from analysis.collecting.collect import Collected, collect
from jobs.schema import TABLES, TableName
from tests.analysis.synthetic import SyntheticRoot, quickstart, spec
from tests.faults.filesystem import Fault, struck


def rows(root: Path) -> dict[TableName, int]:
    """Rows of each table that is there; each is read whole."""
    paths = {name: root / "tables" / f"{name}.parquet" for name in TABLES}
    return {n: parquet.read(path, n).num_rows for n, path in paths.items() if path.exists()}


def contents(found: Collected) -> dict[TableName, bytes]:
    return {name: path.read_bytes() for name, path in found.paths.items()}


@pytest.mark.slow
@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_collector_may_fail_at_any_operation(tmp_path: Path, fault: Fault) -> None:
    made = SyntheticRoot(tmp_path / "runs")
    made.train(spec(0))
    before = collect([made.path]).counts
    shutil.copytree(made.root.tables, tmp_path / "old")
    made.train(spec(1))
    whole = contents(collect([made.path], tmp_path / "new"))
    for at in range(1, 100):
        shutil.rmtree(made.root.tables)
        shutil.copytree(tmp_path / "old", made.root.tables)
        hit = struck(fault, at, lambda: collect([made.path]))
        assert all(n in (before[name], 2 * before[name]) for name, n in rows(made.path).items())
        assert contents(collect([made.path])) == whole
        if not hit:
            break
    assert at > 25


def collected(root: Path) -> dict[TableName, int]:
    return collect([root]).counts


@pytest.mark.slow
def test_collectors_at_once_leave_whole_tables(tmp_path: Path) -> None:
    made = quickstart(tmp_path / "runs", seeds=1)
    counts = collect([made.path]).counts
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(collected, made.path) for _ in range(6)]
        while not all(one.done() for one in running):
            assert rows(made.path) == counts
    assert [one.result() for one in running] == [counts] * 6
    assert os.listdir(made.root.tables / ".parts") == ["collected"]
    assert {*os.listdir(made.root.tables)} == {".parts", *(f"{name}.parquet" for name in TABLES)}
