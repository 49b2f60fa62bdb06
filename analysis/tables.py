"""Collected tables as typed DataFrames."""

import os
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow as pa

from analysis.collecting import parquet
from analysis.statistics import wilson
from jobs.errors import UsageError
from jobs.layout import RunRoot
from jobs.schema import TABLES, Column, TableName

CHECKOUT = Path(__file__).resolve().parent.parent


def default_root() -> Path:
    """The run root of this user: `$SPIKEGRID_ROOT`, else `runs` in the checkout."""
    return Path(os.environ.get("SPIKEGRID_ROOT") or CHECKOUT / "runs")


def load(table: TableName = "results", root: Path | str | None = None) -> pd.DataFrame:
    """Load a table that `collect` wrote, and verify its checksums.

    Text with few values is categorical; whole numbers that can be null are Int64. `results` gets
    three columns more: `accuracy` = correct / total, and its 95 % Wilson interval as
    `interval_low` and `interval_high`, which spans the choice of samples, not of seeds.

    Args:
        table: results, trainings, attempts, samples, gradients or audits.
        root: a run root, or a folder that holds the tables; `default_root()` when unset.

    Raises:
        UsageError: if there is no such table, or nothing has been collected yet.
        NewerLayout: if a newer spikegrid wrote the table.
        CorruptFile: if the file is damaged.
    """
    if table not in TABLES:
        known = ", ".join(get_args(TableName))
        raise UsageError(f"{table!r} is not a table (choose {known})")
    folder = Path(default_root() if root is None else root)
    path = folder / f"{table}.parquet"
    if not path.exists():
        path = RunRoot(folder).tables / path.name
    return frame(table, parquet.read(path, table))


def frame(table: TableName, content: pa.Table) -> pd.DataFrame:
    """An arrow table as a DataFrame with the types of its schema."""
    columns = TABLES[table].columns
    found = pd.DataFrame({c.name: _series(c, content) for c in columns})
    if table == "results":
        low, high = wilson(found["correct"].to_numpy(), found["total"].to_numpy())
        more = {"accuracy": found["correct"] / found["total"]}
        found = found.assign(**more, interval_low=low, interval_high=high)
    return found


def _series(column: Column, content: pa.Table) -> "pd.Series[Any]":
    values = content[column.name]
    if column.dtype == "category":
        texts: pd.Series[Any] = values.combine_chunks().dictionary_encode().to_pandas()
        return pd.Series(texts.cat.reorder_categories(sorted(texts.cat.categories)))
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    nullable = content.schema.field(column.name).nullable  # also what is younger than the table
    return pd.Series(values.to_pandas(types_mapper=types.get if nullable else None))
