"""run: one cell in the foreground. demo: the quickstart from end to end."""

import os
import tempfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from jobs import finding, sending, views
from jobs.cell import Cell, Manifest
from jobs.commands import context
from jobs.commands.context import command
from jobs.commands.tables import collect_and_show
from jobs.commands.waiting import wait
from jobs.console import Console
from jobs.finding import Place
from jobs.layout import RunRoot
from jobs.sending import Options

QUICKSTART = finding.MANIFESTS / "quickstart.yaml"


def run(args: Namespace, console: Console) -> int:
    """Run one cell in the foreground, with its log on the terminal."""
    where = context.place(args)
    cell = finding.cell_of(args.cell, context.cells(where, args.manifest), where.root)
    if args.epochs is None and args.samples is None:
        return _run(where, cell, args, console)
    with tempfile.TemporaryDirectory(prefix="spikegrid-") as folder:
        console.note(f"scratch run: nothing is recorded under {where.root.path}")
        scratch = replace(where, root=RunRoot(Path(folder)))
        return _run(scratch, _shortened(cell, args.epochs, args.samples), args, console)


def _shortened(cell: Cell, epochs: int | None, samples: int | None) -> Cell:
    regime = cell.training.regime
    if epochs is not None:
        regime = replace(regime, epochs=epochs)
    training = replace(cell.training, regime=regime)
    evaluation = replace(cell.evaluation, samples=samples or cell.evaluation.samples)
    return replace(cell, training=training, evaluation=evaluation)


def _run(where: Place, cell: Cell, args: Namespace, console: Console) -> int:
    sending.prepare(where.root)
    manifest = Manifest(
        name=f"run-{cell.training_id}", cells=(cell,), references=(), text="", source=cell.label
    )
    args.only = None
    view = context.view(where, manifest, args, max_age=0.0, retry_failed=True)
    args.cluster = "debug"
    context.cluster(where, view, args)
    options = Options(cluster="debug", data=where.data)
    os.environ["SPIKEGRID_FOREGROUND"] = "1"
    sent = sending.send(where.root, manifest, view.items, view.seen, where.site, options)
    after = context.view(where, manifest, args, max_age=0.0)
    item = after.items[-1]
    if sent is None:
        console.note(f"{cell.label}: nothing to run ({item.reason})")
    console.data(f"{cell.label}: {item.state} · {item.reason}")
    console.data(f"next: {command('show', cell.training_id[:8])}")
    after.index.save()
    return 1 if views.broken(after.items) else 0 if views.finished(after.items) else 4


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
    collect_and_show(where, [where.root.path], console, picture=True)
    console.data(
        [
            "next:",
            f"  {command('show', view.cells[0].label)}  # one cell's story",
            f"  {command('plan', 'quickstart')}  # nothing is left to do: add an epsilon and look again",
            f"  {command('submit', 'my.yaml')}  # your own manifest; start from manifests/quickstart.yaml",
        ]
    )
    return 0
