"""Whether values of JSON files can stand in the columns of a table, for thousands of rows.

`jobs.schema.Column.accepts` says it of one value; here most are settled by their types, which few
rows do not share.
"""

from functools import cache
from typing import Any

from jobs.schema import TABLES, Column, Table, TableName

_WHOLE = 2**53
"""Every whole number up to here stands in a column of int64, and in one of float64."""
_PLAIN: dict[str, type] = {"str": str, "category": str, "float64": float, "bool": bool}


def fits(table: Table, row: dict[str, Any]) -> bool:
    """Whether a row, whole or in part, can stand in a table; keys that are no columns are ignored.

    Args:
        table: the table.
        row: column → value.
    """
    whole, others = _doubtful(table.name, tuple(row), tuple(map(type, row.values())))
    large = [c for c in whole if not -_WHOLE <= row[c.name] <= _WHOLE]
    return all(column.accepts(row[column.name]) for column in (*large, *others))


@cache
def _doubtful(
    table: TableName, names: tuple[str, ...], types: tuple[type, ...]
) -> tuple[list[Column], list[Column]]:
    """Which values of a row its types do not settle: whole numbers, and all others."""
    columns = {column.name: column for column in TABLES[table].columns}
    whole, others = [], []
    for name, kind in zip(names, types, strict=True):
        column = columns.get(name)
        if column is None or kind is _PLAIN.get(column.dtype):
            continue
        if kind is int and column.dtype in ("int64", "float64"):
            whole.append(column)
        elif not (kind is type(None) and column.optional):
            others.append(column)
    return whole, others
