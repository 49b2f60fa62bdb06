"""run: one cell in the foreground. demo: the quickstart from end to end."""

import tempfile
from argparse import Namespace
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from jobs.commands import context
from jobs.commands.context import View, command
from jobs.commands.tables import collect_and_show
from jobs.commands.waiting import wait
from jobs.console import Console
from jobs.dispatch import sending
from jobs.dispatch.describing import Options
from jobs.errors import EnvironmentFault, UsageError
from jobs.expand.cell import Cell, Manifest
from jobs.layout import CellFiles, RunRoot
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
        for source in _untrained(where, cell):
            console.note(
                f"{source.label} is not trained yet: attacks that climb on it are left out"
            )
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
    # what is lent is whole: nothing of parents and sources is planned, let alone in their folders
    return replace(cell, training=training, evaluation=evaluation, parents=(), sources=())


def _lend_parents(where: Place, scratch: Place, cell: Cell) -> None:
    """Let a scratch run use the parents, and the sources of attacks, of the real run root.

    Raises:
        UsageError: a parent is not trained, or its signature is not there.
    """
    for parent in cell.parents:
        own, stage = where.root.cell(parent.cell.training_id), parent.stage_id
        if not own.training.exists():
            lacking = f"its parent {parent.cell.label} is not trained yet"
        elif stage is not None and not own.stage(stage).exists():
            lacking = f"its parent {parent.cell.label} has no signature yet"
        else:
            _lend(scratch, own)
            continue
        # one that is no cell itself runs with its child alone
        first = parent.cell if parent.cell.number >= 0 else cell
        raise UsageError(f"{cell.label}: {lacking}; run first: {command('run', first.label)}")
    for source in cell.sources:
        if (own := where.root.cell(source.training_id)).training.exists():
            _lend(scratch, own)


def _untrained(where: Place, cell: Cell) -> list[Cell]:
    return [s for s in cell.sources if not where.root.cell(s.training_id).training.exists()]


def _lend(scratch: Place, own: CellFiles) -> None:
    lent = scratch.root.cell(own.folder.name).folder
    lent.parent.mkdir(parents=True, exist_ok=True)
    if not lent.exists():
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
    masked = [cell for cell in view.cells if cell.stages]  # those that the audit is shown on
    drawn = {cell.training_id for cell in view.cells} - {cell.training_id for cell in masked}
    collect_and_show(where, [where.root.path], console, picture=drawn)
    _show_masking(where, {cell.training_id for cell in masked}, console)
    console.data(
        [
            "next:",
            f"  {command('show', view.cells[0].label)}  # one cell's story",
            f"  {command('show', masked[-1].label)}  # the one with the gap: its audit names every sign",
            f"  {command('plan', 'quickstart')}  # nothing is left to do: add an epsilon and look again",
            f"  {command('submit', 'my.yaml')}  # your own manifest; start from manifests/quickstart.yaml",
        ]
    )
    return 0


def _show_masking(where: Place, trainings: Collection[str], console: Console) -> None:
    """Say what attacks along another gradient than the network's own claim too much."""
    from analysis.masking import gap_lines  # pandas, only where it is used
    from analysis.tables import load

    results = load("results", where.root.path)
    lines = list(gap_lines(results[results["training_id"].isin(list(trainings))]))
    if lines:
        console.data(["gradient masking, found by attacking along the whole gradient:", *lines])
