"""From records to parquet tables: read all, decide what counts, replace each table whole."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis import parquet
from analysis.gather import Gathered, Progress, gather
from analysis.invalidated import left_out
from jobs import files
from jobs.errors import CorruptFile, EnvironmentFault, UsageError
from jobs.layout import RunRoot
from jobs.schema import (
    ATTEMPTS,
    GRADIENTS,
    RESULTS,
    SAMPLES,
    SETTING,
    TABLES,
    TRAININGS,
    Column,
    Table,
    TableName,
)

ORDER: tuple[TableName, ...] = ("samples", "gradients", "trainings", "attempts", "results")
"""Results come last: whoever reads a new result finds its samples and its training."""

OF_TRAINING = {"training_id", "label", *(column.name for column in SETTING)}
"""Columns of results that the training tells, not the record."""


@dataclass(frozen=True)
class Collected:
    """What a collection wrote.

    Attributes:
        paths: file of each table.
        counts: rows of each table.
        added: rows of each table whose keys the table before did not have.
        warnings: files and rows that were left out, and why.
        invalid: what was left out because somebody said so, and why.
    """

    paths: dict[TableName, Path]
    counts: dict[TableName, int]
    added: dict[TableName, int]
    warnings: list[str]
    invalid: list[str]


def collect(
    roots: Sequence[Path], out: Path | None = None, *, progress: Progress | None = None
) -> Collected:
    """Collect all records of one or several run roots into tables.

    A table is written only after all are complete in memory, and each takes its name in one step,
    so a reader sees whole tables at every moment, whatever becomes of this process.

    Args:
        roots: run roots; where two trained one network to different weights, the first counts.
        out: folder of the tables; `tables` in the first run root when unset.
        progress: called before each step.

    Raises:
        UsageError: if a run root is not there, or none holds a training.
        EnvironmentFault: if files cannot be read or tables cannot be written.
    """
    report = progress or _silent
    places = [RunRoot(path) for path in dict.fromkeys(Path(root).resolve() for root in roots)]
    for place in places:
        if not place.path.is_dir():
            raise UsageError(
                f"{place.path}: there is no such run root; submit a manifest first, or name another with --root"
            )
    gathered = gather(places, report)
    if not gathered.trainings and not gathered.attempts:
        raise UsageError(_nothing(places, gathered.warnings))
    folder = out or places[0].tables
    tables = _tables(gathered)
    added = {name: _added(folder, name, tables[name]) for name in ORDER}
    content: dict[TableName, bytes] = {}
    for number, name in enumerate(ORDER):
        report("packing", number, len(ORDER))
        content[name] = parquet.encode(TABLES[name], tables[name])
    _write(folder, content, report)
    return Collected(
        paths={name: _path(folder, name) for name in TABLES},
        counts={name: len(tables[name][0]) for name in TABLES},
        added={name: added[name] for name in TABLES},
        warnings=gathered.warnings,
        invalid=left_out(places),
    )


def _silent(what: str, done: int, total: int) -> None:
    """Progress for nobody."""


def _path(folder: Path, name: TableName) -> Path:
    return folder / f"{name}.parquet"


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
        for number, name in enumerate(ORDER):
            report("writing", number, len(ORDER))
            files.replace(_path(folder, name), content[name])
    except OSError as error:
        raise EnvironmentFault(
            f"{folder}: the tables cannot be written ({error.strerror}); those that are there are "
            "whole; free space or repair the permissions, then run collect again"
        ) from error


def _added(folder: Path, name: TableName, columns: Sequence[pa.Array]) -> int:
    """Rows whose keys the table on disk lacks; all, if that cannot be read."""
    table = TABLES[name]
    keys = table.names("key")
    new = pa.Table.from_arrays(list(columns), schema=parquet.schema(table)).select(keys)
    try:
        old = parquet.read(_path(folder, name), name, keys)
    except (UsageError, CorruptFile):
        return int(new.num_rows)
    return int(new.join(old, keys, join_type="left anti").num_rows)


def _tables(gathered: Gathered) -> dict[TableName, list[pa.Array]]:
    results = _results(gathered)
    named = dict(zip((column.name for column in RESULTS.columns), results, strict=True))
    mask = parquet.array(SAMPLES.columns[-1], [row.mask for row in gathered.rows])
    return {
        "results": results,
        "samples": [named.get(column.name, mask) for column in SAMPLES.columns],
        "trainings": _plain(TRAININGS, gathered.trainings),
        "attempts": _plain(ATTEMPTS, gathered.attempts),
        "gradients": _chained(GRADIENTS, gathered.gradients),
    }


def _plain(table: Table, rows: Sequence[dict[str, Any]]) -> list[pa.Array]:
    return [parquet.array(c, [row[c.name] for row in rows]) for c in table.columns]


def _chained(table: Table, blocks: Sequence[dict[str, list[Any]]]) -> list[pa.Array]:
    """Columns of blocks of rows, one after the other."""
    return [
        parquet.array(c, list(itertools.chain.from_iterable(block[c.name] for block in blocks)))
        for c in table.columns
    ]


def _results(gathered: Gathered) -> list[pa.Array]:
    """Columns of results; what a training or a record says once is spread over its rows."""
    rows = gathered.rows
    own: dict[str, list[Any]] = {
        "attack_id": [row.attack_id for row in rows],
        "epsilon_num": [row.epsilon[0] for row in rows],
        "epsilon_den": [row.epsilon[1] for row in rows],
        "epsilon": [row.epsilon[0] / row.epsilon[1] for row in rows],
        "correct": [row.correct for row in rows],
        "total": [row.total for row in rows],
        "zero_gradient": [row.zero_gradient for row in rows],
    }
    source_of = pa.array(gathered.source_of, pa.int64())
    training_of = pa.array(gathered.training_of, pa.int64())

    def spread(column: Column) -> pa.Array:
        name = column.name
        if name in own:
            return parquet.array(column, own[name])
        if name in OF_TRAINING:
            return parquet.array(column, [t[name] for t in gathered.trainings]).take(training_of)
        return parquet.array(column, [s[name] for s in gathered.sources]).take(source_of)

    return [spread(column) for column in RESULTS.columns]
