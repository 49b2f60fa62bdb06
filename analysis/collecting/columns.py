"""From what was gathered of some trainings to the columns of their tables."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from analysis.collecting import breaks, parquet
from analysis.collecting.gather import Gathered
from analysis.collecting.sources import Outcome
from jobs.schema import (
    ATTEMPTS,
    AUDITS,
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

OF_TRAINING = {"training_id", "label", *(column.name for column in SETTING)}
"""Columns of results that the training tells, not the record."""


def tables(gathered: Gathered) -> dict[TableName, pa.Table]:
    """All tables of some trainings, each in the order of its keys."""
    found = _columns(gathered)
    return {
        name: pa.Table.from_arrays(found[name], schema=parquet.schema(TABLES[name]))
        for name in TABLES
    }


def _columns(gathered: Gathered) -> dict[TableName, list[pa.Array]]:
    results = _results(gathered)
    named = dict(zip((column.name for column in RESULTS.columns), results, strict=True))
    return {
        "results": results,
        "samples": _samples(gathered.rows, named),
        "trainings": _plain(TRAININGS, gathered.trainings),
        "attempts": _plain(ATTEMPTS, gathered.attempts),
        "gradients": _chained(GRADIENTS, gathered.gradients),
        "audits": _chained(AUDITS, gathered.audits),
    }


def _samples(rows: Sequence[Outcome], results: Mapping[str, pa.Array]) -> list[pa.Array]:
    """Columns of samples; what results say too comes from there."""
    own: dict[str, Sequence[Any]] = {"mask": [row.mask for row in rows], **breaks.packed(rows)}
    return [
        parquet.array(column, own[column.name]) if column.name in own else results[column.name]
        for column in SAMPLES.columns
    ]


def _plain(table: Table, rows: Sequence[dict[str, Any]]) -> list[pa.Array]:
    return [parquet.array(c, [row[c.name] for row in rows]) for c in table.columns]


def _chained(table: Table, blocks: Sequence[dict[str, list[Any]]]) -> list[pa.Array]:
    """Columns of blocks of rows, one after the other."""
    return [
        parquet.array(c, list(itertools.chain.from_iterable(block[c.name] for block in blocks)))
        for c in table.columns
    ]


def _results(gathered: Gathered) -> list[pa.Array]:
    """Columns of results; what a training, an attack or a record says once is spread over its rows."""
    rows = gathered.rows
    own: dict[str, list[Any]] = {
        "attack_id": [row.attack_id for row in rows],
        "attack_setting": [row.attack_id for row in rows],
        "epsilon_num": [row.epsilon[0] for row in rows],
        "epsilon_den": [row.epsilon[1] for row in rows],
        "epsilon": [row.epsilon[0] / row.epsilon[1] for row in rows],
        "correct": [row.correct for row in rows],
        "total": [row.total for row in rows],
        "zero_gradient": [row.zero_gradient for row in rows],
        "row_seconds": [row.seconds for row in rows],
        **breaks.summaries(rows),
    }
    training_of = pa.array(gathered.training_of, pa.int64())
    source_of = pa.array(gathered.source_of, pa.int64())
    attack_of = pa.array(gathered.attack_of, pa.int64()).take(source_of)
    attacks = [shared for _, shared in gathered.attacks.values()]

    def spread(column: Column) -> pa.Array:
        name = column.name
        if name in own:
            return parquet.array(column, own[name])
        if name in OF_TRAINING:
            return parquet.array(column, [t[name] for t in gathered.trainings]).take(training_of)
        if name in of_attack:
            return parquet.array(column, [a[name] for a in attacks]).take(attack_of)
        return parquet.array(column, [s[name] for s in gathered.sources]).take(source_of)

    of_attack = attacks[0].keys() if attacks else {}
    return [spread(column) for column in RESULTS.columns]
