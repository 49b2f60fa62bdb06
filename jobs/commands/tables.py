"""collect: records become parquet tables, a summary and a picture."""

import time
from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from jobs.commands import context
from jobs.commands.context import command
from jobs.console import Console
from jobs.errors import CorruptFile, EnvironmentFault, UsageError
from jobs.planning.finding import Place
from jobs.planning.status_text import one_line
from jobs.schema import TableName

if TYPE_CHECKING:
    from analysis.collecting.collect import Collected


WATCH_S = 10.0
"""Seconds between two looks at least; longer where a look takes long, so that it costs little."""

_SHARE = 20
"""How many times longer than a look the pause after it is."""


class Document(TypedDict):
    """What `collect --json` prints.

    Attributes:
        tables: file of each.
        rows: how many each has.
        added: how many it did not have before.
        warnings: files and rows that were left out, and why.
        invalid: what was left out because somebody said so, and why.
    """

    tables: dict[str, str]
    rows: dict[TableName, int]
    added: dict[TableName, int]
    warnings: list[str]
    invalid: list[str]


def collect(args: Namespace, console: Console) -> int:
    """Collect one or several run roots into the tables of the first."""
    if args.watch and args.json:
        raise UsageError("--watch --json: one document never ends; leave one of them out")
    roots = [Path(root).expanduser().absolute() for root in args.roots or []]
    args.root = str(roots[0]) if roots else None
    where = context.place(args)
    roots = roots or [where.root.path]
    if args.watch:
        return _watch(roots, console)
    collected = collect_and_show(where, roots, console, quiet=args.json)
    if args.json:
        console.json(collected)
    else:
        console.data(f"next: {_next(collected['warnings'])}")
    return 0


def _next(warnings: Sequence[str]) -> str:
    """What to do after tables from which some records may be missing."""
    if any("/evaluations/" in one and one.endswith("; skipped") for one in warnings):
        # what was found whole once counts as done until somebody reads it again
        return command("status", "--verify")
    return command("report")


def _watch(roots: Sequence[Path], console: Console) -> int:
    """Collect again whenever something new is there, until Ctrl-C."""
    from analysis.collecting.collect import NothingYet
    from analysis.summary_text import collected_text

    said: set[str] = set()
    first = True
    try:
        while True:
            began = time.monotonic()
            try:
                collected = _collected(roots, console, said)
                if first or collected.changed:
                    console.data(collected_text(collected).split("\n"))
                first = False
            except NothingYet:
                console.progress("no cell has been started yet")
            time.sleep(max(WATCH_S, _SHARE * (time.monotonic() - began)))
    except KeyboardInterrupt:
        console.note(f"stopped watching; the tables are whole\nnext: {command('status')}")
        return 130


def _collected(roots: Sequence[Path], console: Console, said: set[str]) -> "Collected":
    """Collect, and say what was left out unless it was said before."""
    from analysis.collecting import (
        collect as tables,  # pandas and pyarrow, only where they are used
    )

    def report(what: str, done: int, total: int) -> None:
        console.progress(f"{what} {done:,} of {total:,}")

    collected = tables.collect(list(roots), progress=report if console.live else None)
    console.done()
    # names of files, and reasons that people gave, may hold line breaks
    lines = [f"warning: {one_line(warning)}" for warning in collected.warnings]
    lines += [f"left out: {one_line(line)}" for line in collected.invalid]
    for line in lines:
        if line not in said:
            console.note(line)
    said.update(lines)
    return collected


def bring_up_to_date(where: Place, console: Console) -> tuple[str, ...]:
    """Collect again whatever the tables were made from; what was left out.

    Tables that cannot be brought up to date stay as they are: copied from elsewhere without their
    run root, in a folder of somebody else, or of merged run roots of which one is gone.
    """
    from analysis.collecting.collect import NothingYet

    roots = [where.root.path, *_merged(where)]
    absent = [root for root in roots[1:] if not root.is_dir()]
    if absent:
        note = f"the tables stay as they were collected: {absent[0]}, a part of them, is not there"
        console.note(one_line(note))
        return (note,)
    try:
        done = _collected(roots, console, set())
    except (EnvironmentFault, NothingYet) as error:
        if not (where.root.tables / "results.parquet").exists():
            raise
        console.note(one_line(f"the tables stay as they were collected: {error}"))
        return (f"the tables are older than this page: {error}",)
    return (*done.warnings, *done.invalid)


def _merged(where: Place) -> list[Path]:
    """Other run roots whose records are in the tables, in the order in which they count."""
    from analysis.collecting.remembered import roots_of
    from analysis.tables import load

    known = roots_of(where.root.tables)
    try:
        there = [*dict.fromkeys(load("attempts", where.root.path)["root"])]
    except (UsageError, CorruptFile):  # nothing collected yet, or to be collected anew
        there = []
    if not {*there} <= {*known}:  # of another collection, whose order nothing tells
        known = there
    return [Path(root) for root in known if Path(root) != where.root.path.resolve()]


def collect_and_show(
    where: Place,
    roots: Sequence[Path],
    console: Console,
    *,
    picture: Collection[str] = (),
    quiet: bool = False,
) -> Document:
    """Write the tables and print what they hold; draw the curves of the trainings in `picture`."""
    from analysis.curves import plot_curves
    from analysis.summary_text import collected_text
    from analysis.tables import load

    collected = _collected(roots, console, set())
    if not quiet:
        console.data(collected_text(collected).split("\n"))
    if picture:
        results = load("results", where.root.path)
        chosen = results[results["training_id"].isin(list(picture))]
        drawn = plot_curves(chosen, where.root.tables / "curves.png")
        console.data(f"curves: {' and '.join(map(str, drawn))}")
    return {
        "tables": {name: str(path) for name, path in collected.paths.items()},
        "rows": dict(collected.counts),
        "added": dict(collected.added),
        "warnings": list(collected.warnings),
        "invalid": list(collected.invalid),
    }
