"""Collected tables as typed DataFrames."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.collecting import breaks, parquet
from analysis.statistics import wilson
from jobs.errors import UsageError
from jobs.layout import RunRoot
from jobs.schema import TABLES, Column, TableName

CHECKOUT = Path(__file__).resolve().parent.parent

_UNPACKED_BY = ("mask", "total")
"""Columns of samples that tell which numbers of a row are whose."""


def default_root() -> Path:
    """The run root of this user: `$SPIKEGRID_ROOT`, else `runs` in the checkout."""
    return Path(os.environ.get("SPIKEGRID_ROOT") or CHECKOUT / "runs")


def load(
    table: TableName = "results",
    root: Path | str | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Load a table that `collect` wrote, and verify its checksums.

    Text with few values is categorical; whole numbers that can be null are Int64. `results` gets
    three columns more: `accuracy` = correct / total, and its 95 % Wilson interval as
    `interval_low` and `interval_high`, which spans the choice of samples, not of seeds. `mask`,
    `step` and `member` of `samples` are arrays of a value for each sample of the evaluation set.

    Args:
        table: results, trainings, attempts, samples, gradients or audits.
        root: a run root, or a folder that holds the tables; `default_root()` when unset.
        columns: names of those to load; all when unset.

    Raises:
        UsageError: if there is no such table or column, or nothing has been collected yet.
        NewerLayout: if a newer spikegrid wrote the table.
        CorruptFile: if the file is damaged, or of an older spikegrid.
    """
    if table not in TABLES:
        known = ", ".join(get_args(TableName))
        raise UsageError(f"{table!r} is not a table (choose {known})")
    folder = Path(default_root() if root is None else root)
    path = parquet.path(folder, table)
    if not path.exists():
        path = parquet.path(RunRoot(folder).tables, table)
    return read(path, table, columns)


def read(path: Path, table: TableName, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Load a table from its file; arguments and errors as of `load`."""
    if columns is None:
        return frame(table, parquet.read(path, table))
    known = [column.name for column in TABLES[table].columns]
    if strange := [name for name in columns if name not in known]:
        raise UsageError(f"{table} has no column {strange[0]!r} (choose {', '.join(known)})")
    needed = {*columns, *(_UNPACKED_BY if table == "samples" else ())}
    content = parquet.read(path, table, [name for name in known if name in needed])
    return frame(table, content)[[*columns]]


def frame(table: TableName, content: pa.Table) -> pd.DataFrame:
    """An arrow table, of all or some columns, as a DataFrame with the types of its schema."""
    columns = [column for column in TABLES[table].columns if column.name in content.column_names]
    stands = _flags(content) if "mask" in content.column_names else []
    found = pd.DataFrame({c.name: _series(c, content, stands) for c in columns})
    if table == "results" and {"correct", "total"} <= {*found.columns}:
        low, high = wilson(found["correct"].to_numpy(), found["total"].to_numpy())
        more = {"accuracy": found["correct"] / found["total"]}
        found = found.assign(**more, interval_low=low, interval_high=high)
    return found


def _series(
    column: Column, content: pa.Table, stands: Sequence[npt.NDArray[np.bool_]]
) -> "pd.Series[Any]":
    values = content[column.name]
    if column.dtype == "category":
        texts: pd.Series[Any] = values.combine_chunks().dictionary_encode().to_pandas()
        return pd.Series(texts.cat.reorder_categories(sorted(texts.cat.categories)))
    if column.dtype in ("bits", "numbers"):
        own = stands if column.dtype == "bits" else _spread(values, stands)
        return pd.Series(np.fromiter(own, object, len(stands)))
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    nullable = content.schema.field(column.name).nullable  # also what is younger than the table
    return pd.Series(values.to_pandas(types_mapper=types.get if nullable else None))


def _flags(samples: pa.Table) -> list[npt.NDArray[np.bool_]]:
    """The packed bits of each row as flags, one for each sample: still correct."""
    packed = samples["mask"].to_pylist()
    bits = np.unpackbits(np.frombuffer(b"".join(packed), np.uint8)).view(np.bool_)
    starts = itertools.accumulate((8 * len(row) for row in packed), initial=0)
    totals = samples["total"].to_pylist()
    return [bits[start : start + total] for start, total in zip(starts, totals, strict=False)]


def _spread(
    column: pa.ChunkedArray, stands: Sequence[npt.NDArray[np.bool_]]
) -> list[npt.NDArray[np.int32] | None]:
    """Numbers of the broken samples of each row put where those stand, -1 beside them."""
    rows = zip(column.to_pylist(), stands, strict=True)
    known = [None if packed is None else (packed, row) for packed, row in rows]
    told = [pair for pair in known if pair is not None]
    if not told:
        return [None] * len(known)
    counts = [(packed, len(row) - int(np.count_nonzero(row))) for packed, row in told]
    numbers = [breaks.numbers(packed, broken) for packed, broken in counts if broken]
    stand = np.concatenate([row for _, row in told])
    spread = np.full(len(stand), -1, np.int32)
    if numbers:
        spread[~stand] = np.concatenate(numbers, dtype=np.int32, casting="unsafe")
    ends = itertools.accumulate(len(row) for _, row in told)
    parts = iter(np.split(spread, [*ends][:-1]))
    return [None if pair is None else next(parts) for pair in known]
