"""An index in `cache/` of what was read and found valid: records and ended attempts.

Both are write-once, so a name that is known need not be read again. The index may be deleted at
any time.
"""

import contextlib
import json
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
                self.entries[line["id"]] = _entry(line)
            except (KeyError, TypeError):  # written by another version of this program
                continue

    def save(self) -> None:
        """Add what was learned; rewritten whole when a third of it is outdated."""
        if not self.changed:
            return
        self.root.cache.mkdir(parents=True, exist_ok=True)
        lines = [_line(key, self.entries[key]) for key in sorted(self.changed)]
        known = self.root.index.read_bytes().count(b"\n") if self.root.index.exists() else 0
        if 2 * (known + len(lines)) > 3 * len(self.entries):
            lines = [_line(key, entry) for key, entry in self.entries.items()]
            files.replace(self.root.index, b"".join(files.dumps(line) for line in lines))
            return
        with self.root.index.open("ab") as file:
            file.write(b"".join(files.dumps(line) for line in lines))


def _lines(path: Path) -> list[dict[str, Any]]:
    """All lines of the index, parsed as one document where none is torn."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    try:
        found: list[dict[str, Any]] = json.loads(b"[" + data.rstrip().replace(b"\n", b",") + b"]")
    except ValueError:
        found = list(files.read_lines(path))
    return found


def _entry(line: dict[str, Any]) -> Entry:
    tried = {values["number"]: Attempt(**values) for values in line["attempts"]}
    return Entry(line["trained"], line["names"], line["rows"], tried, line["stamp"])


def _line(key: str, entry: Entry) -> dict[str, Any]:
    default = Attempt(number=0)
    tried = [
        {k: v for k, v in vars(a).items() if v != getattr(default, k) and k != "process"}
        for a in entry.attempts.values()
    ]
    head = {"id": key, "trained": entry.trained, "names": entry.names, "stamp": entry.stamp}
    return {**head, "rows": entry.rows, "attempts": tried}


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
