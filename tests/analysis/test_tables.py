"""Loading: types, checksums, messages; and the tables on their own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow.parquet as pq
import pytest

import analysis
from jobs.errors import CorruptFile, UsageError
from jobs.schema import SCHEMA_VERSION, TABLES, Column, TableName

FILES = ("results.parquet", "samples.parquet")


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_its_type_and_explains_itself(grid: Path, name: TableName) -> None:
    schema = pq.read_schema(grid / "tables" / f"{name}.parquet")
    assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert schema.names == [column.name for column in TABLES[name].columns]
    for column in TABLES[name].columns:
        field = schema.field(column.name)
        assert field.metadata[b"description"].decode() == column.description
        assert (field.metadata[b"kind"].decode(), field.nullable) == (column.kind, column.optional)


def test_types_of_a_frame(results: pd.DataFrame, samples: pd.DataFrame) -> None:
    assert results.dtypes[["correct", "steps", "clip"]].map(str).tolist() == [
        "int64",
        "Int64",
        "boolean",
    ]
    assert isinstance(results["neuron"].dtype, pd.CategoricalDtype)
    assert results["steps"].isna().sum() == (results["attack"] != "pgd").sum()
    masks = np.stack(list(samples["mask"]))
    assert masks.dtype == bool
    assert masks.sum(axis=1).tolist() == results["correct"].tolist()


def standing(mask: bytes) -> int:
    return int.from_bytes(mask, "big").bit_count()


def in_pandas(folder: Path) -> tuple[int, int, float, int]:
    results, samples = (pd.read_parquet(folder / name) for name in FILES)
    kept = int(samples["mask"].map(standing).sum())
    return len(results), int(results["correct"].sum()), float(results["epsilon"].sum()), kept


def in_polars(folder: Path) -> tuple[int, int, float, int]:
    results, samples = (polars.read_parquet(folder / name) for name in FILES)
    kept = int(samples["mask"].map_elements(standing, return_dtype=polars.Int64).sum())
    return results.height, int(results["correct"].sum()), float(results["epsilon"].sum()), kept


def in_duckdb(folder: Path) -> tuple[int, int, float, int]:
    results, samples = (str(folder / name) for name in FILES)
    with duckdb.connect() as database:
        counted = "SELECT count(*), sum(correct), sum(epsilon) FROM read_parquet(?)"
        (row,) = database.execute(counted, [results]).fetchall()
        kept = "SELECT sum(bit_count(mask::BIT)) FROM read_parquet(?)"
        return (*row, *database.execute(kept, [samples]).fetchall()[0])


@pytest.mark.parametrize("engine", [in_pandas, in_polars, in_duckdb])
def test_others_read_the_same_sums_from_the_files(
    grid: Path, results: pd.DataFrame, engine: Callable[[Path], tuple[int, int, float, int]]
) -> None:
    rows, correct, epsilon, kept = engine(grid / "tables")
    assert (rows, correct, kept) == (len(results), results["correct"].sum(), correct)
    assert epsilon == pytest.approx(results["epsilon"].sum(), rel=1e-12)


@pytest.mark.parametrize("name", TABLES)
def test_columns_that_are_younger_than_a_table_are_null(
    grid: Path, tmp_path: Path, name: TableName
) -> None:
    """As in the tables of an earlier version; `faithful` and `root` stand for what it lacked."""
    whole = pq.read_table(grid / "tables" / f"{name}.parquet")
    younger = ["faithful", "root", *(["total"] if name == "results" else [])]
    older = whole.drop_columns([column for column in younger if column in whole.column_names])
    head = {key: value for key, value in whole.schema.metadata.items() if key != b"columns"}
    pq.write_table(older.replace_schema_metadata(head), tmp_path / f"{name}.parquet")
    found, expected = (analysis.load(name, folder) for folder in (tmp_path, grid))
    assert found.columns.tolist() == expected.columns.tolist()
    assert found[[c for c in younger if c in found]].isna().all(axis=None)
    kept = [c.name for c in TABLES[name].columns if c.name not in younger]
    pd.testing.assert_frame_equal(found[kept], expected[kept])


def test_a_table_that_lost_a_column_is_damaged(grid: Path, tmp_path: Path) -> None:
    whole = pq.read_table(grid / "tables" / "trainings.parquet")
    pq.write_table(whole.drop_columns(["steps"]), tmp_path / "trainings.parquet")
    with pytest.raises(CorruptFile, match="columns or rows are not those written"):
        analysis.load("trainings", tmp_path)


def test_a_bit_is_the_sample_of_its_place(grid: Path, samples: pd.DataFrame) -> None:
    path = str(grid / "tables" / "samples.parquet")
    with duckdb.connect() as database:
        query = (
            "SELECT [get_bit(mask::BIT, i::INTEGER) = 1 FOR i IN range(total)] FROM read_parquet(?)"
        )
        rows = [flags for (flags,) in database.execute(query, [path]).fetchall()]
    assert rows == [mask.tolist() for mask in samples["mask"]]


def test_chosen_columns_are_those_of_the_whole(grid: Path, samples: pd.DataFrame) -> None:
    found = analysis.load("samples", grid, columns=["mask", "epsilon"])
    pd.testing.assert_frame_equal(found, samples[["mask", "epsilon"]])
    with pytest.raises(UsageError, match=r"samples has no column 'masks' \(choose training_id, "):
        analysis.load("samples", grid, columns=["masks"])


def test_interval_holds_the_accuracy(results: pd.DataFrame) -> None:
    assert (results["interval_low"] < results["accuracy"]).all()
    assert (results["accuracy"] < results["interval_high"]).all()


def test_root_comes_from_the_environment(
    grid: Path, results: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKEGRID_ROOT", str(grid))
    pd.testing.assert_frame_equal(analysis.load(), results)
    pd.testing.assert_frame_equal(analysis.load(root=grid / "tables"), results)


def test_a_flipped_bit_is_refused_or_harmless(
    grid: Path, tmp_path: Path, samples: pd.DataFrame
) -> None:
    data = (grid / "tables" / "samples.parquet").read_bytes()
    refused = 0
    for place in range(0, len(data), 61):
        damaged = data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
        (tmp_path / "samples.parquet").write_bytes(damaged)
        try:
            pd.testing.assert_frame_equal(analysis.load("samples", tmp_path), samples)
        except CorruptFile as error:
            assert "delete it and run `python launch.py collect`" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("results", r"results\.parquet: there is no table yet; run `python launch\.py collect`"),
        (
            "result",
            r"'result' is not a table \(choose results, trainings, attempts, samples, gradients,",
        ),
    ],
)
def test_absent_tables_name_the_way_out(tmp_path: Path, table: TableName, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        analysis.load(table, tmp_path)


def test_another_table_under_the_name_is_refused(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "results.parquet").write_bytes((grid / "tables/trainings.parquet").read_bytes())
    with pytest.raises(CorruptFile, match="holds trainings, expected results"):
        analysis.load("results", tmp_path)


def test_importing_analysis_is_cheap() -> None:
    code = "import analysis, json, sys; print(json.dumps([m for m in sys.modules]))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not {"pandas", "pyarrow", "numpy", "matplotlib"} & set(json.loads(shown.stdout))


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("int64", 3, True),
        ("int64", -1, 2**63),
        ("float64", 2, "2"),
        ("bool", False, 0),
        ("category", "lif", 1),
        ("list[str]", ["a"], ["a", None]),
        ("bits", b"\x80", [True]),
        ("numbers", b"\x07", [7]),
    ],
)
def test_columns_know_their_values(dtype: str, good: object, bad: object) -> None:
    column = Column("c", dtype, "", "")  # type: ignore[arg-type]
    assert column.accepts(good)
    assert not column.accepts(bad)
    assert not column.accepts(None)
