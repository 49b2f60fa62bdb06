"""audit: the masking checklist for each trained network of a manifest."""

from argparse import Namespace
from dataclasses import replace
from typing import Any

from jobs.commands import context
from jobs.commands.context import command
from jobs.commands.sending import send_missing
from jobs.console import Console
from jobs.dispatch import sending
from jobs.errors import UsageError
from jobs.expand.cell import Cell, Manifest
from jobs.planning import finding, recall, stage_story
from jobs.planning.finding import Place


def audit(args: Namespace, console: Console) -> int:
    """Audit every trained network of a manifest, then print the verdicts that are there."""
    where = context.place(args)
    manifest = finding.manifest(args.manifest, where.root)
    trained = [c for c in manifest.cells if where.root.cell(c.training_id).training.exists()]
    if not trained:
        raise UsageError(
            f"{manifest.name}: none of its networks is trained yet; "
            f"train them first: {command('submit', args.manifest)}"
        )
    if not args.dry_run:
        sending.prepare(where.root)
        # what is remembered of this text are the cells that it describes, not those sent here
        recall.save(where.root, manifest)
    wanted = replace(manifest, cells=tuple(map(_audited, trained)))
    if left := len(manifest.cells) - len(trained):
        console.note(f"{left} of {len(manifest.cells)} networks are not trained yet, left out")
    code = send_missing(where, wanted, args, console)
    if lines := verdicts(where, wanted):
        console.data([*lines, f"next: {command('show', wanted.cells[0].label)}"])
    return code


def _audited(cell: Cell) -> Cell:
    """A cell that wants its audits alone: those that it lists, else the usual one."""
    from snnlib.spec.stage import AuditStage  # loads pydantic, for which others need not wait

    own = tuple(stage for stage in cell.stages if isinstance(stage, AuditStage))
    # what is trained waits for no parent
    return replace(
        cell, attacks=(), epsilons=(), parents=(), sources=(), stages=own or (AuditStage(),)
    )


def verdicts(where: Place, manifest: Manifest) -> list[str]:
    """A line for each audit on record: label, verdict, what did not pass."""
    width = max(len(cell.label) for cell in manifest.cells)
    return [
        f"{cell.label:<{width}}  {stage_story.verdict(story)}"
        for cell in manifest.cells
        for story in _audits(where, cell)
    ]


def _audits(where: Place, cell: Cell) -> list[dict[str, Any]]:
    told = stage_story.told(where.root.cell(cell.training_id))
    return [story for story in told if story["kind"] == "audit"]
