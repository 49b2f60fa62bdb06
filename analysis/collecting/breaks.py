"""How samples fell: from packed rows of records to columns of results and samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jobs.records import PackedRow

SUMMARIES = ("broken_by", "mean_linf", "mean_l2", "median_step", "max_step")
"""Columns of results that say how samples fell."""
_LARGEST = 2**31 - 1
"""Of the steps that a sample can take: the table tells each in 32 bits, with a sign."""


@dataclass(frozen=True)
class Fell:
    """How the broken samples of one row fell.

    Attributes:
        step: of each broken sample, little-endian, of the same 1, 2 or 4 bytes.
        member: likewise, of a suite; None of any other attack.
        summaries: values of `SUMMARIES`.
    """

    step: bytes
    member: bytes | None
    summaries: tuple[Any, ...]


class Counted(Protocol):
    """A row of a record on its way into the tables."""

    @property
    def fell(self) -> Fell | None:
        """How samples fell, if that is known."""


def of_row(row: PackedRow, members: Sequence[str]) -> Fell | None:
    """What a row of a record says; None where it says nothing.

    Args:
        row: of the record.
        members: names of a suite's members; empty for any other attack.

    Raises:
        OverflowError: a sample took more steps than 31 bits hold.
    """
    told, broken = row.breaks, row.total - row.correct
    if told is None:
        return None
    member = told.member if members else None
    if not broken:
        return Fell(told.step, member, (None,) * len(SUMMARIES))
    steps = np.sort(numbers(told.step, broken))
    most = int(steps[-1])
    if most > _LARGEST:
        raise OverflowError("signed integer is greater than maximum")
    middle = (int(steps[(broken - 1) // 2]) + int(steps[broken // 2])) / 2
    norms = (told.linf / broken, told.l2 / broken)
    return Fell(told.step, member, (_broken_by(member, broken, members), *norms, middle, most))


def _broken_by(member: bytes | None, broken: int, members: Sequence[str]) -> str | None:
    """E.g. apgd:120,square:3; None of an attack that is no suite."""
    if member is None:
        return None
    counts = np.bincount(numbers(member, broken)).tolist()
    by = {name: count for name, count in zip(members, counts, strict=False) if count}
    return ",".join(f"{name}:{count}" for name, count in by.items())


def numbers(packed: bytes, broken: int) -> npt.NDArray[Any]:
    """One whole number of each broken sample, of which there is at least one."""
    return np.frombuffer(packed, f"<u{len(packed) // broken}")


def summaries(rows: Sequence[Counted]) -> dict[str, list[Any]]:
    """The columns `SUMMARIES` of results."""
    absent = (None,) * len(SUMMARIES)
    values = [absent if row.fell is None else row.fell.summaries for row in rows]
    return {name: [value[place] for value in values] for place, name in enumerate(SUMMARIES)}


def packed(rows: Sequence[Counted]) -> dict[str, list[bytes | None]]:
    """The columns `step` and `member` of samples."""
    return {
        "step": [None if row.fell is None else row.fell.step for row in rows],
        "member": [None if row.fell is None else row.fell.member for row in rows],
    }
