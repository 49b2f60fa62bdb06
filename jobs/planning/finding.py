"""From what a user types to manifests and cells: names, id prefixes, labels, job ids, filters."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import attempts, files, identity
from jobs.dispatch import ledger, liveness
from jobs.dispatch.site import Site
from jobs.dispatch.snapshot import CHECKOUT
from jobs.errors import CorruptFile, UsageError, meant
from jobs.expand.cell import Cell, Manifest
from jobs.layout import RunRoot
from jobs.planning import recall

MANIFESTS = CHECKOUT / "manifests"
SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class Place:
    """Where a command works.

    Attributes:
        root: the run root.
        data: folder of data sets.
        site: the user's site.yaml.
    """

    root: RunRoot
    data: str
    site: Site


def place(root: str | None, data: str | None, site: Site, env: Mapping[str, str]) -> Place:
    """The run root and data folder: flag, then environment, then site.yaml, then the default."""
    chosen = root or env.get("SPIKEGRID_ROOT") or site.root or str(CHECKOUT / "runs")
    path = _absolute(chosen)
    if os.pathsep in str(path):
        raise UsageError(
            f"{path}: '{os.pathsep}' in a run root would split search paths; rename it"
        )
    folder = data or env.get("SPIKEGRID_DATA") or site.data or str(path / "datasets")
    return Place(RunRoot(path), str(_absolute(folder)), site)


def _absolute(name: str) -> Path:
    try:
        found = Path(name).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{name}: {error}") from error
    if not str(found).isprintable():  # what follows a line break would run in the batch script
        raise UsageError(
            f"{str(found)!r}: line breaks and other control characters are refused in the paths "
            "of run roots and data; rename the folder"
        )
    return found


def manifest(name: str, root: RunRoot | None = None, *, recalled: bool = False) -> Manifest:
    """A manifest by path, or by its name among those of the checkout and those submitted.

    Args:
        name: what the user typed.
        root: where submitted ones lie.
        recalled: as the run root remembers it, if it does.

    Raises:
        UsageError: there is none.
        ManifestError: it is wrong.
    """
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name}: is a folder; name a YAML file in it")
    if path.exists() or path.suffix in {".yaml", ".yml"} or os.sep in name:
        return _read(path, root, recalled=recalled)
    named = [MANIFESTS / f"{form}.yaml" for form in (name, name.replace("-", "_"))]
    for candidate in named:
        if candidate.exists():
            return _read(candidate, root, recalled=recalled)
    if root is not None and (last := ledger.latest(root, name)) is not None:
        return _read(root.submission(last.number).manifest, root, recalled=recalled)
    known = sorted(p.stem for p in MANIFESTS.glob("*.yaml"))
    listed = ", ".join(known) or "none"
    raise UsageError(f"{name}: no such manifest (a path, or one of {listed}){meant(name, known)}")


def submitted(
    root: RunRoot,
    *,
    every: bool = False,
    name: str | None = None,
    note: Callable[[str], None] | None = None,
) -> list[Manifest]:
    """The manifests of all submissions, newest first; those that cannot be read are passed over.

    Args:
        root: the run root.
        every: also older versions of a manifest, and others of the same name.
        name: those of this name alone.
        note: is told what is passed over, and why, once for each name.
    """
    found: dict[str, Manifest] = {}
    passed: set[str] = set()
    for number in reversed(ledger.numbers(root)):
        path = root.submission(number).manifest
        named = path.parent.name
        try:
            named = ledger.read(root, number).manifest
            if name is not None and named != name:
                continue
            key = path.read_text() if every else named
            if key not in found:
                found[key] = _read(path, root, recalled=True)
        except (CorruptFile, UsageError, OSError) as error:
            if note is not None and named not in passed:
                why = str(error).partition("\n")[0]
                note(f"submission {number} ({named}): passed over: {why}")
            passed.add(named)
    return list(found.values())


def having(found: Sequence[Manifest], filters: str | None) -> list[Manifest]:
    """Those of some manifests that have a cell which `only` chooses.

    Raises:
        UsageError: a filter is none, or none of them has one.
    """
    kept: list[Manifest] = []
    refused: list[UsageError] = []
    for one in found:
        try:
            only(one.cells, filters)
        except UsageError as error:
            refused.append(error)
        else:
            kept.append(one)
    if refused and not kept:
        raise refused[0]
    return kept


def shipped() -> list[Manifest]:
    """The manifests of the checkout that can be read."""
    found = []
    for path in sorted(MANIFESTS.glob("*.yaml")):
        with contextlib.suppress(UsageError):
            found.append(_read(path))
    return found


def _read(path: Path, root: RunRoot | None = None, *, recalled: bool = False) -> Manifest:
    """A manifest's file; errors as `jobs.expand.manifest.read`."""
    if recalled and root is not None:
        with contextlib.suppress(OSError):  # the reader has words for it
            if (found := recall.find(root, path.read_bytes(), str(path))) is not None:
                return found
    from jobs.expand.manifest import read  # loads pydantic, which who recalls need not wait for

    return read(path)


def only(cells: Sequence[Cell], filters: str | None) -> list[Cell]:
    """Cells that match "key=value,…", e.g. "model.neuron=lif,seed=0".

    A key that ends at a mapping compares with its name.

    Raises:
        UsageError: a filter has no "=", or matches nothing.
    """
    chosen = list(cells)
    for part in (filters or "").split(",") if filters is not None else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--only {part}: expected key=value, e.g. model.neuron=lif")
        kept = [cell for cell in chosen if _value(cell, key.strip()) == value.strip()]
        if not kept:
            values = sorted({str(_value(cell, key.strip())) for cell in chosen} - {"None"})
            have = f"there is {', '.join(values[:8])}" if values else f"no cell has a {key}"
            raise UsageError(f"--only {part}: matches no cell; {have}")
        chosen = kept
    return chosen


def _value(cell: Cell, key: str) -> str | None:
    if key == "label":
        return cell.label
    found: Any = identity.plain(cell.training)
    for step in key.split("."):
        if not isinstance(found, dict) or step not in found:
            return None
        found = found[step]
    return str(found.get("name")) if isinstance(found, dict) else str(found)


def cell_of(name: str, cells: Iterable[Cell], root: RunRoot) -> Cell:
    """One of some cells, by id prefix, label or job id.

    Raises:
        UsageError: none or several fit.
    """
    pool = list(cells)
    training = training_of_job(root, name)
    found = [
        cell
        for cell in pool
        if name == cell.label
        or cell.training_id == training
        or (len(name) >= SHORTEST_PREFIX and cell.training_id.startswith(name))
    ]
    if len({cell.training_id for cell in found}) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name}: fits {_some(found)}; write more of it")
    import difflib  # only for mistakes

    close = difflib.get_close_matches(name, {cell.label: None for cell in pool}, 3)
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(
        f"{name}: no such cell (an id prefix of {SHORTEST_PREFIX} or more, a label, "
        f"or a job id; `plan` shows labels, `plan --json` ids too){meant}"
    )


def training_of_job(root: RunRoot, job_id: str) -> str | None:
    """The training that a job of the scheduler tried last, by the claims of its submission."""
    head, _, index = job_id.partition("_")
    if not head.isdigit() or (index and not index.isdigit()):
        return None
    for submission in reversed(liveness.submissions(root)):
        for chunk in submission.chunks:
            if chunk.job_id != head or int(index or 0) >= len(chunk.tasks):
                continue
            task = chunk.tasks[int(index or 0)]
            keys = [key for key, other in submission.cells.items() if other == task]
            return max(keys, key=lambda key: _claimed(root, key), default=None)
    return None


def _claimed(root: RunRoot, key: str) -> float:
    cell = root.cell(key)
    newest = attempts.numbers(cell)[-1:]
    claims = [next(files.read_lines(cell.attempt(n).claim), {}) for n in newest]
    return max((float(claim.get("claimed", 0)) for claim in claims), default=0.0)


def _some(cells: Sequence[Cell]) -> str:
    names = [f"{cell.training_id[:8]} {cell.label}" for cell in cells]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
