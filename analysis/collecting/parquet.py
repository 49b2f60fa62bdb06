"""Tables of jobs.schema as parquet bytes, and back, verified.

Pages carry checksums. Every column keeps its unit, description and kind in the file, so a table
explains itself without this program.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import CorruptFile, NewerLayout, UsageError
from jobs.schema import SCHEMA_VERSION, TABLES, Column, DType, Table, TableName

_TYPES: dict[DType, pa.DataType] = {
    "str": pa.string(),
    "category": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list[str]": pa.list_(pa.string()),
    "bits": pa.large_binary(),
    "numbers": pa.large_binary(),
    "list[int64]": pa.large_list(pa.int64()),
    "list[float64]": pa.large_list(pa.float64()),
}


def path(folder: Path, name: TableName) -> Path:
    """The file of a table."""
    return folder / f"{name}.parquet"


def array(column: Column, values: Sequence[Any]) -> pa.Array:
    """One column."""
    match column.dtype:
        case "list[int64]" | "list[float64]":
            return _lists(values, column.dtype[5:-1])
        case _:
            try:
                return pa.array(values, _TYPES[column.dtype])
            except UnicodeEncodeError:
                return pa.array([_utf8(value) for value in values], _TYPES[column.dtype])


def _utf8(value: Any) -> Any:
    """Text, or each of a list, with a question mark for what UTF-8 lacks.

    Half a character comes from names of files that are no UTF-8, in the messages of errors.
    """
    if isinstance(value, list):
        return [_utf8(item) for item in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _lists(values: Sequence[list[Any] | None], kind: str) -> pa.Array:
    """A column of lists of numbers."""
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([0 if value is None else len(value) for value in values], out=offsets[1:])
    items = np.fromiter(itertools.chain.from_iterable(filter(None, values)), kind)
    null = pa.array([value is None for value in values], pa.bool_())
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(items), mask=null)


def schema(table: Table) -> pa.Schema:
    """The arrow schema, with what each column means."""
    fields = [
        pa.field(
            column.name,
            _TYPES[column.dtype],
            nullable=column.optional,
            metadata={
                "unit": column.unit,
                "description": column.description,
                "kind": column.kind,
            },
        )
        for column in table.columns
    ]
    head = {"schema_version": str(SCHEMA_VERSION), "table": table.name}
    return pa.schema(fields, metadata=head)


def encode(content: pa.Table) -> bytes:
    """A whole table as the content of a parquet file; equal tables give equal bytes."""
    # page checksums do not cover the footer, which says how many rows and which columns there are
    told = {b"rows": str(content.num_rows).encode(), b"columns": _names(content.schema)}
    content = content.replace_schema_metadata({**content.schema.metadata, **told})
    sink = pa.BufferOutputStream()
    pq.write_table(
        content,
        sink,
        compression="zstd",
        write_page_checksum=True,
        write_statistics=False,  # they serve to pass over groups of rows; a million make one
    )
    return bytes(sink.getvalue())


def decode(name: TableName, content: bytes | pa.Buffer) -> pa.Table:
    """The table that `encode` made a content of: nothing is verified again."""
    found = pq.read_table(pa.BufferReader(content))
    return pa.Table.from_arrays(found.columns, schema=schema(TABLES[name]))


def read(path: Path, name: TableName, columns: list[str] | None = None) -> pa.Table:
    """Read a table and verify its checksums; columns that are younger than the file are null.

    Args:
        path: of the file.
        name: of the table that it must hold.
        columns: names of those to read; all when unset.

    Raises:
        UsageError: if there is no such file.
        NewerLayout: if a newer spikegrid wrote it.
        CorruptFile: if it is no such table, or damaged.
    """
    again = "delete it and run `python launch.py collect`"
    expected = schema(TABLES[name])
    if columns is not None:
        expected = pa.schema([expected.field(column) for column in columns])
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            head = file.schema_arrow.metadata or {}
            _check(path, name, head, again)
            whole = head.get(b"columns", _names(file.schema_arrow)) == _names(file.schema_arrow)
            there = [column for column in expected.names if column in file.schema_arrow.names]
            content = file.read(there)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: there is no table yet; run `python launch.py collect`, or name the run root"
        ) from None
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CorruptFile(f"{path}: damaged ({reason}); {again}") from error
    whole = whole and content.schema.equals(pa.schema([expected.field(column) for column in there]))
    if not whole or head.get(b"rows") != b"%d" % content.num_rows:
        raise CorruptFile(f"{path}: damaged (columns or rows are not those written); {again}")
    return _completed(content, expected)


def _names(found: pa.Schema) -> bytes:
    return " ".join(found.names).encode()


def _completed(content: pa.Table, expected: pa.Schema) -> pa.Table:
    """A table with all columns of a schema; those that it lacks are null."""
    if content.num_columns == len(expected):
        return content
    for place, field in enumerate(expected):
        if field.name not in content.schema.names:
            nulls = pa.nulls(content.num_rows, field.type)
            content = content.add_column(place, field.with_nullable(True), nulls)  # noqa: FBT003 - pyarrow's
    return content


def _check(path: Path, name: TableName, head: dict[bytes, bytes], again: str) -> None:
    found = head.get(b"table", b"").decode()
    if found not in TABLES or found != name:
        raise CorruptFile(f"{path}: holds {found or 'no known table'}, expected {name}; {again}")
    version = int(head.get(b"schema_version", b"0"))
    if version > SCHEMA_VERSION:
        raise NewerLayout(
            f"{path}: has schema {version}, this spikegrid knows {SCHEMA_VERSION}; "
            "update this checkout, or collect into another folder"
        )
    if version < SCHEMA_VERSION:
        raise CorruptFile(
            f"{path}: has the older schema {version}; run `python launch.py collect`, which replaces it"
        )
