"""Whether the files of data sets are there, and since when: no torch, nothing of them is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.attempts import Attempt
from jobs.expand.cell import Cell
from jobs.layout import CellFiles, RunRoot
from jobs.planning.plan import Progress

if TYPE_CHECKING:
    from snnlib.spec.data import DatasetName

_LACKED = "DatasetMissing:"


def present(name: DatasetName, folder: Path) -> bool:
    """Whether all files of a data set are there, or come with the program."""
    from snnlib.spec.data import FILES

    return _whole(FILES[name], folder)


def _whole(names: Iterable[str], folder: Path) -> bool:
    return all((folder / name).is_file() for name in names)


def absent(cells: Iterable[Cell], folder: Path) -> list[DatasetName]:
    """Data sets that cells need and that are not there, each once."""
    needed = {told.dataset: told.data for told in (cell.outline for cell in cells)}
    return [name for name, names in needed.items() if not _whole(names, folder)]


def mended(
    root: RunRoot, cells: Iterable[Cell], known: Mapping[str, Progress], folder: Path
) -> dict[str, Progress]:
    """Progress in which a failure for want of data may be tried again, once they were brought.

    Args:
        root: the run root.
        cells: that are planned, with their parents.
        known: progress by training id.
        folder: of data sets.
    """
    found = dict(known)
    lacking = {key for key, one in known.items() for tried in one.attempts if _lacked(tried)}
    for cell in cells if lacking else ():
        if cell.training_id not in lacking:
            continue
        progress = known[cell.training_id]
        since = _changed(cell.outline.dataset, folder)
        paths = root.cell(cell.training_id)
        tried = (_forgiven(paths, attempt, since) for attempt in progress.attempts)
        found[cell.training_id] = replace(progress, attempts=tuple(tried))
    return found


def _lacked(attempt: Attempt) -> bool:
    return attempt.deterministic and attempt.signature.startswith(_LACKED)


def _changed(name: DatasetName, folder: Path) -> float:
    """When the last file of a data set came; 0 if one is absent."""
    from snnlib.spec.data import FILES

    if not present(name, folder):
        return 0.0
    # not the time of modification, which an archive brings along
    return max(((folder / file).stat().st_ctime for file in FILES[name]), default=0.0)


def _forgiven(paths: CellFiles, attempt: Attempt, since: float) -> Attempt:
    if _lacked(attempt) and since > paths.attempt(attempt.number).end.stat().st_mtime:
        return replace(attempt, deterministic=False)
    return attempt
