"""What most commands need first: where to work, which manifests, and how everything stands."""

import contextlib
import os
import shlex
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from jobs.attempts import Attempt
from jobs.dispatch import holds, ledger, site
from jobs.dispatch.ledger import Cluster
from jobs.dispatch.snapshot import CHECKOUT
from jobs.errors import EnvironmentFault, UsageError
from jobs.expand.cell import Cell, Manifest
from jobs.planning import datasets, finding, recall, situation
from jobs.planning.finding import Place
from jobs.planning.index import Index
from jobs.planning.plan import SENT, Planned, with_parents
from jobs.planning.situation import Situation

STATUS_AGE_S = 30.0
"""A scheduler answer younger than this is not asked for again by those who only look."""


_carried: list[str] = []
"""Flags of this command that the next one needs as well, to speak of the same run root."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A manifest's cells and how they stand.

    Attributes:
        index: of the records.
    """

    manifest: Manifest
    cells: tuple[Cell, ...]
    items: tuple[Planned, ...]
    seen: Situation
    index: Index

    def save(self) -> None:
        """Keep what was learned for the next command; only where this one may write."""
        self.index.save()
        recall.save(self.index.root, self.manifest)

    @cached_property
    def last(self) -> dict[str, Attempt]:
        """The last attempt of each training that has one."""
        known = self.seen.known.items()
        return {key: value.attempts[-1] for key, value in known if value.attempts}

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Seconds that the attempts of each training took."""
        known = self.seen.known.items()
        return {key: _seconds(value.attempts) for key, value in known}


def _seconds(tried: Sequence[Attempt]) -> float:
    return tried[0].seconds if len(tried) == 1 else sum(attempt.seconds for attempt in tried)


def place(args: Namespace) -> Place:
    """Run root, data and site of a command.

    Raises:
        NewerLayout: the run root is of a newer layout.
    """
    found = finding.place(args.root, args.data, site.load(os.environ), os.environ)
    situation.check_format(found.root)
    flags = (("--root", args.root), ("--data", args.data))
    _carried[:] = [word for flag, value in flags if value for word in (flag, value)]
    return found


def view(
    where: Place,
    manifest: Manifest,
    args: Namespace,
    *,
    max_age: float | None,
    retry_failed: bool = False,
    always: bool = False,
) -> View:
    """A manifest's cells, as `--only` chooses them, and the plan for them."""
    cells = finding.only(manifest.cells, args.only)
    index = Index(where.root, trust=not getattr(args, "verify", False))
    seen = situation.look(where.root, cells, index, max_age=max_age, now=time.time(), always=always)
    if args.command == "resume" and args.dry_run:
        seen = situation.released(seen)
    known = datasets.mended(where.root, with_parents(cells), seen.known, Path(where.data))
    seen = replace(seen, known=known)
    items = situation.planned(cells, seen, retry_failed=retry_failed)
    return View(manifest=manifest, cells=tuple(cells), items=tuple(items), seen=seen, index=index)


def manifests(
    where: Place,
    name: str | None,
    *,
    only: str | None = None,
    note: Callable[[str], None] | None = None,
) -> list[Manifest]:
    """The named manifest, or all that were submitted.

    Args:
        where: run root, data and site.
        name: what the user typed, if anything.
        only: of all that were submitted, those that have such a cell.
        note: is told which of them cannot be read.

    Raises:
        UsageError: nothing was submitted yet, or none has such a cell.
    """
    if name:
        return [finding.manifest(name, where.root, recalled=True)]
    found = finding.submitted(where.root, note=note)
    if not found:
        raise UsageError(
            f"{where.root.path}: nothing was submitted yet; name a manifest, "
            f"e.g. {command('submit', 'quickstart')}"
        )
    return finding.having(found, only)


def cell(where: Place, name: str, manifest: str | None) -> tuple[Manifest, Cell]:
    """The cell that a name means, and its manifest: the named one, a submitted or a shipped one.

    Raises:
        UsageError: none or several fit.
    """
    if manifest:
        pools = [[finding.manifest(manifest, where.root, recalled=True)]]
    else:
        # what was submitted comes before what merely lies in the checkout
        pools = [finding.submitted(where.root), finding.submitted(where.root, every=True)]
        pools.append([*pools[1], *finding.shipped()])
    for found in pools[:-1]:
        with contextlib.suppress(UsageError):
            return _cell_in(found, name, where)
    return _cell_in(pools[-1], name, where)


def _cell_in(found: Sequence[Manifest], name: str, where: Place) -> tuple[Manifest, Cell]:
    chosen = finding.cell_of(name, [c for one in found for c in one.cells], where.root)
    home = next(one for one in found if any(c is chosen for c in one.cells))
    return home, chosen


def queue_is_missing(where: Place, view: View) -> bool:
    """Whether cells wait for this machine's queue, which is not running."""
    if not any(item.state == "queued" for item in view.items):
        return False
    from jobs.dispatch import local  # only where something waits for it

    return not local.is_running(where.root)


def held_next(where: Place, view: View, *name: str) -> str:
    """The command that lets go on what is held: by people, or by what is queued already."""
    found = (holds.in_force(where.root.submission(one.number)) for one in view.seen.found)
    mend = "mend the cause, then: " if any(found) else ""
    return f"{mend}{command('resume', *name)}"


def command(*words: str) -> str:
    """A command of ours to type next; no environment need be active."""
    here = CHECKOUT.samefile(".")
    launcher = "launch.py" if here else str(CHECKOUT / "launch.py")
    active = os.environ.get("VIRTUAL_ENV")
    python = sys.executable
    if active and Path(python).is_relative_to(active):
        python = "python"
    elif here and Path(python).is_relative_to(CHECKOUT):
        python = os.path.relpath(python)
    return shlex.join([python, launcher, *words, *_carried])


def cluster(where: Place, name: str, args: Namespace) -> Cluster:
    """Where the jobs of a manifest go.

    `auto` means SLURM where sbatch is, but a resumed manifest stays where it was sent last.

    Raises:
        EnvironmentFault: SLURM is not there.
    """
    chosen: str = args.cluster
    has_slurm = shutil.which("sbatch") is not None
    if chosen == "auto":
        resumed = args.command == "resume"
        before = ledger.latest(where.root, name) if resumed else None
        chosen = before.cluster if before else ("slurm" if has_slurm else "local")
    if chosen == "slurm":
        if not has_slurm:
            raise EnvironmentFault(
                "--cluster slurm: sbatch is not on the PATH; log in to a SLURM node "
                "(or `module load slurm`), or use --cluster local"
            )
        return "slurm"
    return "debug" if chosen == "debug" else "local"


def absent_data(where: Place, items: Sequence[Planned]) -> tuple[str, str]:
    """What is wrong if cells to be sent lack data sets or own files, and the command that helps.

    Returns:
        Both empty if nothing is absent; no command where none of ours brings it.
    """
    cells = [item.cell for item in items if item.action in SENT]
    names = datasets.absent(cells, Path(where.data))
    if names:
        verb = "is" if len(names) == 1 else "are"
        fault = f"{', '.join(names)} {verb} not, or not whole, in {where.data}"
        return fault, command("fetch", *names)
    for item in items:
        for path in _own_files(item):
            if not Path(path).is_file():
                here = "" if Path(path).is_absolute() else f" in {Path.cwd()}, where paths start"
                return f"{item.cell.label}: its file {path} is not there{here}", ""
    return "", ""


def _own_files(item: Planned) -> list[str]:
    """Paths of the user's files that the job of a cell will read."""
    if not item.cell.files:
        return []
    from jobs.planning import request  # few cells have any

    parents = tuple(parent.cell.training_id for parent in item.cell.parents)
    trains = item.action in {"train", "retry"} or (item.follows > 0 and item.awaits == parents)
    sent = trains or item.action == "evaluate"
    return request.files_read(item.cell, item.missing, trains=trains) if sent else []


def check_data(where: Place, items: Sequence[Planned]) -> None:
    """Refuse to send cells whose data sets or own files are not there.

    Raises:
        EnvironmentFault: with the way out.
    """
    fault, fetch = absent_data(where, items)
    if fetch:
        raise EnvironmentFault(f"{fault}; jobs never download, so run first: {fetch}")
    if fault:
        raise EnvironmentFault(f"{fault}; bring it, or write where it lies into the manifest")


def check_machine(items: Sequence[Planned]) -> None:
    """Refuse what this machine alone cannot run.

    Raises:
        EnvironmentFault: several nodes are asked for, or more GPUs than there are.
    """
    shapes = {item.cell.resources for item in items if item.action in SENT}
    nodes = max((shape.nodes for shape in shapes), default=1)
    if nodes > 1:
        raise EnvironmentFault(
            f"resources.nodes is {nodes}, but this is one machine; set it to 1 or use SLURM"
        )
    wanted = max((shape.gpus_per_node for shape in shapes), default=0)
    if not wanted:
        return
    from jobs.dispatch import local  # only for jobs with GPUs on this machine

    have = local.slots(os.environ, local.gpu_listing()).devices
    if len(have) < wanted:
        raise EnvironmentFault(
            f"resources.gpus_per_node is {wanted}, this machine has {len(have)}; "
            "set it to 0 to run on the CPU, or submit where GPUs are (see `doctor`)"
        )
