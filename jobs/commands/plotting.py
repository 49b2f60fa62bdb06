"""plot: figures for a paper, of the collected tables."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.commands import context
from jobs.commands.context import command
from jobs.commands.tables import bring_up_to_date
from jobs.console import Console
from jobs.errors import EnvironmentFault, UsageError
from jobs.planning import finding

if TYPE_CHECKING:
    from analysis.figures.study import Kind
    from analysis.figures.style import Drawing

FOLDER = "figures"
"""Below the tables, since figures are derived as they are; each study has its own in it."""
_WHOLE = ("curves", "training")
"""Kinds that are not of one radius."""


def plot(args: Namespace, console: Console) -> int:
    """Collect, then draw the figures of a run root, or of one manifest's cells: PDF, SVG, PNG."""
    if args.epsilon is not None and args.kind in _WHOLE:
        raise UsageError(f"--epsilon: {args.kind} shows all radii; leave it out")
    where = context.place(args)
    cells, named = None, None
    if args.manifest:
        named = finding.manifest(args.manifest, where.root, recalled=True)
        cells = {cell.training_id: list(cell.attack_ids) for cell in named.cells}
    from analysis.figures.study import KINDS, drawings  # matplotlib, only where it is used

    bring_up_to_date(where, console)
    kinds: tuple[Kind, ...] = (args.kind,) if args.kind else KINDS
    own = where.root.tables / FOLDER / (named.name if named else "")
    folder = Path(args.out).expanduser() if args.out else own
    refused: list[str] = []
    drawn = 0
    for kind in kinds:
        try:
            found, passed = drawings(kind, where.root.path, cells=cells, epsilon=args.epsilon)
        except UsageError as error:
            refused.append(str(error))
            continue
        refused += passed
        for drawing in found:
            pdf, *others = _saved(drawing, folder)
            console.data([f"{pdf} (also {', '.join(p.suffix for p in others)})", drawing.caption])
        drawn += len(found)
    if not drawn:
        raise UsageError("\n".join(dict.fromkeys(refused)))
    for line in refused:
        console.note(f"not drawn: {line}")
    console.data(f"next: {command('report')}")
    return 0


def _saved(drawing: "Drawing", folder: Path) -> list[Path]:
    try:
        return drawing.save(folder)
    except OSError as error:
        raise EnvironmentFault(
            f"{folder}: figures cannot be written ({error.strerror}); name another folder with --out"
        ) from error
