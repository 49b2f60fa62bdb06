"""Tables as compressed Arrow streams: for another process, and for the next collection."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from jobs.schema import TABLES, TableName


class Streams(Mapping[TableName, pa.Table]):
    """Tables that are unpacked when somebody asks for them: who finds nothing new does not.

    Attributes:
        packed: stream of each table.
    """

    def __init__(self, packed: Mapping[TableName, pa.Buffer]) -> None:
        self.packed = packed
        self._known: dict[TableName, pa.Table] = {}

    def __getitem__(self, name: TableName) -> pa.Table:
        if name not in self._known:
            with pa.ipc.open_stream(self.packed[name]) as stream:
                self._known[name] = stream.read_all()
        return self._known[name]

    def __iter__(self) -> Iterator[TableName]:
        return iter(self.packed)

    def __len__(self) -> int:
        return len(self.packed)


def pack(tables: Mapping[TableName, pa.Table]) -> Streams:
    """The streams of all tables, side by side."""
    every = [tables[name] for name in TABLES]
    # Arrow works without the interpreter's lock
    with ThreadPoolExecutor(len(TABLES)) as pool:
        return Streams(dict(zip(TABLES, pool.map(_stream, every), strict=True)))


def _stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()
