"""What the disk holds of each training: its progress, as far as the index does not know it."""

import os
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from jobs import attempts, files, identity, records
from jobs.attempts import Attempt
from jobs.errors import CorruptFile
from jobs.expand.cell import Cell
from jobs.forked import spread
from jobs.layout import SAVED_STEP, CellFiles, RunRoot
from jobs.planning.index import TICK_NS, Entry, Index, row_keys, rows_text
from jobs.planning.plan import Progress
from jobs.upkeep import tombstones
from jobs.upkeep.tombstones import Grave

SHARE = 250
"""Trainings that are worth a process of their own."""

_Unknown = tuple[str, str, Entry, str]
"""Folder and id of a training, what the index says of it, marks of what was moved away."""


def progress(
    root: RunRoot, cells: Iterable[Cell], index: Index, unsettled: Set[str] | None = None
) -> dict[str, Progress]:
    """The progress of the trainings of cells; those without a folder are left out.

    Args:
        root: the run root.
        cells: wanted.
        index: consulted and added to.
        unsettled: the only trainings that can have changed since the index looked at them, of
            those whose attempts had all ended; None if any can.
    """
    shards, graves = _shards(root), tombstones.graves(root)
    for key, grave in graves.items():
        index.outdate(key, grave.marks)
    found: dict[str, Progress] = {}
    wanted: dict[str, tuple[str, ...]] = {}
    staged: dict[str, dict[str, None]] = {}
    for cell in cells:
        # two cells may share a training and want different rows of it
        key, rows = cell.training_id, cell.rows
        known = wanted.get(key)
        wanted[key] = rows if known is None else (*known, *rows)
        if cell.wanted is not rows:
            stages = staged.setdefault(key, {})
            stages |= dict.fromkeys(cell.wanted[len(rows) :])
    unknown = []
    done = {key: _stages(root.cell(key), staged[key]) for key in staged.keys() & shards.keys()}
    for key, rows_wanted in wanted.items():
        shard = shards.get(key)
        if shard is None:
            continue
        folder = f"{shard}/{key}"
        entry = index.entries.get(key)
        settled = unsettled is not None and key not in unsettled
        # a cell that lacks a stage may be tried again without a new record
        absent = staged[key].keys() - done[key] if key in done else ()
        needed = (*rows_wanted, *absent) if absent else rows_wanted
        if entry is not None and _stands(folder, entry, needed, settled=settled):
            found[key] = _known(entry)
        else:
            marks = graves[key].marks if key in graves else ""
            unknown.append((folder, key, entry or Entry(), marks))
    found |= _looked(unknown, index)
    index.checked |= found.keys() & (unsettled or set())
    for key in done.keys() & found.keys():
        found[key] = replace(found[key], rows=found[key].rows | done[key])
    for key in graves.keys() & found.keys():
        found[key] = _without_invalid(root, found[key], graves[key])
    return found


def _known(entry: Entry) -> Progress:
    """What the index says of a training."""
    # its constructor takes three times as long, and there are ten thousand
    found = object.__new__(Progress)
    values = found.__dict__
    values["trained"], values["rows"] = entry.trained, row_keys(entry.rows)
    values["attempts"], values["step"] = tuple(entry.attempts.values()), entry.step
    values["invalidated"], values["buried"] = "", ()
    return found


def _stages(cell: CellFiles, keys: Iterable[str]) -> set[str]:
    """Those of some stages that are done."""
    return {key for key in keys if cell.stage(key.removesuffix("@stage")).exists()}


def _without_invalid(root: RunRoot, known: Progress, grave: Grave) -> Progress:
    """Progress since the last invalidation, whether or not all has been moved away yet."""
    since = tuple(a for a in known.attempts if a.number > grave.fence)
    buried = tuple(a for a in known.attempts if a.number <= grave.fence)
    why = "" if since else tombstones.reason(root, grave)
    if grave.pending:
        return Progress(attempts=since, invalidated=why, buried=buried)
    rows = frozenset(row for row in known.rows if row.partition("@")[0] not in grave.attacks)
    return replace(known, rows=rows, attempts=since, invalidated=why, buried=buried)


def _shards(root: RunRoot) -> dict[str, str]:
    """All trainings that have a folder: id → folder above it."""
    cells = str(root.cells)
    try:
        names = os.listdir(cells)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, str] = {}
    for shard in [f"{cells}/{name}" for name in names]:
        found |= dict.fromkeys(_names(shard), shard)
    return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except NotADirectoryError:  # a foreign file
        return []


def _stands(folder: str, entry: Entry, wanted: Sequence[str], *, settled: bool) -> bool:
    """Whether what the index says of a training holds, as far as some wanted rows go."""
    if settled and entry.over:
        return True
    known = entry.trained and row_keys(entry.rows).issuperset(wanted)
    return known or _is_as_it_was(folder, entry)


def _is_as_it_was(folder: str, entry: Entry) -> bool:
    """Whether a training has no other records and attempts than the index says.

    Two stat calls instead of two listings, since most of ten thousand cells did not change.
    """
    if not entry.stamp or _stamp(f"{folder}/{_EVALUATIONS}") != entry.stamp:
        return False
    following = next(reversed(entry.attempts), 0) + 1  # what the next claim would take
    return not os.access(f"{folder}/{_attempt_below(following)}", os.F_OK)


_EVALUATIONS = CellFiles(Path()).evaluations.name


@cache
def _attempt_below(number: int) -> str:
    """Folder of an attempt, relative to that of its training."""
    return str(CellFiles(Path()).attempt(number).folder)


def _stamp(folder: str) -> int:
    """When a folder's names last changed (`jobs.files.changed_ns`); 0 if it is absent."""
    try:
        return files.changed_ns(folder)
    except FileNotFoundError:
        return 0


def _looked(unknown: Sequence[_Unknown], index: Index) -> dict[str, Progress]:
    """Read what the index does not know of some trainings, and add it to the index."""
    if not unknown:
        return {}
    look = partial(_look, written=index.written)
    found = {}
    for share in spread(lambda some: [*map(look, some)], unknown, least=SHARE):
        for key, entry, open_attempts, step in share:
            if entry != index.entries.get(key, Entry()):
                index.entries[key] = entry
                index.changed.add(key)
            tried = {**entry.attempts, **{one.number: one for one in open_attempts}}
            found[key] = Progress(
                trained=entry.trained,
                rows=row_keys(entry.rows),
                attempts=tuple(tried[number] for number in sorted(tried)),
                step=step,
            )
    return found


def _look(unknown: _Unknown, *, written: int) -> tuple[str, Entry, list[Attempt], int]:
    """One training: its id, what the index shall say of it, attempts without an end, its step."""
    folder, key, old, marks = unknown
    cell = CellFiles(Path(folder))
    stamp = _stamp(f"{folder}/{_EVALUATIONS}")  # first: a later record changes it
    names, model = records.names(cell), _model(cell)
    digest = identity.short_hash("\n".join([model, *names])) if names else ""
    text = old.rows
    if digest != old.names:
        text = rows_text(frozenset(_read_rows(cell, names, model)))
    tried = {n: old.attempts.get(n) or attempts.read(cell, n) for n in attempts.numbers(cell)}
    ended = {n: a for n, a in tried.items() if a.state is not None}
    over, trained = len(ended) == len(tried), bool(model)
    step = 0 if trained else _step(cell)
    entry = Entry(
        trained=trained,
        over=over,
        names=digest,
        rows=text,
        attempts=ended,
        stamp=stamp if trained and over and stamp < written - TICK_NS else 0,
        step=step if over else 0,
        marks=marks,
    )
    return key, entry, [a for a in tried.values() if a.state is None], step


def _model(cell: CellFiles) -> str:
    """SHA-256 of the trained weights; empty unless training.json stands and is whole."""
    return str(next(files.read_lines(cell.training), {}).get("model_sha256", ""))


def _read_rows(cell: CellFiles, names: Sequence[str], model: str) -> set[str]:
    found: set[str] = set()
    folder = str(cell.evaluations)
    for name in names:
        try:
            found |= records.read_rows(f"{folder}/{name}", model)
        except CorruptFile:
            continue
    return found


def _step(cell: CellFiles) -> int:
    """Step of the newest checkpoint by name; the worker verifies it."""
    try:
        names = os.listdir(cell.checkpoints)
    except FileNotFoundError:
        return 0
    return max(
        (int(match[1]) for name in names if (match := SAVED_STEP.fullmatch(name))), default=0
    )
