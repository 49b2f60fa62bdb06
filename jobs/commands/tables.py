"""collect: records become parquet tables, a summary and a picture."""

from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path

from jobs.commands import context
from jobs.commands.context import command
from jobs.console import Console
from jobs.planning.finding import Place


def collect(args: Namespace, console: Console) -> int:
    """Collect one or several run roots into the tables of the first."""
    roots = [Path(root).expanduser().absolute() for root in args.roots or []]
    args.root = str(roots[0]) if roots else None
    where = context.place(args)
    collected = collect_and_show(where, roots or [where.root.path], console, quiet=args.json)
    if args.json:
        console.json(collected)
    else:
        console.data(f"next: {command('status')}")
    return 0


def collect_and_show(
    where: Place,
    roots: Sequence[Path],
    console: Console,
    *,
    picture: Collection[str] = (),
    quiet: bool = False,
) -> dict[str, object]:
    """Write the tables and print what they hold; draw the curves of the trainings in `picture`."""
    from analysis import collect as tables  # pandas and pyarrow, only where they are used
    from analysis.curves import plot_curves
    from analysis.summary_text import collected_text
    from analysis.tables import load

    def report(what: str, done: int, total: int) -> None:
        console.progress(f"{what} {done:,} of {total:,}")

    collected = tables.collect(list(roots), progress=report if console.live else None)
    console.done()
    for warning in collected.warnings:
        console.note(f"warning: {warning}")
    for line in collected.invalid:
        console.note(f"left out: {line}")
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
