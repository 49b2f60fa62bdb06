"""Tables of some trainings put together: each training's rows from the one piece that knows it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.collecting.parquet import schema
from analysis.collecting.specifications import Families
from jobs.schema import TABLES, TableName

Array = npt.NDArray[Any]
_ID = "S16"
"""A training id in NumPy: 16 hex characters, whose order is that of their bytes."""

Piece = Mapping[TableName, pa.Table]
"""Tables of some trainings, their rows in the order of the ids."""


def merged(pieces: Sequence[Piece], owners: Mapping[str, int]) -> dict[TableName, pa.Table]:
    """One piece of several.

    Args:
        pieces: each may hold trainings that are to be left out.
        owners: training id → position of the piece that its rows come from, in the order of ids.
    """
    ids = np.array([*owners], _ID)
    owner = np.fromiter(owners.values(), np.int64, len(owners))
    # unpacked one by one, since Arrow uses all cores for each
    tables = {name: [piece[name] for piece in pieces] for name in TABLES}

    def together(name: TableName) -> pa.Table:
        return _merged(name, tables[name], ids, owner)

    # Arrow copies without the interpreter's lock
    with ThreadPoolExecutor(len(TABLES)) as pool:
        return dict(zip(TABLES, pool.map(together, TABLES), strict=True))


def _merged(name: TableName, tables: Sequence[pa.Table], ids: Array, owner: Array) -> pa.Table:
    """One table of several.

    Args:
        name: of the table.
        tables: of each piece.
        ids: training ids, in their order.
        owner: position of the piece that each one's rows come from.
    """
    first, end = np.zeros((2, len(ids)), np.int64)
    for number, table in enumerate(tables):
        known, bounds = _runs(table)
        own = np.isin(known, ids[owner == number], assume_unique=True)
        place = np.searchsorted(ids, known[own])
        first[place], end[place] = bounds[:-1][own], bounds[1:][own]
    there = end > first
    owner, first, end = owner[there], first[there], end[there]
    # rows that follow each other in one piece are taken at once
    apart = np.flatnonzero((owner[1:] != owner[:-1]) | (first[1:] != end[:-1])) + 1
    parts = [
        tables[owner[run[0]]].slice(first[run[0]], end[run[-1]] - first[run[0]])
        for run in np.split(np.arange(len(owner)), apart)
        if run.size
    ]
    return pa.concat_tables([schema(TABLES[name]).empty_table(), *parts]).combine_chunks()


def _runs(table: pa.Table) -> tuple[Array, Array]:
    """Ids of a table's trainings; the first row of each, and the end of the last one."""
    runs = pc.run_end_encode(table["training_id"].combine_chunks(), run_end_type=pa.int64())
    ids = np.array(runs.values.to_pylist(), _ID)
    return ids, np.concatenate(([0], runs.run_ends.to_numpy()))


def settled(tables: Piece, families: Families) -> dict[TableName, pa.Table]:
    """The tables with what follows from all trainings together.

    That is `configuration`, and `attack_setting` of attacks that climb on another network.
    """
    ids = tables["trainings"]["training_id"].to_pylist()
    known = pa.array([families.configuration(key) for key in ids], pa.string())
    results = tables["results"]
    rows = pc.index_in(results["training_id"], pa.array(ids, pa.string()))
    results = _with(results, "configuration", known.take(rows.combine_chunks()))
    results = _with(results, "attack_setting", _attack_settings(results["attack_id"], families))
    trainings = _with(tables["trainings"], "configuration", known)
    return {**tables, "trainings": trainings, "results": results}


def _attack_settings(attack_ids: pa.ChunkedArray, families: Families) -> pa.Array:
    """Of each row; an attack on its target alone is a setting of its own."""
    ids, known = attack_ids.combine_chunks(), families.attack_settings()
    told = pa.array([*known.values()], pa.string())
    return pc.coalesce(told.take(pc.index_in(ids, pa.array([*known], pa.string()))), ids)


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), column)
