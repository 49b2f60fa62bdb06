"""run: one cell in the foreground. demo: the quickstart from end to end."""

import tempfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from jobs.commands import context
from jobs.commands.context import View, command
from jobs.commands.tables import collect_and_show
from jobs.commands.waiting import wait
from jobs.console import Console
from jobs.dispatch import sending
from jobs.dispatch.sending import Options
from jobs.errors import EnvironmentFault, UsageError
from jobs.expand.cell import Cell, Manifest
from jobs.layout import RunRoot
from jobs.planning import finding, recall, views
from jobs.planning.finding import Place
from jobs.planning.plan import Planned

QUICKSTART = finding.MANIFESTS / "quickstart.yaml"


def run(args: Namespace, console: Console) -> int:
    """Run one cell in the foreground, with its log on the terminal."""
    where = context.place(args)
    found = context.cell(where, args.cell, args.manifest)
    home, cell = recall.expanded(found[0]), recall.expanded(found[1])
    if args.epochs is None and args.samples is None:
        code, reason = _run(where, replace(home, cells=(cell,)), args, console)
        console.data(f"{cell.label}: {reason}")
        console.data(f"next: {command('show', cell.training_id[:8])}")
        return code
    with tempfile.TemporaryDirectory(prefix="spikegrid-") as folder:
        console.note(f"scratch run: nothing is recorded under {where.root.path}")
        scratch = replace(where, root=RunRoot(Path(folder)))
        _lend_parents(where, scratch, cell)
        short = _shortened(cell, args.epochs, args.samples)
        code, reason = _run(scratch, replace(home, cells=(short,)), args, console)
    console.data(f"{cell.label}: {reason} (scratch run, recorded nothing)")
    console.data(f"next: {command('run', args.cell)}")
    return code


def _shortened(cell: Cell, epochs: int | None, samples: int | None) -> Cell:
    regime = cell.training.regime
    if epochs is not None:
        regime = replace(regime, epochs=epochs)
    training = replace(cell.training, regime=regime)
    evaluation = replace(cell.evaluation, samples=samples or cell.evaluation.samples)
    return replace(cell, training=training, evaluation=evaluation)


def _lend_parents(where: Place, scratch: Place, cell: Cell) -> None:
    """Let a scratch run start from parents that are trained in the real run root."""
    for parent in {parent.cell.training_id: parent.cell for parent in cell.parents}.values():
        own = where.root.cell(parent.training_id)
        if not own.training.exists():
            raise UsageError(
                f"{cell.label}: its parent {parent.label} is not trained yet; "
                f"run that first: {command('run', parent.label)}"
            )
        lent = scratch.root.cell(parent.training_id).folder
        lent.parent.mkdir(parents=True, exist_ok=True)
        lent.symlink_to(own.folder)


def _run(where: Place, manifest: Manifest, args: Namespace, console: Console) -> tuple[int, str]:
    """Run the cells of a manifest here; the exit code, and how the last one stands."""
    sending.prepare(where.root)
    args.only = None
    view = context.view(where, manifest, args, max_age=0.0, retry_failed=True)
    context.check_machine(view.items)
    context.check_data(where, view.items)
    options = Options(cluster="debug", data=where.data, echo=console.echo)
    sending.send(where.root, manifest, view.items, view.seen, where.site, options)
    after = context.view(where, manifest, args, max_age=0.0)
    after.index.save()
    item = after.items[-1]
    code = _code(after, item) if item.action == "give_up" or item.state == "failed" else 0
    return code or (0 if item.action == "done" else 4), f"{item.state} · {item.reason}"


def _code(view: View, item: Planned) -> int:
    """Exit code of a failed cell: whether it was the machine's fault, its data's among them."""
    kind = view.last[item.cell.training_id].signature.partition(":")[0]
    faults = {"DatasetMissing", "EnvironmentFault"}
    return EnvironmentFault.exit_code if kind in faults else 1


def demo(args: Namespace, console: Console) -> int:
    """Run the quickstart manifest on this machine, then say where to look."""
    where = context.place(args)
    manifest = finding.manifest(str(QUICKSTART))
    sending.prepare(where.root)
    view = context.view(where, manifest, args, max_age=0.0)
    options = Options(cluster="local", data=where.data)
    console.note(
        f"{manifest.name}: {views.count(len(view.cells), 'cell')} on this machine, "
        "two to three minutes; Ctrl-C stops watching, not the jobs"
    )
    sending.send(where.root, manifest, view.items, view.seen, where.site, options)
    sending.go_on(where.root, view.seen)
    code = wait(where, manifest, args, console, follow=None)
    if code:
        return code
    collect_and_show(where, [where.root.path], console, picture={c.training_id for c in view.cells})
    console.data(
        [
            "next:",
            f"  {command('show', view.cells[0].label)}  # one cell's story",
            f"  {command('plan', 'quickstart')}  # nothing is left to do: add an epsilon and look again",
            f"  {command('submit', 'my.yaml')}  # your own manifest; start from manifests/quickstart.yaml",
        ]
    )
    return 0
