"""Quick checks of rows agree with those of each column."""

import itertools

import pytest

from analysis.collecting.fitting import fits
from jobs.schema import TABLES, TableName

VALUES: tuple[object, ...] = (
    None,
    True,
    3,
    -(2**53) - 1,
    2**63,
    0.5,
    "a",
    ["a"],
    [1],
    [0.5, 2],
    [None],
    b"x",
    {},
)


@pytest.mark.parametrize("name", TABLES)
def test_a_row_fits_if_each_value_does(name: TableName) -> None:
    table = TABLES[name]
    for column, value in itertools.product(table.columns, VALUES):
        assert fits(table, {column.name: value}) == column.accepts(value)
        assert fits(table, {column.name: value}) != bool(table.misfits({column.name: value}))


def test_a_key_that_is_no_column_is_ignored() -> None:
    assert fits(TABLES["results"], {"nothing": {}, "correct": 3})
    assert not fits(TABLES["results"], {"correct": 3, "total": "4"})
