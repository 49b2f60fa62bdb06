"""Wait for a manifest's cells, with progress on the way."""

import time
from argparse import Namespace

from jobs.commands import context, standing
from jobs.commands.context import View, command
from jobs.console import Console
from jobs.dispatch import ledger, local
from jobs.expand.cell import Manifest
from jobs.planning import views
from jobs.planning.finding import Place
from jobs.planning.headway import Watcher
from jobs.planning.status_text import tally_line
from jobs.planning.watch_text import brief

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
    console.data(standing.lines(where, view, _follow(view, follow), console.width))
    return standing.exit_code(view)


def _until_still(where: Place, manifest: Manifest, args: Namespace, console: Console) -> View:
    watcher = Watcher(where.root)
    while True:
        view = context.view(where, manifest, args, max_age=SLURM_POLL_S)
        if not moving(where, view):
            return view
        if context.queue_is_missing(where, view):
            local.ensure_running(where.root)
        console.progress(_progress(watcher, view))
        slurm = any(submission.cluster == "slurm" for submission in view.seen.found)
        time.sleep(SLURM_POLL_S if slurm else LOCAL_POLL_S)


def moving(where: Place, view: View) -> bool:
    """Whether a manifest's cells run or wait to run, or jobs that still end may send some."""
    if any(item.state in ON_THE_WAY for item in view.items):
        return True
    if view.seen.answer is None or not any(item.action == "held" for item in view.items):
        return False
    mine = ledger.job_prefix(where.root)
    return any(job.live and job.name.startswith(mine) for job in view.seen.answer.jobs.values())


def _progress(watcher: Watcher, view: View) -> str:
    """One line: how many are done, and what runs at which epoch."""
    now = time.time()
    running = [item.cell for item in view.items if item.state == "running"]
    words = [f"{cell.label} {brief(watcher.of(cell.training_id, now))}" for cell in running]
    return " · ".join([tally_line(view.items), *words])


def _follow(view: View, follow: str | None) -> str:
    """The next useful command after the end."""
    if views.broken(view.items):
        first = next(i for i in view.items if i.action == "give_up")
        return command("logs", first.cell.training_id[:8])
    if not views.finished(view.items):
        return command("resume", view.manifest.name)
    return "" if follow is None else command(follow)
