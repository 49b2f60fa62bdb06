"""What of a run root could be deleted without losing a result, and its deletion.

Never offered: records, claims, logs of attempts, final networks (later attacks and children start
from them, and a network trained again never mixes with old rows), and anything of a cell that a job
may hold. Links are not followed. A folder loses its name before its content goes, so a kill leaves
at most a temporary folder, which the next run finds.
"""

import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from jobs import files, processes, records
from jobs.dispatch import ledger
from jobs.errors import EnvironmentFault
from jobs.layout import EXAMPLES, SAVED_STEP, CellFiles, RunRoot
from jobs.running import partial
from jobs.upkeep import tombstones

Kind = Literal[
    "checkpoints", "partial", "invalidated", "temporary", "snapshots", "submitit", "caches"
]
TITLES: dict[Kind, str] = {
    "checkpoints": "checkpoints of finished trainings, all but the final network",
    "partial": "finished batches of evaluations that are recorded",
    "invalidated": "checkpoints of what was invalidated; its records stay",
    "temporary": "what killed writers left, older than a day",
    "snapshots": "code that no submission and no attempt names",
    "submitit": "pickles and outputs of submissions whose cells are all trained",
    "caches": "caches; the next commands take longer once",
}
OLD_S = 86_400.0
"""Seconds for which nothing that somebody may still write or want is touched."""

_STEP = re.compile(rf"{SAVED_STEP.pattern}|final\.a\d{{4,}}")
_PARTIAL = re.compile(r"([0-9a-f]{16})\.partial")
_SNAPSHOT = re.compile(r"[0-9a-f]{16}")
_OWN_PID = re.compile(re.escape(files.TEMPORARY) + r"(\d+)-[0-9a-f]+")
_WORDS = re.compile(r"closed\.json|scheduler\.json|queue-.*\.log")
"""Cached files that say how jobs ended; SLURM forgets it."""


@dataclass(frozen=True)
class Weight:
    """What deleting something frees.

    Attributes:
        size: bytes on the disk.
        inodes: files and folders.
        newest: unix time of its last change.
        own: it belongs to the user as a whole.
    """

    size: int
    inodes: int
    newest: float
    own: bool

    def __add__(self, other: "Weight") -> "Weight":
        newest = max(self.newest, other.newest)
        own = self.own and other.own
        return Weight(self.size + other.size, self.inodes + other.inodes, newest, own)


NOTHING = Weight(0, 0, 0.0, own=True)


@dataclass(frozen=True)
class Item:
    """One thing that could be deleted."""

    kind: Kind
    path: Path
    weight: Weight


@dataclass
class Found:
    """What a run root has to spare.

    Attributes:
        items: what could be deleted.
        networks: the final networks, which stay.
        trained: ids of finished trainings.
        foreign: things that another user owns, which stay.
    """

    items: list[Item] = field(default_factory=list)
    networks: list[Weight] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    foreign: int = 0

    def add(self, kind: Kind, path: Path, weight: Weight) -> None:
        """Take note of something, if it is the user's."""
        if weight.own:
            self.items.append(Item(kind, path, weight))
        else:
            self.foreign += 1


def find(root: RunRoot, live: Collection[str], closed: Collection[int], now: float) -> Found:
    """Look through a run root.

    Args:
        root: the run root.
        live: trainings that a job may hold.
        closed: submissions that hold nothing any more.
        now: unix time.

    Raises:
        EnvironmentFault: the run root is another user's.
    """
    if root.path.stat().st_uid != os.getuid():
        raise EnvironmentFault(f"{root.path}: belongs to another user; only its owner may clear it")
    found = Found()
    buried = {key for key, grave in tombstones.graves(root).items() if grave.pending}
    for shard in _entries(root.cells):
        for entry in _entries(shard.path):
            if entry.name not in live and entry.name not in buried and _is_folder(entry):
                _look_at_cell(root, entry.name, found, now)
    for folder in (root.path, root.cells, root.submissions, root.code, root.cache):
        _temporary(_entries(folder), found, now)
    for folder in (root.tables, root.imports, root.invalidated):
        _temporary(_entries(folder), found, now)
    _look_at_submissions(root, closed, found, now)
    _look_at_snapshots(root, found, now)
    if not live:
        for entry in _entries(root.cache):
            if not entry.name.startswith(files.TEMPORARY) and not _WORDS.fullmatch(entry.name):
                found.add("caches", Path(entry.path), weigh(entry.path))
    return found


def delete(item: Item) -> bool:
    """Delete something, unless it changed since it was found; whether it is gone."""
    if weigh(item.path) != item.weight:
        return False
    if not item.path.is_dir():
        item.path.unlink(missing_ok=True)
        return True
    doomed = item.path
    if not doomed.name.startswith(files.TEMPORARY):
        doomed = item.path.parent / f"{files.TEMPORARY}{secrets.token_hex(6)}"
        if not files.publish(item.path, doomed):
            return False
    shutil.rmtree(doomed, ignore_errors=True)
    return not doomed.exists()


def weigh(path: str | Path) -> Weight:
    """What a file or folder takes, links not followed; nothing if it is gone."""
    try:
        status = os.lstat(path)
        inside = list(os.scandir(path)) if _folder_mode(status.st_mode) else []
    except OSError:
        return NOTHING
    # a file with another name stays on the disk
    shared = status.st_nlink > 1 and not _folder_mode(status.st_mode)
    size = 0 if shared else status.st_blocks * 512
    total = Weight(size, 1, status.st_mtime, own=status.st_uid == os.getuid())
    for entry in inside:
        total += weigh(entry.path)
    return total


def _folder_mode(mode: int) -> bool:
    return mode & 0o170000 == 0o040000


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds; nothing if it is absent or a link."""
    if os.path.islink(folder):  # noqa: PTH114 - a Path costs five times the call
        return []
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _temporary(entries: Iterable[os.DirEntry[str]], found: Found, now: float) -> None:
    for entry in entries:
        if not entry.name.startswith(files.TEMPORARY):
            continue
        pid = _OWN_PID.fullmatch(entry.name)
        weight = weigh(entry.path)
        if now - weight.newest > OLD_S and not (pid and processes.identify(int(pid[1]))):
            found.add("temporary", Path(entry.path), weight)


def _look_at_cell(root: RunRoot, training_id: str, found: Found, now: float) -> None:
    cell = root.cell(training_id)
    inside = _entries(cell.folder)
    _temporary(inside, found, now)
    # one listing of each folder that is there: most cells of a large study have three
    held = {entry.name: _entries(entry.path) for entry in inside if _is_folder(entry)}
    if training := next(files.read_lines(cell.training), {}):
        found.trained.add(training_id)
        _look_at_checkpoints(held.get(cell.checkpoints.name, []), training.get("checkpoint"), found)
    _look_at_examples(held.get(cell.evaluations.name, []), found, now)
    for entry in held.get(cell.evaluations.name, ()):
        match = entry.name.endswith(".partial") and _PARTIAL.fullmatch(entry.name)
        if match and _is_folder(entry):
            weight = weigh(entry.path)
            if now - weight.newest > OLD_S and _is_recorded(cell, match[1]):
                found.add("partial", Path(entry.path), weight)
    for entry in held.get(cell.invalidated.name, ()):
        old = CellFiles(Path(entry.path)).checkpoints
        if _entries(old):
            found.add("invalidated", old, weigh(old))
    for entries in held.values():
        _temporary(entries, found, now)
    for entry in held.get(cell.attempts.name, ()):
        _temporary(_entries(entry.path), found, now)


def _look_at_examples(beside: Sequence[os.DirEntry[str]], found: Found, now: float) -> None:
    """Adversarial examples go if a kill came before the record that would name them."""
    examples = [entry for entry in beside if entry.name.endswith(EXAMPLES)]
    names = {entry.name for entry in beside} if examples else set()
    for entry in examples:
        weight = weigh(entry.path)
        record = f"{entry.name.removesuffix(EXAMPLES)}.json"
        if record not in names and now - weight.newest > OLD_S:
            found.add("temporary", Path(entry.path), weight)


def _look_at_checkpoints(saved: Sequence[os.DirEntry[str]], final: object, found: Found) -> None:
    """Of a finished training all may go but its network; all stays if that is not there."""
    if final in {entry.name for entry in saved}:
        for entry in saved:
            if entry.name == final:
                found.networks.append(weigh(entry.path))
            elif _STEP.fullmatch(entry.name) and _is_folder(entry):
                found.add("checkpoints", Path(entry.path), weigh(entry.path))


def _is_recorded(cell: CellFiles, attack_id: str) -> bool:
    """Whether all radii that finished batches belong to stand in a record."""
    radii: set[Fraction] = set()
    try:
        for entry in _entries(cell.partial(attack_id)):
            contents, _ = partial.decode(Path(entry.path).read_bytes())
            rows = [row for content in contents for row in content.get("rows", ())]
            radii |= {Fraction(row["epsilon"]) for row in rows}
    except (OSError, KeyError, TypeError, ValueError):
        return False  # whatever it is, it is not understood here
    recorded = {
        row.epsilon
        for _, record in records.valid(cell)
        if record.attack_id == attack_id
        for row in record.rows
    }
    return bool(recorded) and radii <= recorded


def _look_at_submissions(root: RunRoot, closed: Collection[int], found: Found, now: float) -> None:
    for number in ledger.numbers(root):
        paths = root.submission(number)
        for folder in (paths.folder, paths.skipped):
            _temporary(_entries(folder), found, now)
        if number not in closed or not paths.submitit.is_dir() or paths.submitit.is_symlink():
            continue
        cells = set(_header(root, number).get("cells", ("unreadable",)))
        if cells <= found.trained:
            found.add("submitit", paths.submitit, weigh(paths.submitit))


def _header(root: RunRoot, number: int) -> dict[str, Any]:
    return next(files.read_lines(root.submission(number).plan), {})


def _look_at_snapshots(root: RunRoot, found: Found, now: float) -> None:
    unnamed = {
        entry.name: weigh(entry.path)
        for entry in _entries(root.code)
        if _SNAPSHOT.fullmatch(entry.name) and _is_folder(entry)
    }
    # a submission that is being made has taken its code already
    unnamed = {name: weight for name, weight in unnamed.items() if now - weight.newest > OLD_S}
    for name in _named(root) if unnamed else ():
        unnamed.pop(name, None)
        if not unnamed:
            break
    for name, weight in unnamed.items():
        found.add("snapshots", root.code / name, weight)


def _named(root: RunRoot) -> Iterator[str]:
    """Hashes of all code that something on disk names; submissions first, which name almost all."""
    for number in ledger.numbers(root):
        header = _header(root, number)
        yield from _texts(header.get("codes"))
        yield from _texts(header.get("code"))
    for claim in root.cells.glob("*/*/attempts/*/claim.json"):
        yield from _texts(next(files.read_lines(claim), {}).get("code"))
    for training in root.cells.glob("*/*/training.json"):
        measured = next(files.read_lines(training), {}).get("measured", {})
        yield from _texts(measured.get("codes"))


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
