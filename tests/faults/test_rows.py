"""The map from faults to tests names tests that are there."""

import ast
from pathlib import Path

import pytest

from tests.faults.rows import ROWS

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def test_every_row_is_shown() -> None:
    assert list(ROWS) == list(range(1, 17))
    assert all(ROWS.values())


@pytest.mark.parametrize("name", sorted({name for names in ROWS.values() for name in names}))
def test_a_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((CHECKOUT / path).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
