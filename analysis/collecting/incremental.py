"""The tables of all trainings, of which only those are read that are new since the last time.

What is new follows from names and content (`analysis.collecting.listing`), never from a clock; times
of change spare a look where nothing moved (`analysis.collecting.unchanged`).
"""

import gc
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from analysis.collecting import columns, listing, remembered, unchanged
from analysis.collecting.gather import Progress, read
from analysis.collecting.listing import Holders
from analysis.collecting.merging import Piece, merged, settled
from analysis.collecting.packed import streams
from analysis.collecting.remembered import Remembered
from analysis.collecting.specifications import Families
from analysis.collecting.unchanged import Look
from jobs.forked import spread
from jobs.layout import RunRoot
from jobs.schema import TABLES, TableName

SHARE = 50
"""Trainings that are worth a process of their own."""


@dataclass(frozen=True, kw_only=True)
class Now:
    """All trainings as they are now.

    Attributes:
        roots: run roots.
        look: what each training is made of; with an empty mark where there are warnings about it.
        families: what the specifications say of the trainings' settings.
        counts: rows of each table.
        tables: all rows.
        warnings: what was left out, and why.
        last: the collection before, if the tables on disk are still those that it wrote.
        changed: ids of trainings that are not as they were then; all, if there is no such.
    """

    roots: Sequence[str]
    look: Look
    families: Families
    counts: Mapping[TableName, int]
    tables: Piece
    warnings: Sequence[str]
    last: Remembered | None
    changed: Sequence[str]

    @property
    def same(self) -> bool:
        """Whether the tables on disk hold all this already."""
        return self.last is not None and (
            self.tables is self.last.tables
            or all(self.tables[name].equals(self.last.tables[name]) for name in TABLES)
        )

    def remember(self, folder: Path, written: Mapping[TableName, str]) -> None:
        """Keep it for the next collection.

        Args:
            folder: of the tables.
            written: SHA-256 of the file of each.
        """
        last = self.last
        if last is not None and (last.look, last.written) == (self.look, written):
            return
        found = Remembered(
            roots=self.roots,
            look=self.look,
            families=self.families,
            written=written,
            counts=self.counts,
            tables=self.tables,
        )
        remembered.save(folder, found)


@dataclass(frozen=True, kw_only=True)
class _Share:
    """What one process read."""

    marks: Mapping[str, str]
    tables: Piece
    families: Families
    warnings: Sequence[str]


@contextmanager
def _without_search() -> Iterator[None]:
    """No search for cycles meanwhile: JSON has none, and to look for them takes a third more."""
    usual = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if usual:
            gc.enable()


@_without_search()
def look(places: Sequence[RunRoot], folder: Path, report: Progress) -> Now:
    """Read what is new in some run roots, and put it beside what is remembered.

    Args:
        places: run roots, the one that counts most first.
        folder: of the tables.
        report: called before each step.

    Raises:
        EnvironmentFault: if a file is there but cannot be read.
    """
    warnings: list[str] = []
    roots = [str(place.path) for place in places]
    there = listing.holders(places, warnings)
    last = remembered.load(folder, roots)
    known = last.look if last else Look({}, {})
    seen = Look(dict.fromkeys(there, ""), {})
    if last:
        seen = unchanged.look([*there.items()], known, time.time_ns())
    stale = [item for item in there.items() if known.marks.get(item[0]) != seen.marks[item[0]]]
    work = partial(_read, report=report, total=len(stale), parent=os.getpid())
    shares = spread(work, stale, least=SHARE)
    for share in shares:
        warnings += share.warnings
        seen.marks.update(share.marks)
    gone = known.marks.keys() - there.keys()
    if last and not stale and not gone:
        tables, families, counts = last.tables, last.families, last.counts
    else:
        tables, families = _together(there, last, shares)
        counts = {name: tables[name].num_rows for name in TABLES}
    return Now(
        roots=roots,
        look=seen,
        families=families,
        counts=counts,
        tables=tables,
        warnings=warnings,
        last=last,
        changed=sorted({*gone, *(key for key, _ in stale)}),
    )


def _read(some: Sequence[Holders], *, report: Progress, total: int, parent: int) -> _Share:
    def progress(what: str, done: int, own: int) -> None:
        if os.getpid() == parent:  # whose share stands for all
            report(what, done * total // own, total)

    alone = os.getpid() == parent
    if not alone:
        # malloc comes through a fork whole, whatever other threads held at that moment
        pa.set_memory_pool(pa.system_memory_pool())
    found = read(some, progress)
    tables = columns.tables(found)
    return _Share(
        marks=found.marks,
        tables=tables if alone else streams(tables),  # a fifth goes through the pipe
        families=found.families,
        warnings=found.warnings,
    )


def _together(
    there: Mapping[str, object], last: Remembered | None, shares: Sequence[_Share]
) -> tuple[Piece, Families]:
    """The tables and families of all trainings that are there."""
    known: list[Remembered | _Share] = [*([last] if last else []), *shares]
    owners = dict.fromkeys(there, 0)
    for place, share in enumerate(shares, len(known) - len(shares)):
        owners |= dict.fromkeys(share.marks, place)
    families = Families()
    for one in known:
        families.climbs |= one.families.climbs
    for key, owner in owners.items():
        if key in known[owner].families.own:
            families.own[key] = known[owner].families.own[key]
    return settled(merged([one.tables for one in known], owners), families), families
