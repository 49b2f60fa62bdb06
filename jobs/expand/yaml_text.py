"""YAML text to values that know their place: exact, bounded, and without YAML's surprises.

Reals are `Decimal` from the text itself and never a float. What YAML 1.1 would silently read as
something else (`no`, `010`, `1:30`, `0x10`, dates) is a problem with its way out. Aliases and merge
keys are followed up to `MAX_VALUES` values. All problems of a text are collected, not the first.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from jobs.errors import Problem
from jobs.expand.yaml_scalars import Scalar, describe, resolve

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_VALUES = 100_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_TAG_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A place in the text: line and column from 1, and the keys from the top."""

    line: int
    column: int
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value with its place.

    Attributes:
        mark: where it stands.
        value: a scalar, a tuple of nodes, or a dict of nodes.
        keys: of a dict, where each key stands.
        size: values in it, itself included, with aliases followed.
        depth: levels of lists and mappings in it, with aliases followed.
    """

    mark: Mark
    value: "Scalar | tuple[Node, ...] | dict[str, Node]"
    keys: dict[str, Mark] = field(default_factory=dict)
    size: int = 1
    depth: int = 0

    def get(self, key: str) -> "Node | None":
        """The value of a key; None where there is no such key, or no mapping."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def plain(self) -> Any:
        """The bare value: scalars, lists and dicts."""
        match self.value:
            case dict() as items:
                return {key: node.plain() for key, node in items.items()}
            case tuple() as items:
                return [node.plain() for node in items]
            case scalar:
                return scalar


@dataclass(frozen=True)
class Document:
    """What a text holds.

    Attributes:
        root: the top mapping; None if the text could not be read to its end.
        problems: in the order they were met.
        text: as decoded, for excerpts and for keeping.
    """

    root: Node | None
    problems: list[Problem]
    text: str

    @property
    def lines(self) -> list[str]:
        """Lines as YAML counts them; other breaks of Python are refused as control characters."""
        return self.text.splitlines()


class _Stop(Exception):
    """Nothing after this problem can be read."""


def load(data: bytes, *, expected: str = "one mapping") -> Document:
    """Read the one mapping of a YAML text.

    Args:
        data: the file's content, UTF-8.
        expected: what the text should be, for the message when it is something else.
    """
    problems: list[Problem] = []
    if len(data) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES:,} bytes; write grids, not cells"
        return Document(None, [Problem(0, 0, "", message)], "")
    text, problem = _decode(data)
    if problem is not None:
        return Document(None, [problem], text)
    try:
        root = _Reader(problems, expected).read(text)
    except _Stop:
        root = None
    except yaml.YAMLError as error:
        problems.append(_syntax(error, text))
        root = None
    return Document(root, problems, text)


def _decode(data: bytes) -> tuple[str, Problem | None]:
    for bom, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\xef\xbb\xbf", "UTF-8")):
        if data.startswith(bom):
            message = f"starts with a {name} byte order mark; save as UTF-8 without one"
            return "", Problem(1, 1, "", message)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", errors="replace")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        return text, _at_offset(data[: error.start].decode("utf-8"), message)
    if match := _CONTROL.search(text):
        message = f"control character U+{ord(match[0]):04X} is not allowed; remove it"
        return text, _at_offset(text[: match.start()], message)
    return text, None


def _at_offset(before: str, message: str) -> Problem:
    lines = f"{before}.".splitlines()
    return Problem(len(lines), len(lines[-1]), "", message)


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
    if mark is None:
        return Problem(0, 0, "", f"not valid YAML: {reason}")
    lines = text.splitlines()
    began, context = getattr(error, "context_mark", None), getattr(error, "context", None)
    if began is not None and context and began.line < mark.line:
        if mark.line < len(lines):
            reason += f" {context} that begins in line {began.line + 1}, column {began.column + 1}"
        else:  # of the whole rest of the file; what does not end is at fault
            mark, reason = began, f"{reason} {context} that begins here"
    line = lines[mark.line] if mark.line < len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        message = f"line {mark.line + 1} is indented with a tab; use spaces"
        return Problem(mark.line + 1, indent.index("\t") + 1, "", message)
    return Problem(mark.line + 1, mark.column + 1, "", f"not valid YAML: {reason}")


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is being read."""

    mark: Mark
    anchor: str | None
    items: list[Node] | None
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)
    key: str | None = None
    merges: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


class _Reader:
    """Builds nodes from the flat events of the parser, so no input can exhaust the stack."""

    def __init__(self, problems: list[Problem], expected: str) -> None:
        self.problems = problems
        self.expected = expected
        self.frames: list[_Frame] = []
        self.anchors: dict[str, Node | None] = {}
        self.total = 0
        self.aliased = False
        self.root: Node | None = None

    def read(self, text: str) -> Node | None:
        documents = 0
        for event in self._events(text):
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        message = f"expected {self.expected}; found a second document"
                        self._stop(self._mark(event), message)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._open(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._close()
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.AliasEvent():
                    self._alias(event)
                case _:
                    continue
        if self.root is None or not isinstance(self.root.value, dict):
            found = "nothing" if self.root is None else describe(self.root.value)
            self._stop(Mark(1, 1, ""), f"expected {self.expected}; found {found}")
        return self.root

    @staticmethod
    def _events(text: str) -> Iterator[Any]:
        yield from yaml.parse(text, Loader=_LOADER)

    def _problem(self, mark: Mark, message: str) -> None:
        self.problems.append(Problem(mark.line, mark.column, mark.path, message))

    def _stop(self, mark: Mark, message: str) -> None:
        self._problem(mark, message)
        raise _Stop

    def _mark(self, event: Any) -> Mark:
        path = ""
        if self.frames:
            frame = self.frames[-1]
            step = str(len(frame.items)) if frame.items is not None else frame.key
            path = ".".join(part for part in (frame.mark.path, step) if part)
        return Mark(event.start_mark.line + 1, event.start_mark.column + 1, path)

    def _count(self, mark: Mark, size: int, depth: int) -> None:
        self.total += size
        if len(self.frames) + depth > MAX_DEPTH:
            mark = Mark(mark.line, mark.column, "")
            self._stop(mark, f"nested deeper than {MAX_DEPTH} levels")
        if self.total > MAX_VALUES:
            what = "aliases expand to" if self.aliased else "the text holds"
            self._stop(mark, f"{what} more than {MAX_VALUES:,} values")

    def _check_tag(self, event: Any, mark: Mark) -> None:
        if event.tag is not None:
            tag = event.tag.replace(_TAG_PREFIX, "!!")
            self._problem(mark, f"tag {tag} is not allowed; remove it")

    def _open(self, event: Any) -> None:
        mark = self._mark(event)
        self._check_tag(event, mark)
        self._count(mark, 1, 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        items: list[Node] | None = [] if isinstance(event, yaml.SequenceStartEvent) else None
        self.frames.append(_Frame(mark, event.anchor, items))

    def _close(self) -> None:
        frame = self.frames.pop()
        if frame.items is not None:
            node = Node(frame.mark, tuple(frame.items), {}, frame.size, frame.depth)
        else:
            for merged in frame.merges:
                for key, value in (merged.value if isinstance(merged.value, dict) else {}).items():
                    frame.entries.setdefault(key, value)
                    frame.keys.setdefault(key, merged.keys[key])
            node = Node(frame.mark, frame.entries, frame.keys, frame.size, frame.depth)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = node
        self._place(node)

    def _scalar(self, event: Any) -> None:
        mark = self._mark(event)
        self._check_tag(event, mark)
        self._count(mark, 1, 0)
        is_plain = not event.style
        frame = self.frames[-1] if self.frames else None
        value, message = resolve(event.value) if is_plain else (event.value, None)
        if frame is not None and frame.items is None and frame.key is None:
            self._key(frame, event, value, message)
            return
        if message is not None:
            self._problem(mark, message)
        node = Node(mark, value)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self._place(node)

    def _key(self, frame: _Frame, event: Any, value: Scalar, message: str | None) -> None:
        key = frame.key = "".join(c if c.isprintable() else "?" for c in event.value)
        mark = self._mark(event)
        if key == "<<" and not event.style:
            return
        if message is None and not isinstance(value, str):
            message = f"a key is a word, found {describe(value)}"
        if message is None and not event.value.isprintable():
            message = "a key is a word, found control characters"
        if message is None and key in frame.keys:
            message = f"repeated key; first on line {frame.keys[key].line}"
        if message is not None:
            self._problem(mark, message)
        frame.keys.setdefault(key, mark)

    def _alias(self, event: Any) -> None:
        mark = self._mark(event)
        name = event.anchor
        self.aliased = True
        node = self.anchors.get(name)
        if node is None:
            inside = name in self.anchors
            why = "stands inside its own anchor" if inside else f"has no anchor &{name} above it"
            self._problem(mark, f"alias *{name} {why}")
            node = Node(mark, None)
        self._count(mark, node.size, node.depth)
        self._place(node)

    def _place(self, node: Node) -> None:
        """Give a finished value to the list or mapping that it stands in."""
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        frame.size += node.size
        frame.depth = max(frame.depth, node.depth + 1)
        if frame.items is not None:
            frame.items.append(node)
        elif frame.key is None:
            self._problem(node.mark, f"a key is a word, found {describe(node.value)}")
            frame.key = ""
        else:
            key, frame.key = frame.key, None
            if key == "<<" and "<<" not in frame.keys:
                self._merge(frame, node)
            elif key in frame.keys:
                frame.entries.setdefault(key, node)

    def _merge(self, frame: _Frame, node: Node) -> None:
        merged = node.value if isinstance(node.value, tuple) else (node,)
        if not all(isinstance(part.value, dict) for part in merged):
            self._problem(node.mark, f"<< takes mappings, found {describe(node.value)}")
        frame.merges += merged
