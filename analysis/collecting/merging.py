"""Tables of some trainings put together: each training's rows from the one piece that knows it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from analysis.collecting.parquet import schema
from analysis.collecting.specifications import Families
from jobs.schema import TABLES, TableName

Piece = Mapping[TableName, pa.Table]
"""Tables of some trainings, their rows in the order of the ids."""


def merged(pieces: Sequence[Piece], owners: Mapping[str, int]) -> dict[TableName, pa.Table]:
    """One piece of several.

    Args:
        pieces: each may hold trainings that are to be left out.
        owners: training id → position of the piece that its rows come from, in the order of ids.
    """

    def together(name: TableName) -> pa.Table:
        return _merged(name, [piece[name] for piece in pieces], owners)

    # Arrow unpacks and copies without the interpreter's lock
    with ThreadPoolExecutor(len(TABLES)) as pool:
        return dict(zip(TABLES, pool.map(together, TABLES), strict=True))


def _merged(name: TableName, tables: Sequence[pa.Table], owners: Mapping[str, int]) -> pa.Table:
    runs = [_runs(table) for table in tables]
    cuts: list[tuple[int, int, int]] = []
    for training_id, owner in owners.items():
        start, stop = runs[owner].get(training_id, (0, 0))
        if cuts and cuts[-1][0] == owner and cuts[-1][2] == start:
            cuts[-1] = (owner, cuts[-1][1], stop)
        elif start < stop:
            cuts.append((owner, start, stop))
    parts = [tables[owner].slice(start, stop - start) for owner, start, stop in cuts]
    return pa.concat_tables([schema(TABLES[name]).empty_table(), *parts]).combine_chunks()


def _runs(table: pa.Table) -> dict[str, tuple[int, int]]:
    """First row of each training, and the one after its last."""
    found: dict[str, tuple[int, int]] = {}
    start = 0
    for chunk in table["training_id"].chunks:
        runs = pc.run_end_encode(chunk, run_end_type=pa.int64())
        ends = [start + end for end in runs.run_ends.to_pylist()]
        starts = [start, *ends]
        found |= dict(zip(runs.values.to_pylist(), zip(starts, ends, strict=False), strict=True))
        start += len(chunk)
    return found


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
