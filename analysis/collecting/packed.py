"""Tables as bytes that are unpacked when somebody asks for them, and Arrow streams of tables."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from jobs.schema import TABLES, TableName


class Packed(Mapping[TableName, pa.Table]):
    """Tables as bytes: who finds nothing new need not unpack them.

    Args:
        content: of each table.
        unpack: makes the table of a name from its content.
    """

    def __init__(
        self,
        content: Mapping[TableName, bytes | pa.Buffer],
        unpack: Callable[[TableName, bytes | pa.Buffer], pa.Table],
    ) -> None:
        self._content, self._unpack = content, unpack
        self._known: dict[TableName, pa.Table] = {}

    def __getitem__(self, name: TableName) -> pa.Table:
        if name not in self._known:
            self._known[name] = self._unpack(name, self._content[name])
        return self._known[name]

    def __iter__(self) -> Iterator[TableName]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def streams(tables: Mapping[TableName, pa.Table]) -> Packed:
    """All tables as compressed Arrow streams, for another process."""
    every = [tables[name] for name in TABLES]
    # Arrow works without the interpreter's lock
    with ThreadPoolExecutor(len(TABLES)) as pool:
        return Packed(dict(zip(TABLES, pool.map(_stream, every), strict=True)), _of_stream)


def _stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _of_stream(_: TableName, content: bytes | pa.Buffer) -> pa.Table:
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()
