"""invalidate: what turned out to be wrong counts no more. gc: what could be deleted."""

import getpass
import os
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from jobs import attempts, files, processes, records
from jobs.commands import context
from jobs.commands.context import command
from jobs.console import Console
from jobs.dispatch import liveness
from jobs.errors import TryLater, UsageError, meant
from jobs.expand.cell import Cell
from jobs.layout import CellFiles
from jobs.planning import situation, views
from jobs.planning.finding import SHORTEST_PREFIX, Place
from jobs.planning.index import Index
from jobs.planning.plan import Progress
from jobs.planning.situation import Situation
from jobs.upkeep import garbage, tombstones
from jobs.upkeep.garbage import Weight

_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
ASK_FROM = 10
"""More trainings than this are invalidated only after asking."""


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A training that the user names.

    Attributes:
        cells: it as a cell, if a manifest has it.
        manifest: the name of that manifest.
    """

    training_id: str
    label: str
    cells: tuple[Cell, ...] = ()
    manifest: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Doomed:
    """What is to be invalidated: trainings, the youngest first, or one attack on one of them."""

    training_ids: Sequence[str]
    attack_id: str | None
    attack: str


def invalidate(args: Namespace, console: Console) -> int:
    """Declare a training, or one attack on it, wrong: it counts as new, nothing is deleted."""
    where = context.place(args)
    if not args.reason.strip():
        raise UsageError("--reason: say what was wrong, for those who find gaps in the tables")
    subject = _subject(where, args)
    for stone in tombstones.finish(where.root):
        console.note(f"{stone.training_id}: an invalidation that was cut short is finished now")
    doomed = _doomed(where, subject, args)
    index, now = Index(where.root), time.time()
    seen = situation.look(where.root, subject.cells, index, max_age=0.0, now=now)
    _refuse_live(where, seen, doomed.training_ids, subject.manifest, now)
    many = views.count(len(doomed.training_ids), "training")
    asked = len(doomed.training_ids) > ASK_FROM and not args.yes
    if asked and not console.agreed(f"invalidate {many}?"):
        return 1
    for key in doomed.training_ids:
        note = {
            "label": _label(where.root.cell(key)),
            "attack": doomed.attack,
            "reason": args.reason.strip(),
            "at": time.time(),
            "by": _who(),
        }
        stone = tombstones.invalidate(where.root, key, doomed.attack_id, note)
        told = tombstones.story(where.root, stone)
        what = f"{doomed.attack} on {told['label']}" if doomed.attack else told["label"]
        rows = views.count(told["rows"], "row")
        kept = where.root.cell(key).invalidated / stone.place
        console.data(f"invalidated {what}: {rows} no longer count; kept in {kept}")
    known = subject.manifest
    console.data(f"next: {command('plan', *known) if known else command('resume')}")
    return 0


def gc(args: Namespace, console: Console) -> int:
    """Say what could be deleted and how much it frees; delete it only with --yes."""
    where = context.place(args)
    if not where.root.path.is_dir():
        raise UsageError(f"{where.root.path}: there is no such run root; name another with --root")
    now = time.time()
    seen = situation.look(where.root, (), Index(where.root), max_age=0.0, now=now)
    console.progress("looking at what the run root holds …")
    closed = liveness.closed(where.root)
    found = garbage.find(where.root, seen.holders.keys(), closed, now)
    console.done()
    for kind, title in garbage.TITLES.items():
        if of_kind := [item.weight for item in found.items if item.kind == kind]:
            console.data(f"{len(of_kind):>7,}  {title}: {_frees(of_kind)}")
    if seen.holders:
        held = views.count(len(seen.holders), "cell")
        console.note(f"{held} may be held by jobs; nothing of them is offered")
    if found.foreign:
        theirs = views.count(found.foreign, "thing")
        console.note(f"{theirs} left alone: other users own parts of them")
    networks = views.count(len(found.networks), "final network")
    console.data(
        f"stays: {networks} ({_frees(found.networks)}): without it a network would have to be "
        "trained again for a new attack, and none of its old rows would count"
    )
    if not args.yes:
        console.data(f"would free {_frees([item.weight for item in found.items])}")
        more = command("gc", "--yes") if found.items else command("status")
        console.data(f"next: {more}")
        return 0
    gone = [item.weight for item in found.items if garbage.delete(item)]
    console.data(f"freed {_frees(gone)}")
    if left := len(found.items) - len(gone):
        console.note(f"{views.count(left, 'thing')} changed meanwhile or cannot be deleted; left")
    console.data(f"next: {command('status')}")
    return 0


def _frees(weights: Sequence[Weight]) -> str:
    total = sum(weights, garbage.NOTHING)
    unit, scale = next(((u, s) for u, s in _UNITS if total.size >= s), _UNITS[-1])
    many = views.count(total.inodes, "file or folder", "files and folders")
    return f"{total.size / scale:,.1f} {unit} in {many}"


def _subject(where: Place, args: Namespace) -> _Subject:
    """The training that a name means; one that is a parent only is known by its id alone."""
    try:
        home, cell = context.cell(where, args.cell, args.manifest)
    except UsageError:
        if len(args.cell) < SHORTEST_PREFIX or not args.cell.isalnum():
            raise
        found = [path.name for path in where.root.cells.glob(f"{args.cell[:2]}/{args.cell}*")]
        if len(found) != 1:
            raise
        label = _label(where.root.cell(found[0]))
        return _Subject(training_id=found[0], label=label)
    return _Subject(
        training_id=cell.training_id, label=cell.label, cells=(cell,), manifest=(home.name,)
    )


def _doomed(where: Place, subject: _Subject, args: Namespace) -> _Doomed:
    """What a command means.

    Raises:
        UsageError: there is nothing of it, or other trainings rest on it.
    """
    key, paths = subject.training_id, where.root.cell(subject.training_id)
    if args.attack is not None:
        attack_id, name = _attack(paths, args.attack, subject.label)
        return _Doomed(training_ids=[key], attack_id=attack_id, attack=name)
    younger = tombstones.descendants(where.root, key)
    if younger and not args.children:
        some = ", ".join(_label(where.root.cell(one)) for one in younger[::-1][:4])
        more = f" and {len(younger) - 4} more" if len(younger) > 4 else ""
        raise UsageError(
            f"{subject.label}: {some}{more} came from this network; add --children to invalidate "
            f"{'it' if len(younger) == 1 else 'them'} too"
        )
    if not tombstones.holds(paths):
        raise UsageError(
            f"{subject.label}: nothing of it is on disk, so there is nothing to invalidate; "
            f"see {command('show', key[:8])}"
        )
    return _Doomed(training_ids=[*younger, key], attack_id=None, attack="")


def _attack(paths: CellFiles, name: str, label: str) -> tuple[str, str]:
    """Id and name of the one recorded attack that a user means."""
    known = {record.attack_id: record.attack for _, record in records.valid(paths)}
    fitting = [
        key
        for key, attack in known.items()
        if attack["name"] == name or (len(name) >= SHORTEST_PREFIX and key.startswith(name))
    ]
    if len(fitting) == 1:
        return fitting[0], str(known[fitting[0]]["name"])
    if fitting:
        shown = "; ".join(f"{key[:8]} {views.flat(known[key])}" for key in fitting)
        raise UsageError(f"--attack {name}: fits {shown}; write the id instead")
    have = sorted({str(attack["name"]) for attack in known.values()})
    listed = ", ".join(have) or "none"
    raise UsageError(
        f"--attack {name}: {label} has no record of it (it has {listed}){meant(name, have)}"
    )


def _refuse_live(
    where: Place, seen: Situation, keys: Sequence[str], manifest: Sequence[str], now: float
) -> None:
    """Refuse what a job holds, since it would go on writing.

    Raises:
        TryLater: with the command that ends it.
    """
    # children are no cells of the situation, but their job has let go of what it ended
    tried = {key: tuple(attempts.read_all(where.root.cell(key))) for key in keys}
    known = {key: Progress(attempts=found) for key, found in tried.items()}
    holders = liveness.live(seen.found, known, seen.answer, now)
    for key in keys:
        paths, holder = where.root.cell(key), holders.get(key)
        if holder is not None:
            who = f"{holder.job} holds it ({holder.state})"
        elif here := attempts.running_here(tried[key]):
            who = f"attempt {here.number} runs on this machine"
        else:
            continue
        label = _label(paths)
        stop = command("cancel", *manifest, "--only", f"label={label}")
        raise TryLater(f"{label}: {who}; end it first, then invalidate again: {stop}")


def _label(paths: CellFiles) -> str:
    """What a training was called last; its id if it never was."""
    claims = [paths.attempt(number).claim for number in reversed(attempts.numbers(paths))]
    for path in (paths.training, *claims):
        for line in files.read_lines(path):
            if "label" in line:
                return str(line["label"])
    return paths.folder.name


def _who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        name = str(os.getuid())
    return f"{name}@{processes.host()}"
