"""From records to parquet tables: read what is new, decide what counts, replace each table whole."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from analysis.collecting import incremental, parquet
from analysis.collecting.gather import Progress
from analysis.collecting.incremental import Now
from analysis.collecting.invalidated import left_out
from analysis.collecting.merging import Piece
from jobs import files
from jobs.errors import CorruptFile, EnvironmentFault, UsageError
from jobs.layout import RunRoot
from jobs.schema import TABLES, TableName

ORDER: tuple[TableName, ...] = (
    "samples",
    "gradients",
    "audits",
    "trainings",
    "attempts",
    "results",
)
"""Results come last: whoever reads a new result finds its samples and its training."""


class NothingYet(UsageError):
    """No cell of the run roots has been started."""


@dataclass(frozen=True)
class Collected:
    """What a collection wrote.

    Attributes:
        paths: file of each table.
        counts: rows of each table.
        added: rows of each table whose keys the table before did not have.
        warnings: files and rows that were left out, and why.
        invalid: what was left out because somebody said so, and why.
        changed: whether tables were written; else those on disk hold all there is.
    """

    paths: dict[TableName, Path]
    counts: dict[TableName, int]
    added: dict[TableName, int]
    warnings: list[str]
    invalid: list[str]
    changed: bool = True


def collect(
    roots: Sequence[Path], out: Path | None = None, *, progress: Progress | None = None
) -> Collected:
    """Collect all records of one or several run roots into tables.

    Only what is new since the last time is read; the tables are the same to the byte as if all
    had been. A table is written only after all are complete in memory, and each takes its name in one step,
    so a reader sees whole tables at every moment, whatever becomes of this process.

    Args:
        roots: run roots; where two trained one network to different weights, the first counts.
        out: folder of the tables; `tables` in the first run root when unset.
        progress: called before each step.

    Raises:
        UsageError: if a run root is not there, or (`NothingYet`) none holds a training.
        EnvironmentFault: if files cannot be read or tables cannot be written.
    """
    report = progress or _silent
    places = [RunRoot(path) for path in dict.fromkeys(Path(root).resolve() for root in roots)]
    for place in places:
        if not place.path.is_dir():
            raise UsageError(
                f"{place.path}: there is no such run root; submit a manifest first, or name another with --root"
            )
    folder = out or places[0].tables
    now = incremental.look(places, folder, report)
    if not now.counts["trainings"] and not now.counts["attempts"]:
        raise NothingYet(_nothing(places, now.warnings))
    added, same = _added(folder, now), now.same
    if not same:
        content = _packed(now.tables, report)
        _write(folder, content, report)
        # of these bytes, not of the files: another collector may have replaced them since
        now.remember(folder, {name: hashlib.sha256(content[name]).hexdigest() for name in TABLES})
    elif now.last is not None:
        now.remember(folder, now.last.written)
    return Collected(
        paths={name: parquet.path(folder, name) for name in TABLES},
        counts=dict(now.counts),
        added=added,
        warnings=[*now.warnings],
        invalid=left_out(places),
        changed=not same,
    )


def _silent(what: str, done: int, total: int) -> None:
    """Progress for nobody."""


def _nothing(places: Sequence[RunRoot], warnings: Sequence[str]) -> str:
    where = ", ".join(str(place.path) for place in places)
    return (
        "".join(f"{warning}\n" for warning in warnings)
        + f"{where}: no cell has been started here, so there is nothing to collect; "
        "run `python launch.py submit MANIFEST`, or name another run root with --root"
    )


def _write(folder: Path, content: dict[TableName, bytes], report: Progress) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report("writing", 0, 1)
        files.replace_all({parquet.path(folder, name): content[name] for name in ORDER})
    except OSError as error:
        raise EnvironmentFault(
            f"{folder}: the tables cannot be written ({error.strerror}); those that are there are "
            "whole; free space or repair the permissions, then run collect again"
        ) from error


def _packed(tables: Piece, report: Progress) -> dict[TableName, bytes]:
    """The content of each table's file."""

    def packed(name: TableName) -> bytes:
        return parquet.encode(tables[name])

    content: dict[TableName, bytes] = {}
    # Arrow works without the interpreter's lock
    with ThreadPoolExecutor(len(ORDER)) as pool:
        for number, (name, data) in enumerate(zip(ORDER, pool.map(packed, ORDER), strict=True)):
            report("packing", number, len(ORDER))
            content[name] = data
    return content


def _added(folder: Path, now: Now) -> dict[TableName, int]:
    """Rows of each table whose keys the table on disk lacks."""
    if now.last is None:
        return {name: _new_keys(name, now.tables[name], _on_disk(folder, name)) for name in TABLES}
    if not now.changed:
        return dict.fromkeys(TABLES, 0)
    changed, last = pa.array(now.changed, pa.string()), now.last.tables
    return {name: _new_keys(name, now.tables[name], last[name], changed) for name in TABLES}


def _on_disk(folder: Path, name: TableName) -> pa.Table:
    """Keys of a table on disk; none, if it cannot be read."""
    try:
        return parquet.read(parquet.path(folder, name), name, TABLES[name].names("key"))
    except (UsageError, CorruptFile):
        return parquet.schema(TABLES[name]).empty_table()


def _new_keys(
    name: TableName, now: pa.Table, before: pa.Table, among: pa.Array | None = None
) -> int:
    """Rows whose keys an older table lacks; of some trainings alone, if they are told."""
    keys = TABLES[name].names("key")
    new, old = now.select(keys), before.select(keys)
    if among is not None:
        new, old = (t.filter(pc.is_in(t["training_id"], among)) for t in (new, old))
    if not (new.num_rows and old.num_rows):
        return int(new.num_rows)
    return int(new.join(old, keys, join_type="left anti").num_rows)
