"""What the ranks of a job agree on before they begin."""

from collections.abc import Sequence
from typing import Any

import pytest

from jobs.errors import EnvironmentFault
from jobs.running import rank
from snnlib import distributed
from snnlib.distributed import World

A, B = "a" * 16, "b" * 16
CLAIM = {"SPIKEGRID_CLAIM": "3", "SPIKEGRID_FROM": B}


def others(monkeypatch: pytest.MonkeyPatch, *told: tuple[int, str, Sequence[str]]) -> None:
    """Have other ranks say something."""

    def gathered(_world: World, own: Any) -> list[Any]:
        return [own, *((number, cell, list(cells)) for number, cell, cells in told)]

    monkeypatch.setattr(distributed, "gather_objects", gathered)


@pytest.mark.parametrize(
    ("env", "other"),
    [(CLAIM, (0, "", [A, B])), ({}, (3, B, [A, B])), ({"SPIKEGRID_FROM": A}, (3, B, [A, B]))],
    ids=["own claim", "another's claim", "an own choice without a claim"],
)
def test_all_ranks_take_the_cell_of_the_claim(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], other: Any
) -> None:
    others(monkeypatch, other)
    assert rank._started_with(World.single(), [A, B], env) == (3, 1)


@pytest.mark.parametrize(
    ("env", "other", "lists"),
    [(CLAIM, (0, "", [B, A]), 2), (CLAIM, (0, "", [A]), 2), ({}, (0, "", [A, B]), 1)],
    ids=["another order", "fewer cells", "no claim"],
)
def test_ranks_that_read_other_cells_end_together(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], other: Any, lists: int
) -> None:
    others(monkeypatch, other)
    with pytest.raises(EnvironmentFault, match=rf"the ranks read {lists} different lists"):
        rank._started_with(World.single(), [A, B], env)
