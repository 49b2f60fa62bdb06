"""report: one HTML page about a study, from its tables, its manifest and how its cells stand."""

import contextlib
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import attempts, files
from jobs.commands import context
from jobs.commands.context import STATUS_AGE_S, View, command
from jobs.commands.tables import bring_up_to_date
from jobs.console import Console
from jobs.dispatch import ledger
from jobs.errors import CorruptFile, EnvironmentFault
from jobs.expand.blocks import Reference
from jobs.expand.cell import Cell
from jobs.expand.matching import matches
from jobs.expand.yaml_text import Mark, Node
from jobs.planning import groups, views
from jobs.planning.finding import Place
from jobs.planning.plan import Planned

if TYPE_CHECKING:
    from analysis.report.study import CellState, Failure, Published, Study, Unfinished

_NOWHERE = Mark(0, 0, "")
LABELS = 6
"""Groups of labels named in one place at most."""


def report(args: Namespace, console: Console) -> int:
    """Collect, then write the page about a manifest, or about what was submitted last."""
    from analysis.report.assemble import page  # pandas, only where it is used
    from analysis.report.study import read

    where = context.place(args)
    manifest = context.manifests(where, args.manifest)[0]
    notes = bring_up_to_date(where, console)
    view = context.view(where, manifest, args, max_age=STATUS_AGE_S)
    target = (
        Path(args.out).expanduser().absolute() if args.out else where.root.tables / "report.html"
    )
    content = page(_study(where, view, notes), read(where.root.path)).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.replace(target, content)
    except OSError as error:
        raise EnvironmentFault(
            f"{target}: the page cannot be written ({error.strerror}); name another file with --out"
        ) from error
    console.data(f"{manifest.name}: {target} ({len(content) / 1e6:.2f} MB)")
    console.data(f"next: open it in a browser, or {command('plot', manifest.name)}")
    return 0


def _study(where: Place, view: View, notes: tuple[str, ...]) -> "Study":
    """The study as its manifest, and the run root's files, tell it."""
    from analysis.report.study import Study

    causes = groups.causes(view.items, view.seen.known)
    return Study(
        name=view.manifest.name,
        source=view.manifest.source,
        manifest=view.manifest.text,
        root=str(where.root.path),
        at=time.time(),
        cells=tuple(map(_cell_state, view.items)),
        unfinished=tuple(_unfinished(view.items)),
        failures=tuple(_failure(where, cause) for cause in causes),
        references=tuple(_published(one, view.cells) for one in view.manifest.references),
        commits=_commits(where),
        notes=notes,
    )


def _cell_state(item: Planned) -> "CellState":
    from analysis.report.study import CellState

    cell = item.cell
    shape = cell.resources
    return CellState(
        training_id=cell.training_id,
        label=cell.label,
        state=item.state,
        attacks={
            key: None if attack.name == "clean" else (attack.norm, attack.space, attack.clip)
            for key, attack in cell.attack_ids.items()
        },
        gpus=shape.nodes * shape.gpus_per_node,
        processes=shape.nodes * shape.processes,
        own=cell.number >= 0,
    )


def _unfinished(items: Sequence[Planned]) -> Iterator["Unfinished"]:
    """Cells that are not done, by state and reason, the most frequent first."""
    from analysis.report.study import Unfinished

    found: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if item.action != "done" and item.cell.number >= 0:
            found.setdefault((item.state, item.reason), []).append(item.cell.label)
    for (state, reason), labels in sorted(found.items(), key=lambda pair: -len(pair[1])):
        names = views.compressed(labels, LABELS)
        yield Unfinished(state=state, reason=reason, count=len(labels), labels=names)


def _failure(where: Place, cause: groups.Cause) -> "Failure":
    from analysis.report.study import Failure

    last = cause.attempt
    paths = where.root.cell(cause.training_id).attempt(last.number)
    tail = (attempts.tail(paths) or attempts.log_tail(paths.log(0))) if last.claimed else []
    return Failure(
        signature=cause.signature,
        count=len(cause.labels),
        labels=views.compressed(cause.labels, LABELS),
        nodes=", ".join(f"{name} ({number})" for name, number in cause.nodes.most_common(LABELS)),
        example=cause.training_id[:8],
        attempt=last.number,
        state=last.state or "lost",
        reason=last.reason,
        tail=tuple(tail),
    )


def _published(one: Reference, cells: Sequence[Cell]) -> "Published":
    from analysis.report.study import Published

    return Published(
        where=", ".join(f"{key}: {views.flat(value)}" for key, value in one.where.items()),
        attack=one.attack,
        epsilon=(one.epsilon.numerator, one.epsilon.denominator),
        value=float(one.value),
        source=one.source,
        trainings=frozenset(c.training_id for c in cells if speaks_of(one.where, c)),
    )


def speaks_of(where: Mapping[str, Any], cell: Cell) -> bool:
    """Whether a cell agrees with all that a reference says of it, e.g. {model.neuron: lif}."""
    return all(_agrees(cell, key.split("."), wanted) for key, wanted in where.items())


def _agrees(cell: Cell, steps: Sequence[str], wanted: object) -> bool:
    found: Any = cell.training if hasattr(cell.training, steps[0]) else cell
    for step in steps:
        if not hasattr(found, step):
            return False
        found = getattr(found, step)
    return matches(found, _node(wanted))


def _node(value: Any) -> Node:
    """A bare value as what patterns are made of."""
    match value:
        case dict():
            return Node(_NOWHERE, {key: _node(item) for key, item in value.items()})
        case list() | tuple():
            return Node(_NOWHERE, tuple(map(_node, value)))
        case _:
            return Node(_NOWHERE, value)


def _commits(where: Place) -> dict[str, str]:
    """Hash of a code → the commit that it was copied from, by the submissions that can be read."""
    found = {}
    for number in ledger.numbers(where.root):
        with contextlib.suppress(CorruptFile, OSError, KeyError):
            plan = files.read_json(where.root.submission(number).plan)
            found[str(plan["code"])] = str(plan["commit"])
    return found
