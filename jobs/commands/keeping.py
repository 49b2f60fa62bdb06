"""invalidate: what turned out to be wrong counts no more. gc: what could be deleted."""

import getpass
import json
import os
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from jobs import attempts, files, processes, records
from jobs.commands import context
from jobs.commands.context import command
from jobs.console import Console
from jobs.dispatch import ledger, liveness
from jobs.errors import TryLater, UsageError, meant
from jobs.expand.cell import Cell
from jobs.layout import CellFiles
from jobs.planning import request, situation, views
from jobs.planning.finding import SHORTEST_PREFIX, Place
from jobs.planning.index import Index
from jobs.planning.plan import Live, Progress
from jobs.planning.situation import Situation
from jobs.upkeep import garbage, tombstones
from jobs.upkeep.garbage import Weight

_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
ASK_FROM = 10
"""More trainings and attacks than this are invalidated only after asking."""


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
    """What is to be invalidated: a training, or one attack on it.

    Attributes:
        attack: name of the attack; empty for the training.
    """

    training_id: str
    attack_id: str | None = None
    attack: str = ""


def invalidate(args: Namespace, console: Console) -> int:
    """Declare a training, or one attack on it, wrong: it counts as new, nothing is deleted."""
    where = context.place(args)
    if not args.reason.strip():
        raise UsageError("--reason: say what was wrong, for those who find gaps in the tables")
    subject = _subject(where, args)
    for stone in tombstones.finish(where.root):
        console.note(f"{stone.training_id}: an invalidation that was cut short is finished now")
    doomed = _doomed(where, subject, args)
    seen = situation.look(
        where.root, subject.cells, Index(where.root), max_age=0.0, now=time.time()
    )
    _refuse_live(where, seen, doomed)
    many = _many(doomed)
    asked = len(doomed) > ASK_FROM and not args.yes
    if asked and not console.agreed(f"invalidate {many}?"):
        return 1
    for one in doomed:
        note = {
            "label": _label(where.root.cell(one.training_id)),
            "attack": one.attack,
            "reason": args.reason.strip(),
            "at": time.time(),
            "by": _who(),
        }
        stone = tombstones.invalidate(where.root, one.training_id, one.attack_id, note)
        told = tombstones.story(where.root, stone)
        what = f"{one.attack} on {told['label']}" if one.attack else told["label"]
        rows = views.count(told["rows"], "row")
        kept = where.root.cell(one.training_id).invalidated / stone.place
        console.data(f"invalidated {what}: {rows} no longer count; kept in {kept}")
    known = subject.manifest
    console.data(f"next: {command('plan', *known) if known else command('resume')}")
    return 0


def _many(doomed: Sequence[_Doomed]) -> str:
    trainings = sum(one.attack_id is None for one in doomed)
    found = ((trainings, "training"), (len(doomed) - trainings, "attack"))
    return " and ".join(views.count(number, what) for number, what in found if number)


def gc(args: Namespace, console: Console) -> int:
    """Say what could be deleted and how much it frees; delete it only with --yes."""
    where = context.place(args)
    if not where.root.path.is_dir():
        raise UsageError(f"{where.root.path}: there is no such run root; name another with --root")
    now = time.time()
    seen = situation.look(where.root, (), Index(where.root), max_age=0.0, now=now)
    console.progress("looking at what the run root holds …")
    closed = ledger.closed(where.root)
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


def _doomed(where: Place, subject: _Subject, args: Namespace) -> list[_Doomed]:
    """What a command means, what rests on something else first.

    Raises:
        UsageError: there is nothing of it, or other results rest on it.
    """
    key, paths = subject.training_id, where.root.cell(subject.training_id)
    if args.attack is not None:
        attack_id, name = _attack(paths, args.attack, subject.label)
        return [_Doomed(training_id=key, attack_id=attack_id, attack=name)]
    younger = tombstones.descendants(where.root, key)
    climbed = [
        _Doomed(training_id=one, attack_id=attack_id, attack=name)
        for one, attacks in tombstones.climbers(where.root, {key, *younger}).items()
        for attack_id, name in attacks.items()
    ]
    resting = [*(_Doomed(training_id=one) for one in younger), *climbed]
    if resting and not args.children:
        said = [
            f"{_some(where, some)} {how} this network"
            for some, how in ((resting[: len(younger)], "came from"), (climbed, "climbed on"))
            if some
        ]
        raise UsageError(
            f"{subject.label}: {', '.join(said)}; add --children to invalidate "
            f"{'it' if len(resting) == 1 else 'them'} too"
        )
    there = tombstones.holds(paths)
    if not (there or resting):
        raise UsageError(
            f"{subject.label}: nothing of it is on disk, so there is nothing to invalidate; "
            f"see {command('show', key[:8])}"
        )
    own = [_Doomed(training_id=key)] if there else []
    return [*climbed, *resting[: len(younger)], *own]


def _some(where: Place, found: Sequence[_Doomed]) -> str:
    """A few of what rests on a network, the oldest first."""
    labels = ((one, _label(where.root.cell(one.training_id))) for one in found[::-1][:4])
    listed = ", ".join(f"{one.attack} on {label}" if one.attack else label for one, label in labels)
    return listed + (f" and {len(found) - 4} more" if len(found) > 4 else "")


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


def _refuse_live(where: Place, seen: Situation, doomed: Sequence[_Doomed]) -> None:
    """Refuse what a job holds, since it would go on writing.

    Raises:
        TryLater: with the command that ends it.
    """
    keys = list(dict.fromkeys(one.training_id for one in doomed))
    sources = {one.training_id for one in doomed if one.attack_id is None}
    climbing = _climbing(where, seen, sources) - {*keys}
    # children are no cells of the situation, but their job has let go of what it ended
    tried = {key: tuple(attempts.read_all(where.root.cell(key))) for key in (*keys, *climbing)}
    known = {key: Progress(attempts=found) for key, found in tried.items()}
    for key in (*keys, *sorted(climbing)):
        label = _label(where.root.cell(key))
        holder, stop = _holder(seen, key, label, known)
        if key in climbing and (holder is None or holder.state not in {"running", "unknown"}):
            continue  # once it starts, it finds the source gone and leaves those rows
        if holder is not None:
            how = "attacks along it" if key in climbing else "holds it"
            who = f"{holder.job} {how} ({holder.state})"
        elif here := attempts.running_here(tried[key]):
            who = f"attempt {here.number} runs on this machine"
            stop = f"kill {here.process.pid}" if here.process else ""
        else:
            continue
        raise TryLater(f"{label}: {who}; end it first, then invalidate again: {stop}")


def _holder(
    seen: Situation, key: str, label: str, known: Mapping[str, Progress]
) -> tuple[Live | None, str]:
    """Who holds a training, and the command that ends it."""
    for submission in seen.found:
        if key not in submission.cells:
            continue
        holder = liveness.live([submission], known, seen.answer, time.time()).get(key)
        if holder is not None:
            # as its submission knows it: it need be no cell of any manifest
            label = submission.parameters.get("labels", {}).get(key, label)
            named = [submission.manifest] if submission.cluster != "debug" else []
            return holder, command("cancel", *named, "--only", f"label={label}")
    return None, ""


def _climbing(where: Place, seen: Situation, sources: Set[str]) -> set[str]:
    """Trainings with attacks along some networks, in submissions that are not over."""
    found: set[str] = set()
    for submission in seen.found:
        with where.root.submission(submission.number).array.open("rb") as lines:
            for line in lines:
                if not any(key.encode() in line for key in sources):
                    continue  # most of ten thousand
                orders = json.loads(line)["cells"]
                climb = (o for o in orders if not sources.isdisjoint(request.sources(o).values()))
                found |= {order["training_id"] for order in climb}
    return found


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
