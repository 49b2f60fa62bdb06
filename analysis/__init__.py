"""From records to tables, statistics and figures for pandas: `analysis.load("results")`."""

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.schema import TableName

if TYPE_CHECKING:
    import pandas as pd


def load(table: TableName = "results", root: Path | str | None = None) -> "pd.DataFrame":
    """Load a collected table as a typed DataFrame; see `analysis.tables.load`."""
    # here, because pandas and pyarrow take longer to import than most commands to run
    from analysis import tables

    return tables.load(table, root)
