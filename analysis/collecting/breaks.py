"""How samples fell: from rows of records to columns of results and samples."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from analysis.collecting import parquet
from jobs.records import Row

SUMMARIES = ("broken_by", "mean_linf", "mean_l2", "median_step", "max_step")
"""Columns of results that say how samples fell."""


@dataclass(frozen=True)
class Fell:
    """How the broken samples of one row fell.

    Attributes:
        step: of each broken sample, int32 as bytes.
        member: likewise, of a suite; None of any other attack.
        summaries: values of `SUMMARIES`.
    """

    step: bytes
    member: bytes | None
    summaries: tuple[Any, ...]


class Counted(Protocol):
    """A row of a record on its way into the tables."""

    @property
    def mask(self) -> bytes:
        """One byte, 0 or 1, for each sample: still correct."""

    @property
    def fell(self) -> Fell | None:
        """How the others fell, if that is known."""


def of_row(row: Row, members: Sequence[str]) -> Fell | None:
    """What a row of a record says; None where it says nothing.

    Args:
        row: of the record.
        members: names of a suite's members; empty for any other attack.
    """
    fell = row.breaks
    if fell is None:
        return None
    figures = fell.figures(members)
    return Fell(
        step=array("i", fell.step).tobytes(),
        member=array("i", fell.member).tobytes() if members else None,
        summaries=tuple(figures[name] for name in SUMMARIES),
    )


def summaries(rows: Sequence[Counted]) -> dict[str, list[Any]]:
    """The columns `SUMMARIES` of results."""
    absent = (None,) * len(SUMMARIES)
    values = [absent if row.fell is None else row.fell.summaries for row in rows]
    return {name: [value[place] for value in values] for place, name in enumerate(SUMMARIES)}


def lists(rows: Sequence[Counted]) -> dict[str, pa.Array]:
    """The columns `step` and `member` of samples: one number for each sample, -1 where it stands."""
    steps = [None if row.fell is None else row.fell.step for row in rows]
    members = [None if row.fell is None else row.fell.member for row in rows]
    return {"step": _spread(rows, steps), "member": _spread(rows, members)}


def _spread(rows: Sequence[Counted], broken: Sequence[bytes | None]) -> pa.Array:
    """Numbers of broken samples, put where those stand in the evaluation set."""
    known = [row.mask for row, numbers in zip(rows, broken, strict=True) if numbers is not None]
    stands = np.frombuffer(b"".join(known), np.uint8).astype(bool)
    spread = np.full(len(stands), -1, np.int32)
    spread[~stands] = np.frombuffer(b"".join(filter(None, broken)), np.int32)
    sizes = [
        None if numbers is None else len(row.mask)
        for row, numbers in zip(rows, broken, strict=True)
    ]
    return parquet.lists(sizes, spread)
