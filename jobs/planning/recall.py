"""What a manifest expanded to, remembered in `cache/`: who only looks need not expand it again.

An entry is named by the hash of the manifest's text and of all code that expands it, and starts
with the hash of its own content. It holds what a plan needs of each cell; whatever else is asked
of one expands the manifest after all. Entries may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from decimal import Decimal
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobs import files, identity
from jobs.expand.cell import Cell, Manifest, Outline, Parent, stage_key
from jobs.layout import RunRoot
from jobs.planning.plan import needed

if TYPE_CHECKING:
    from jobs.expand.blocks import Resources

KEEP = 16
"""Entries of a run root at most."""

_ID = 16
_ROOM = Path(__file__).resolve().parent
_SOURCES = (_ROOM, _ROOM.parent, _ROOM.parent / "expand", _ROOM.parent.parent / "snnlib/spec")


def find(root: RunRoot, data: bytes, source: str) -> Manifest | None:
    """The remembered manifest of a text; None if there is no entry that reads well.

    Args:
        root: the run root.
        data: the manifest's file content.
        source: its name, for messages.
    """
    try:
        digest, content = _path(root, data).read_bytes().split(b"\n", 1)
        if digest.decode() != hashlib.sha256(content).hexdigest():
            return None
        return _Recalled(json.loads(content), data, source).manifest()
    except (OSError, LookupError, TypeError, ValueError):
        return None


def save(root: RunRoot, manifest: Manifest) -> None:
    """Remember a manifest, unless it is, or depends on other files that may change."""
    if isinstance(manifest, _RecalledManifest) or not os.access(root.cache, os.W_OK):
        return  # a reader of another user's run root only looks
    everyone = _everyone(manifest.cells)
    if any(cell.files for cell in everyone):
        return
    path = _path(root, manifest.text.encode())
    if path.exists():
        return
    content = files.dumps(_entry(manifest, everyone))
    files.replace(path, signed(content))
    entries = sorted(root.cache.glob("cells-*.json"), key=_age, reverse=True)
    for old in entries[KEEP:]:
        old.unlink(missing_ok=True)


def signed(content: bytes) -> bytes:
    """The content of an entry's file, its own hash before it."""
    return f"{hashlib.sha256(content).hexdigest()}\n".encode() + content


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another process deleted it
        return 0


def _path(root: RunRoot, data: bytes) -> Path:
    name = hashlib.sha256(f"{_code()}:{hashlib.sha256(data).hexdigest()}".encode()).hexdigest()
    return root.cache / f"cells-{name[:32]}.json"


@cache
def _code() -> str:
    """Hash of all that makes cells of a text: our sources, Python and the libraries."""
    digest = hashlib.sha256(sys.version.encode())
    for name in ("pydantic", "yaml"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        with os.scandir(Path(spec.origin).parent) as entries:
            stats = sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries)
        digest.update(repr((spec.origin, stats)).encode())
    for folder in _SOURCES:
        for path in sorted(os.listdir(folder)):
            if path.endswith(".py"):
                with open(f"{folder}/{path}", "rb") as file:  # noqa: PTH123 - a Path costs more
                    digest.update(f"{path}:".encode() + file.read())
    return digest.hexdigest()


def _everyone(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a manifest, then the ancestors that are none, each once."""
    found = {id(cell): cell for cell in cells}
    for cell in cells:
        for ancestor in needed(cell) if cell.parents or cell.sources else ():
            found.setdefault(id(ancestor), ancestor)
    return list(found.values())


def _entry(manifest: Manifest, everyone: Sequence[Cell]) -> dict[str, Any]:
    """What is remembered, as columns: ten thousand lists take longer to read than ten."""
    place = {id(cell): number for number, cell in enumerate(everyone)}
    kinds: dict[tuple[tuple[str, ...], tuple[str, ...], tuple[int, str], int, Outline], int] = {}
    shapes: dict[Resources, int] = {}
    stems: dict[str, int] = {}
    labels = [cell.label.rpartition("/") for cell in everyone]
    return {
        "name": manifest.name,
        "cells": len(manifest.cells),
        "ids": "".join(cell.training_id for cell in everyone),
        "stem_of": [stems.setdefault(stem, len(stems)) for stem, _, _ in labels],
        "last": [last for _, _, last in labels],
        "kind_of": [
            kinds.setdefault(
                (
                    cell.rows,
                    tuple(cell.stage_ids),
                    cell.hardware,
                    shapes.setdefault(cell.resources, len(shapes)),
                    cell.outline,
                ),
                len(kinds),
            )
            for cell in everyone
        ],
        "parents": {
            number: [[place[id(parent.cell)], parent.stage_id] for parent in cell.parents]
            for number, cell in enumerate(everyone)
            if cell.parents
        },
        "sources": {
            number: [[place[id(source)] for source in cell.sources], cell.source_of]
            for number, cell in enumerate(everyone)
            if cell.sources
        },
        "stems": list(stems),
        "kinds": list(kinds),
        "shapes": [{**identity.plain(one), "processes": one.processes} for one in shapes],
    }


class _Recalled:
    """An entry, and the whole manifest once somebody needs more than it holds."""

    def __init__(self, entry: dict[str, Any], data: bytes, source: str) -> None:
        self._entry, self._data, self.source = entry, data, source

    @cached_property
    def whole(self) -> Manifest:
        """The manifest, expanded."""
        from jobs.expand.manifest import parse

        return parse(self._data, self.source)

    @cached_property
    def everyone(self) -> list[Cell]:
        """Cells and ancestors of the expanded manifest, in the order of the entry."""
        return _everyone(self.whole.cells)

    def manifest(self) -> Manifest:
        """The manifest as remembered.

        Raises:
            LookupError, TypeError, ValueError: the entry is not one of ours.
        """
        cells = self._cells()
        found = object.__new__(_RecalledManifest)
        own = {"name": self._entry["name"], "cells": tuple(cells[: self._entry["cells"]])}
        text = {"text": self._data.decode(), "source": self.source}
        vars(found).update({**own, **text, "_recalled": self})
        return found

    def _cells(self) -> list[Cell]:
        entry = self._entry
        stems, ids, count = entry["stems"], entry["ids"], entry["cells"]
        if not re.fullmatch(rf"(?:[0-9a-f]{{{_ID}}})*", ids):  # they become names of folders
            raise ValueError("not training ids")
        shapes = [_Shape(shape) for shape in entry["shapes"]]
        kinds = [_kind(shapes, *kind) for kind in entry["kinds"]]
        columns = zip(entry["stem_of"], entry["last"], entry["kind_of"], strict=True)
        made: list[Cell] = []
        new, start = object.__new__, 0
        for place, (stem, last, kind) in enumerate(columns):
            cell = new(_RecalledCell)  # its fields come later, if ever
            own = cell.__dict__
            own.update(kinds[kind])
            own["number"] = place if place < count else -1
            own["label"] = f"{stems[stem]}/{last}"
            own["training_id"] = ids[start : start + _ID]
            own["_place"] = place
            own["_recalled"] = self
            start += _ID
            made.append(cell)
        for number, found in entry["parents"].items():
            parents = [_parent(made[int(number)], n, made[p], s) for n, (p, s) in enumerate(found)]
            vars(made[int(number)])["parents"] = tuple(parents)
        for number, (places, source_of) in entry["sources"].items():
            climbed = {"sources": tuple([made[p] for p in places]), "source_of": source_of}
            vars(made[int(number)]).update(climbed)
        if start != len(ids):
            raise ValueError("not as many training ids as cells")
        return made


class _Shape:
    """The shape of a job as remembered; one object for each, so that equal ones are the same."""

    def __init__(self, values: dict[str, Any]) -> None:
        vars(self).update(values, mem_gb=Decimal(values["mem_gb"]))


def _kind(
    shapes: list[_Shape],
    rows: list[str],
    stages: list[str],
    hardware: list[Any],
    shape: int,
    outline: list[Any],
) -> dict[str, Any]:
    """What many cells share."""
    shared = tuple(rows)
    wanted = (*shared, *map(stage_key, stages)) if stages else shared
    staged: dict[str, Any] = {} if stages else {"stage_ids": {}}
    own = {"hardware": tuple(hardware), "parents": (), "source_of": {}}
    dataset, data, *rest = outline
    told = {"_shape": shapes[shape], "outline": Outline(dataset, tuple(data), *rest)}
    return {"_wanted": ({}, shared), "wanted": wanted, **own, **told, **staged}


def _parent(child: Cell, number: int, cell: Cell, stage_id: str | None) -> Parent:
    found = object.__new__(_RecalledParent)
    vars(found).update(cell=cell, stage_id=stage_id, _child=child, _number=number)
    return found


def _expanded(name: str) -> Any:
    """An attribute that the entry does not hold."""
    return property(lambda self: getattr(self.expanded, name))


class _RecalledParent(Parent):
    """A parent as remembered."""

    _child: _RecalledCell
    _number: int

    @property
    def expanded(self) -> Parent:
        """The same parent in the expanded manifest."""
        return self._child.expanded.parents[self._number]

    stage = _expanded("stage")


class _RecalledCell(Cell):
    """A cell as remembered."""

    _place: int
    _recalled: _Recalled

    _shape: Any

    @property
    def shape(self) -> Any:
        return self._shape

    @property
    def seed(self) -> int:
        return int(self.label.rpartition("/s")[2])

    @property
    def expanded(self) -> Cell:
        """The same cell of the expanded manifest."""
        return self._recalled.everyone[self._place]

    def as_ancestor(self) -> Cell:
        if self.number < 0:
            return self
        found = object.__new__(_RecalledCell)
        stages = tuple([key for key in self.wanted if key not in set(self.rows)])
        vars(found).update({**vars(self), "number": -1, "_wanted": ({}, ()), "wanted": stages})
        return found

    training = _expanded("training")
    attacks = _expanded("attacks")
    epsilons = _expanded("epsilons")
    evaluation = _expanded("evaluation")
    resources = _expanded("resources")
    stages = _expanded("stages")
    attack_ids = _expanded("attack_ids")


class _RecalledManifest(Manifest):
    """A manifest as remembered."""

    _recalled: _Recalled

    @property
    def expanded(self) -> Manifest:
        """The manifest, expanded."""
        return self._recalled.whole

    references = _expanded("references")


_Either = TypeVar("_Either", Manifest, Cell)


def expanded(one: _Either) -> _Either:
    """The same manifest or cell as read from its text, of which another can be made."""
    if isinstance(one, _RecalledManifest | _RecalledCell):
        return one.expanded
    return one
