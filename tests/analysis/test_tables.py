"""Loading: types, checksums, messages; and the tables on their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import analysis
from jobs.errors import CorruptFile, UsageError
from jobs.schema import SCHEMA_VERSION, TABLES, Column, TableName


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


def test_pandas_reads_the_file_by_itself(grid: Path, results: pd.DataFrame) -> None:
    plain = pd.read_parquet(grid / "tables" / "results.parquet")
    assert plain["correct"].tolist() == results["correct"].tolist()


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
            r"'result' is not a table \(choose results, trainings, attempts, samples, gradients\)",
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
    ],
)
def test_columns_know_their_values(dtype: str, good: object, bad: object) -> None:
    column = Column("c", dtype, "", "")  # type: ignore[arg-type]
    assert column.accepts(good)
    assert not column.accepts(bad)
    assert not column.accepts(None)
