"""What the disk holds of each training: its progress, as far as the index does not know it."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from jobs import attempts, files, identity, records
from jobs.cell import Cell, stage_key
from jobs.errors import CorruptFile
from jobs.index import TICK_NS, Entry, Index, row_keys, rows_text
from jobs.layout import CellFiles, RunRoot
from jobs.plan import Progress
from snnlib.spec.stage import Stage

_STEP = re.compile(r"step-(\d{8,})\.a\d{4,}")


def progress(root: RunRoot, cells: Iterable[Cell], index: Index) -> dict[str, Progress]:
    """The progress of the trainings of cells; those without a folder are left out.

    Args:
        root: the run root.
        cells: wanted.
        index: consulted and added to.
    """
    present = _present(root)
    found: dict[str, Progress] = {}
    wanted: dict[str, tuple[str, ...]] = {}
    staged: dict[str, Mapping[str, Stage]] = {}
    for cell in cells:
        # two cells may share a training and want different rows of it
        known = wanted.get(cell.training_id)
        wanted[cell.training_id] = cell.rows if known is None else (*known, *cell.rows)
        if cell.stages:
            staged[cell.training_id] = {**staged.get(cell.training_id, {}), **cell.stage_ids}
    for key, rows_wanted in wanted.items():
        folder = present.get(key)
        if folder is None:
            continue
        entry = index.entries.get(key)
        if entry is None or not entry.trained:
            found[key] = _look(root.cell(key), key, index)
            continue
        rows = row_keys(entry.rows)
        if rows.issuperset(rows_wanted) or _is_as_it_was(folder, entry):
            tried = tuple(entry.attempts.values())
            found[key] = Progress(trained=True, rows=rows, attempts=tried)
        else:
            found[key] = _look(root.cell(key), key, index)
    for key in staged.keys() & found.keys():
        done = {stage_key(s) for s in staged[key] if root.cell(key).stage(s).exists()}
        found[key] = replace(found[key], rows=found[key].rows | done)
    return found


def _present(root: RunRoot) -> dict[str, str]:
    """All trainings that have a folder: id → folder."""
    try:
        shards = [f"{root.cells}/{name}" for name in os.listdir(root.cells)]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {key: f"{shard}/{key}" for shard in shards for key in _names(shard)}


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except NotADirectoryError:  # a foreign file
        return []


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
    """When a folder's names last changed, by the filesystem's own clock in ns; 0 if it is absent.

    Nobody can set this time, unlike that of the last modification.
    """
    try:
        return os.stat(folder).st_ctime_ns  # noqa: PTH116 - a Path costs five times the call
    except FileNotFoundError:
        return 0


def _look(cell: CellFiles, key: str, index: Index) -> Progress:
    """Read what the index does not know of one training."""
    old = index.entries.get(key, Entry())
    stamp = _stamp(str(cell.evaluations))  # first: a record that comes after the listing changes it
    names = records.names(cell)
    digest = identity.short_hash("\n".join(names)) if names else ""
    trained = old.trained or _is_trained(cell)
    rows, text = row_keys(old.rows), old.rows
    if digest != old.names:
        rows = frozenset(_read_rows(cell, names))
        text = rows_text(rows)
    tried = {n: old.attempts.get(n) or attempts.read(cell, n) for n in attempts.numbers(cell)}
    ended = {n: a for n, a in tried.items() if a.state is not None}
    over = trained and len(ended) == len(tried) and stamp < index.written - TICK_NS
    entry = Entry(trained, digest, text, ended, stamp if over else 0)
    if entry != old:
        index.entries[key] = entry
        index.changed.add(key)
    step = 0 if trained else _step(cell)
    return Progress(trained=trained, rows=rows, attempts=tuple(tried.values()), step=step)


def _is_trained(cell: CellFiles) -> bool:
    """Whether training.json stands and is whole."""
    return "model_sha256" in next(files.read_lines(cell.training), {})


def _read_rows(cell: CellFiles, names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        try:
            found |= records.rows_of([records.read(cell.evaluations / name)])
        except CorruptFile:
            continue
    return found


def _step(cell: CellFiles) -> int:
    """Step of the newest checkpoint by name; the worker verifies it."""
    try:
        names = os.listdir(cell.checkpoints)
    except FileNotFoundError:
        return 0
    return max((int(match[1]) for name in names if (match := _STEP.fullmatch(name))), default=0)
