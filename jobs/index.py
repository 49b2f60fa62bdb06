"""An index in `cache/` of what was read and found valid: records and ended attempts.

Both are write-once, so a name that is known need not be read again. The index may be deleted at
any time.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs import files
from jobs.attempts import Attempt
from jobs.layout import RunRoot

TICK_NS = 2_000_000_000
"""Coarsest time stamp of a filesystem: two changes within it can look like one."""


@dataclass
class Entry:
    """What the index remembers of a training.

    Attributes:
        trained: its training.json stands.
        names: digest of the names of its records.
        rows: what those records hold, as text.
        attempts: those that ended.
        stamp: last change of its folder of records, once nothing there is on its way any more
            and the change lies well before the index was written; else 0.
    """

    trained: bool = False
    names: str = ""
    rows: str = ""
    attempts: dict[int, Attempt] = field(default_factory=dict)
    stamp: int = 0


class Index:
    """The index of a run root, in memory.

    Attributes:
        written: when its file was written, by the filesystem's own clock in ns; 0 if it was not.
    """

    def __init__(self, root: RunRoot, *, trust: bool = True) -> None:
        self.root = root
        self.entries: dict[str, Entry] = {}
        self.changed: set[str] = set()
        self.written = 0
        if not trust:
            return
        with contextlib.suppress(FileNotFoundError):
            self.written = root.index.stat().st_mtime_ns
        for line in _lines(root.index):
            try:
                self.entries[line[0]] = _entry(line)
            except (LookupError, TypeError, ValueError):  # torn, or written by another version
                continue

    def save(self) -> None:
        """Add what was learned; rewritten whole when a third of it is outdated."""
        if not self.changed or not os.access(self.root.cache, os.W_OK):
            return  # a reader of another user's run root only looks
        lines = [_line(key, self.entries[key]) for key in sorted(self.changed)]
        known = self.root.index.read_bytes().count(b"\n") if self.root.index.exists() else 0
        if 2 * (known + len(lines)) > 3 * len(self.entries):
            lines = [_line(key, entry) for key, entry in self.entries.items()]
            files.replace(self.root.index, b"".join(files.dumps(line) for line in lines))
            return
        with self.root.index.open("ab") as file:
            file.write(b"".join(files.dumps(line) for line in lines))


def _lines(path: Path) -> list[Any]:
    """All lines of the index, parsed as one document where none is torn."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    try:
        found: list[Any] = json.loads(b"[" + data.rstrip().replace(b"\n", b",") + b"]")
    except ValueError:
        found = [_line_or_none(line) for line in data.split(b"\n")]
    return found


def _line_or_none(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _line(key: str, entry: Entry) -> list[Any]:
    """A line of the index; a list is read twice as fast as an object."""
    default = vars(Attempt(number=0))
    tried = [
        {k: v for k, v in vars(one).items() if v != default[k] and k != "process"}
        for one in entry.attempts.values()
    ]
    return [key, entry.trained, entry.names, entry.rows, tried, entry.stamp]


def _entry(line: list[Any]) -> Entry:
    _, trained, names, rows, tried, stamp = line
    return Entry(trained, names, rows, {one["number"]: Attempt(**one) for one in tried}, stamp)


@lru_cache(maxsize=4096)
def row_keys(text: str) -> frozenset[str]:
    """Row keys of the index's text "attack=1/255,2/255;…"; few texts differ."""
    found = set()
    for part in filter(None, text.split(";")):
        attack, _, epsilons = part.partition("=")
        found |= {f"{attack}@{epsilon}" for epsilon in epsilons.split(",")}
    return frozenset(found)


def rows_text(keys: Iterable[str]) -> str:
    """Undo `row_keys`."""
    grouped: dict[str, list[str]] = {}
    for key in sorted(keys):
        attack, _, epsilon = key.partition("@")
        grouped.setdefault(attack, []).append(epsilon)
    return ";".join(f"{attack}={','.join(epsilons)}" for attack, epsilons in grouped.items())
