"""YAML text → Manifest; every problem at once, each with its line and column."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jobs.errors import ManifestError, UsageError
from jobs.expand import yaml_text
from jobs.expand.blocks import Reference, Resources
from jobs.expand.build import Builder
from jobs.expand.cell import Cell, Manifest
from jobs.expand.checks import check_drafts
from jobs.expand.grid import Expansion, expand
from jobs.expand.manifest_schema import schema as schema
from jobs.expand.matching import Pattern
from jobs.expand.messages import Findings, explain, name_message, suggestion, unknown_key
from jobs.expand.parts import HEADS, Part, heads
from jobs.expand.yaml_scalars import describe
from jobs.expand.yaml_text import Document, Node

VERSION = 1
KEYS = (
    "version",
    "name",
    "defaults",
    "grid",
    "zip",
    "cells",
    "include",
    "exclude",
    "resources",
    "reference",
)
_EXPECTED = "one mapping with 'version' and 'grid' or 'cells'"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read(path: Path) -> Manifest:
    """Read a manifest's file.

    Raises:
        UsageError: if it is absent or cannot be read.
        ManifestError: if it is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(yaml_text.MAX_BYTES + 1)
    except FileNotFoundError as error:
        folder = path.parent
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        near = suggestion(path.name, names)
        meant = f"; did you mean '{folder / near}'?" if near else "; paths start where you are"
        raise UsageError(f"{path}: no such manifest{meant}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{path}: cannot be read ({reason.lower()})") from error
    return parse(data, str(path))


def parse(data: bytes, source: str) -> Manifest:
    """Make cells of a manifest's text.

    Args:
        data: the file's content.
        source: its name, for messages.

    Raises:
        ManifestError: with all problems, in the order of the text.
    """
    document = yaml_text.load(data, expected=_EXPECTED)
    findings = Findings(document.problems)
    manifest = None
    if document.root is not None:
        manifest = _manifest(document, document.root, source, findings)
    if manifest is None or findings:
        raise ManifestError(source, findings.sorted(), document.lines)
    return manifest


def _manifest(document: Document, root: Node, source: str, findings: Findings) -> Manifest | None:
    if not _is_our_version(root, findings):
        return None
    for key, mark in root.keys.items():
        if key not in KEYS:
            hint = "stands under 'defaults', 'grid' or 'cells'"
            is_cell_key = key.split(".")[0] in HEADS
            findings.add(mark, hint if is_cell_key else unknown_key(key, KEYS))
    _check_name(root, findings)
    defaults = root.get("defaults")
    expansion = expand(root, {} if defaults is None else heads(defaults, findings), findings)
    if not expansion.drafts and not findings:
        findings.add(root.mark, f"no cells; expected {_EXPECTED}")
    check_drafts(expansion.drafts, findings)
    shapes = _Shapes(expansion, root.get("resources"), findings)
    references = _references(root.get("reference"), findings)
    if findings:
        return None
    cells = Builder(expansion, findings, shapes.of).build()
    _check_twins(cells, expansion, findings)
    shapes.check(cells, expansion)
    name = root.get("name")
    assert name is not None
    return Manifest(
        name=str(name.value),
        cells=cells,
        references=references,
        text=document.text,
        source=source,
    )


def _is_our_version(root: Node, findings: Findings) -> bool:
    version = root.get("version")
    if version is None:
        findings.add(root.mark, f"missing key 'version'; write version: {VERSION}")
        return True
    if type(version.value) is not int:
        got = describe(version.value)
        quoted = "; remove the quotes" * (version.value == str(VERSION))
        findings.add(version.mark, f"expected a whole number, got {got}{quoted}")
    elif version.value != VERSION:
        findings.add(version.mark, f"this program reads version {VERSION}, got {version.value}")
        return False
    return True


def _check_name(root: Node, findings: Findings) -> None:
    name = root.get("name")
    if name is None:
        findings.add(root.mark, "missing key 'name'; write e.g. name: my-experiment")
    elif not isinstance(name.value, str):
        quoted = "; quote it" * isinstance(name.value, int | Decimal)
        findings.add(name.mark, f"expected text, got {describe(name.value)}{quoted}")
    elif not _NAME.fullmatch(name.value):
        findings.add(name.mark, name_message(name.value))


def _check_twins(cells: tuple[Cell, ...], expansion: Expansion, findings: Findings) -> None:
    """Two cells of equal training and equal rows would be one."""
    if len({cell.training_id for cell in cells}) == len(cells):
        return
    works: dict[int, frozenset[str]] = {}
    seen: dict[tuple[str, frozenset[str], frozenset[str]], int] = {}
    twins: list[tuple[int, int]] = []
    for number, cell in enumerate(cells):
        rows = cell.rows
        work = works.get(id(rows))
        if work is None:
            work = works[id(rows)] = frozenset(rows)
        first = seen.setdefault((cell.training_id, work, frozenset(cell.stage_ids)), number)
        if first != number:
            twins.append((first, number))
    if twins:
        (first, second), more = twins[0], len(twins) - 1
        others = f" (and {more} more pair{'s' * (more > 1)})" if more else ""
        message = f"cells {first} and {second} are identical{others}; remove one"
        findings.add(expansion.drafts[second].origin, message)


class _Shapes:
    """The block `resources`: shapes of jobs, later ones over earlier ones where `when` matches."""

    def __init__(self, expansion: Expansion, node: Node | None, findings: Findings) -> None:
        self.findings, self.node = findings, node
        self._layers: list[tuple[Pattern | None, dict[str, Any]]] = []
        self._known: dict[tuple[bool, ...], Resources] = {}
        if node is None or node.value is None:
            return
        for entry in node.value if isinstance(node.value, tuple) else (node,):
            layer = self._layer(entry)
            if layer is None:
                continue
            pattern = layer[0]
            self._layers.append(layer)
            if pattern and not any(pattern.matches(d.part) for d in expansion.drafts):
                expansion.refuse_unmatched(entry.get("when") or entry)

    def _layer(self, entry: Node) -> tuple[Pattern | None, dict[str, Any]] | None:
        own = entry
        if isinstance(entry.value, dict):
            own = replace(entry, value={k: n for k, n in entry.value.items() if k != "when"})
        when = entry.get("when")
        pattern = None if when is None else Pattern(heads(when, self.findings))
        adapter = TypeAdapter(Resources)
        try:
            shape = adapter.validate_python(own.plain())
        except ValidationError as error:
            explain(error, own, Resources, "resources", self.findings)
            return None
        assert isinstance(own.value, dict)
        return pattern, {key: getattr(shape, key) for key in own.value}

    def of(self, part_of: Callable[[str], Part]) -> Resources:
        """Shape of the job of a cell."""
        applies = tuple([p is None or p.matches(part_of) for p, _ in self._layers])
        if applies not in self._known:
            values: dict[str, Any] = {}
            for is_meant, (_, layer) in zip(applies, self._layers, strict=True):
                values |= layer if is_meant else {}
            self._known[applies] = Resources(**values)
        return self._known[applies]

    def check(self, cells: tuple[Cell, ...], expansion: Expansion) -> None:
        """Shapes that no cell could run in."""
        checked: dict[tuple[int, ...], tuple[Cell, int]] = {}
        for number, cell in enumerate(cells):
            for one in _lineage(cell) if cell.parents else (cell,):
                parts = one.resources, one.training.regime, one.training.model
                checked.setdefault(tuple(map(id, parts)), (one, number))
        for cell, number in checked.values():
            mark = self.node.mark if self.node is not None else expansion.drafts[number].origin
            for message in _unfit(cell):
                self.findings.add(mark, message)


def _lineage(cell: Cell) -> Iterator[Cell]:
    """A cell and all that it starts from."""
    yield cell
    for parent in cell.parents:
        yield from _lineage(parent.cell)


def _unfit(cell: Cell) -> Iterator[str]:
    """Why a cell cannot run in its shape."""
    shape, batch = cell.resources, cell.training.regime.batch_size
    if 0 < shape.gpus_per_node < shape.processes:
        message = f"{shape.processes} processes on {shape.gpus_per_node} GPUs of a node"
        yield f"{message}; each process needs a GPU of its own"
    total = shape.nodes * shape.processes
    if total > batch:
        message = f"{total} processes share a batch of {batch}; each needs a sample"
        yield f"{message}; lower nodes or raise regime.batch_size"
    if obstacle := cell.training.obstacle(total):
        yield obstacle


def _references(node: Node | None, findings: Findings) -> tuple[Reference, ...]:
    if node is None or node.value is None:
        return ()
    for entry in node.value if isinstance(node.value, tuple) else ():
        where = entry.get("where")
        if where is not None:
            heads(where, findings)
    kind: Any = tuple[Reference, ...]
    try:
        return TypeAdapter(kind).validate_python(node.plain())  # type: ignore[no-any-return]
    except ValidationError as error:
        explain(error, node, kind, "reference", findings)
        return ()
