"""cancel: what is queued or running ends; what runs saves first."""

import shlex
import subprocess
import time
from argparse import Namespace
from collections.abc import Set

from jobs import attempts
from jobs.commands import context
from jobs.commands.context import command
from jobs.console import Console
from jobs.dispatch import holds, ledger, liveness, sending
from jobs.dispatch.ledger import Submission
from jobs.errors import EnvironmentFault
from jobs.expand.cell import Manifest
from jobs.planning import finding, situation, views
from jobs.planning.finding import Place
from jobs.planning.index import Index
from jobs.planning.plan import Progress, with_parents
from jobs.planning.situation import Situation

ASK_FROM = 10
"""More cells than this are cancelled only after asking."""


def cancel(args: Namespace, console: Console) -> int:
    """Cancel what is queued or running of a manifest, or of all."""
    where = context.place(args)
    named = finding.manifest(args.manifest, where.root) if args.manifest else None
    only = _chosen(where, named, args.only, console)
    seen = situation.look(where.root, (), Index(where.root), max_age=0.0, now=time.time())
    wanted: set[str] = set()
    ending: set[str] = set()
    chosen: dict[int, list[int]] = {}
    for submission in seen.found:
        own = _wanted(where, seen, submission, named)
        keys = own if only is None else own & only
        tasks = {submission.cells[key] for key in keys}
        if tasks:
            chosen[submission.number] = sorted(tasks)
            ending |= {key for key, task in submission.cells.items() if task in tasks}
        wanted |= keys
    if not chosen:
        console.data("nothing of it is queued or running")
        return 0
    many = views.count(len(wanted), "cell")
    if len(wanted) > ASK_FROM and not args.yes and not console.agreed(f"cancel {many}?"):
        return 1
    sending.cancel(where.root, chosen, _run)
    if others := len(ending - wanted):
        console.note(
            f"{views.count(others, 'other cell')} in the same jobs (cells_per_job) end too"
        )
    if named and (more := len(wanted - {cell.training_id for cell in named.cells})):
        console.note(
            f"{more:,} of them: not in {named.name} as it is now, but sent with it as parent or "
            "source, or for an older version of it; `resume` sends again what others wait for"
        )
    console.data(f"cancelled {many}; running ones save a checkpoint first")
    console.data(f"next: {command('resume', *filter(None, [args.manifest]))}")
    return 0


def _chosen(
    where: Place, named: Manifest | None, only: str | None, console: Console
) -> set[str] | None:
    """Trainings that `--only` chooses; None if it was not given.

    Parents and sources are chosen like cells, and by all versions of a manifest: what was sent
    for an older one still runs.

    Raises:
        UsageError: it chooses nothing in any of them.
    """
    if only is None:
        return None
    name = None if named is None else named.name
    versions = finding.submitted(where.root, every=True, name=name, note=console.note)
    own = [] if named is None else [named]
    cells = [cell for one in (*own, *versions) for cell in with_parents(one.cells)]
    if not cells and not ledger.numbers(where.root):
        return set()  # nothing was sent yet
    return {cell.training_id for cell in finding.only(cells, only)}


def _wanted(
    where: Place, seen: Situation, submission: Submission, named: Manifest | None
) -> Set[str]:
    """Live trainings of a submission that end with a manifest, or with all (None).

    All that were sent for it: its parents too, which nobody else may have asked for. Of other
    submissions its own cells alone.
    """
    held, now = holds.of(where.root, [submission.number]), time.time()
    live = liveness.live([submission], {}, seen.answer, now, held)
    # what a job let go of, tries again or came back to is known by the attempts at it
    unsure = submission.skipped.keys() | submission.local.keys()
    keys = [key for key, task in submission.cells.items() if key in live or task in unsure]
    tried = {key: tuple(attempts.read_all(where.root.cell(key))) for key in keys}
    known = {key: Progress(attempts=found) for key, found in tried.items()}
    live = liveness.live([submission], known, seen.answer, now, held)
    if named is None or submission.manifest == named.name:
        return live.keys()
    return live.keys() & {cell.training_id for cell in named.cells}


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFault(f"{shlex.join(argv)}: {error}; try again") from error
    # a job that has ended already is no failure of its cancelling
    if done.returncode and "Invalid job id" not in done.stderr:
        raise EnvironmentFault(f"{shlex.join(argv)}: {done.stderr.strip()}; try again")
