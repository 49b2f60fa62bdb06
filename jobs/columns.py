"""What a column of a table is, and a table: types, units, kinds, and which values fit."""

import reprlib
from dataclasses import dataclass
from typing import Literal

TableName = Literal["results", "trainings", "attempts", "samples", "gradients", "audits"]
DType = Literal[
    "str",
    "category",
    "int64",
    "float64",
    "bool",
    "list[str]",
    "bits",
    "numbers",
    "list[int64]",
    "list[float64]",
]
Kind = Literal["key", "result", "measured"]
_INT64 = 2**63
_EXACT = 2**53
"""Up to here every whole number is a float64."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: its name.
        dtype: `category` is text with few different values; `bits` is a flag for each sample, the
            first in the highest bit of the first byte, what fills the last byte is 0; `numbers` is
            one for each sample whose bit in `mask` is 0, unsigned and little-endian, in equal widths
            of 1, 2 or 4 bytes.
        unit: what one stands for; empty where there is none.
        description: what it says, in one sentence.
        kind: `key` names the row; a `result` is equal in equal runs; what is `measured` may differ.
        optional: whether it can be null.
    """

    name: str
    dtype: DType
    unit: str
    description: str
    kind: Kind = "result"
    optional: bool = False

    def accepts(self, value: object) -> bool:
        """Whether a value of a JSON file can stand in this column."""
        if value is None:
            return self.optional
        items = value if isinstance(value, list) else [None]  # which no list may hold
        match self.dtype:
            case "str" | "category":
                return isinstance(value, str)
            case "int64":
                return type(value) is int and -_INT64 <= value < _INT64
            case "float64":
                return _real(value)
            case "bool":
                return isinstance(value, bool)
            case "list[str]":
                return all(isinstance(item, str) for item in items)
            case "bits" | "numbers":
                return isinstance(value, bytes)
            case "list[int64]":
                whole = {*map(type, items)} <= {int}
                return whole and max(map(abs, items), default=0) < _INT64
            case "list[float64]":
                return {*map(type, items)} <= {float} or all(map(_real, items))


def _real(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= _EXACT)


@dataclass(frozen=True)
class Table:
    """One table; its rows are in the order of its keys, and no two have the same."""

    name: TableName
    columns: tuple[Column, ...]

    def names(self, kind: Kind) -> list[str]:
        """Names of the columns of a kind."""
        return [column.name for column in self.columns if column.kind == kind]

    def misfits(self, row: dict[str, object]) -> list[str]:
        """What of a row, whole or in part, cannot stand in its columns; for a message."""
        return [
            f"{c.name} is {reprlib.repr(row[c.name])}, expected {c.dtype}"
            for c in self.columns
            if c.name in row and not c.accepts(row[c.name])
        ]
