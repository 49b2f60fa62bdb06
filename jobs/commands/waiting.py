"""Wait for a manifest's cells, with progress; and the worker's metrics on the way."""

import time
from argparse import Namespace
from collections import Counter

from jobs import attempts, files
from jobs.commands import context
from jobs.commands.context import View, command
from jobs.console import Console
from jobs.dispatch import ledger, local
from jobs.expand.cell import Manifest
from jobs.planning import views
from jobs.planning.finding import Place
from jobs.running import partial

LOCAL_POLL_S = 1.0
SLURM_POLL_S = 15.0
ON_THE_WAY = frozenset({"queued", "pending", "running", "unknown"})


def wait(
    where: Place,
    manifest: Manifest,
    args: Namespace,
    console: Console,
    *,
    follow: str | None = "collect",
) -> int:
    """Wait until nothing of a manifest runs or waits to run.

    Args:
        where: run root, data and site.
        manifest: whose cells.
        args: `only` chooses among them.
        console: for the progress and the status at the end.
        follow: the next useful command if all is well; None to name none.

    Returns:
        0 if every cell is completed, 1 if some failed, 4 if some are left, 130 on Ctrl-C.
    """
    try:
        view = _until_still(where, manifest, args, console)
    except KeyboardInterrupt:
        console.note(f"stopped watching; the jobs go on\nnext: {command('status', manifest.name)}")
        return 130
    view.index.save()
    console.data(_lines(view, follow))
    if views.broken(view.items):
        return 1
    return 0 if views.finished(view.items) else 4


def _until_still(where: Place, manifest: Manifest, args: Namespace, console: Console) -> View:
    while True:
        view = context.view(where, manifest, args, max_age=SLURM_POLL_S)
        if not any(item.state in ON_THE_WAY for item in view.items) and not _ending(where, view):
            return view
        if context.queue_is_missing(where, view):
            local.ensure_running(where.root)
        console.progress(_progress(where, view))
        slurm = any(submission.cluster == "slurm" for submission in view.seen.found)
        time.sleep(SLURM_POLL_S if slurm else LOCAL_POLL_S)


def _ending(where: Place, view: View) -> bool:
    """Whether jobs that still end may send what is held."""
    if view.seen.answer is None or not any(item.action == "held" for item in view.items):
        return False
    mine = ledger.job_prefix(where.root)
    return any(job.live and job.name.startswith(mine) for job in view.seen.answer.jobs.values())


def _progress(where: Place, view: View) -> str:
    """One line: how many are done, and what runs at which epoch."""
    tally: Counter[str] = views.summary(view.items)
    words = [f"{tally.pop('completed', 0)}/{len(view.cells)} completed"]
    words += [f"{number} {state}" for state, number in tally.items()]
    for item in view.items:
        if item.state == "running":
            words.append(f"{item.cell.label} {epoch(where, item.cell.training_id)}".rstrip())
    return " · ".join(words)


def epoch(where: Place, training_id: str) -> str:
    """How far the last attempt of a training is, by its own metrics and events."""
    cell = where.root.cell(training_id)
    if cell.training.exists():
        newest = attempts.numbers(cell)[-1:]
        events = (line for n in newest for line in files.read_lines(cell.attempt(n).events))
        return partial.progress(events) or "attacking"
    for number in reversed(attempts.numbers(cell)):
        lines = list(files.read_lines(cell.attempt(number).metrics))
        if lines:
            last = lines[-1]
            if not last["validation_total"]:
                return f"epoch {last['epoch']}"
            share = last["validation_correct"] / last["validation_total"]
            return f"epoch {last['epoch']} ({share:.0%} on validation)"
    return ""


def _lines(view: View, follow: str | None) -> list[str]:
    lines = views.status_text(view.items, view.last, "", "")[:-1]
    if views.broken(view.items):
        first = next(i for i in view.items if i.action == "give_up")
        return [*lines, f"next: {command('logs', first.cell.training_id[:8])}"]
    if not views.finished(view.items):
        return [*lines, f"next: {command('resume', view.manifest.name)}"]
    return lines if follow is None else [*lines, f"next: {command(follow)}"]
