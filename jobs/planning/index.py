"""An index in `cache/` of what was read and found valid: records and ended attempts.

Both are write-once, so a name that is known need not be read again; and a training whose attempts
have all ended cannot change before another submission runs it. The index may be deleted at any
time.

Its file starts with the hash of its second line, which holds all that was known when it was
written whole. What was learned since follows line by line, each with the start of that hash.
"""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jobs import files
from jobs.attempts import Attempt
from jobs.dispatch import answers
from jobs.layout import RunRoot

TICK_NS = 2_000_000_000
"""Coarsest time stamp of a filesystem: two changes within it can look like one."""

_VERSION = 3
_BASE = 16
_OWN = ("number", "job_id", "task", "seconds")
"""What differs from attempt to attempt; the rest of an attempt is shared by most."""


@dataclass
class Entry:
    """What the index remembers of a training.

    Attributes:
        trained: its training.json stands.
        over: all its attempts have ended.
        names: digest of its weights and of the names of its records.
        rows: what those records hold, as text.
        attempts: those that ended.
        stamp: last change of its folder of records, once nothing there is on its way any more
            and the change lies well before the index was written; else 0.
        step: of its newest checkpoint.
        marks: what had been moved away when it was looked at (`jobs.upkeep.tombstones`).
    """

    trained: bool = False
    over: bool = False
    names: str = ""
    rows: str = ""
    attempts: dict[int, Attempt] = field(default_factory=dict)
    stamp: int = 0
    step: int = 0
    marks: str = ""


class Index:
    """The index of a run root, in memory.

    Attributes:
        changed: trainings about which something was learned.
        checked: trainings of unsettled submissions that were looked at.
        final: submissions that were over before anything in here was looked at; only others can
            have changed a training since.
        written: when its file was written, by the filesystem's own clock in ns; 0 if it was not.
    """

    def __init__(self, root: RunRoot, *, trust: bool = True) -> None:
        self.root = root
        self.entries: dict[str, Entry] = {}
        self.changed: set[str] = set()
        self.checked: set[str] = set()
        self.final: frozenset[int] = frozenset()
        self.written = 0
        self._base = b""
        self._moved = False
        if trust:
            with contextlib.suppress(FileNotFoundError):
                self.written = root.index.stat().st_mtime_ns
                self._load(root.index.read_bytes())

    def _load(self, data: bytes) -> None:
        """Read what reads well; torn lines and those of other versions are passed over."""
        digest, _, rest = data.partition(b"\n")
        whole, _, later = rest.partition(b"\n")
        if hashlib.sha256(whole).hexdigest().encode() != digest:
            return
        try:
            version, final, *columns = json.loads(whole)
            if version == _VERSION:
                self.entries = dict(_entries(*columns))
                self.final = frozenset(final)
                self._base = digest[:_BASE]
        except (LookupError, TypeError, ValueError):  # written by another program
            return
        for line in filter(None, later.split(b"\n")):
            with contextlib.suppress(LookupError, TypeError, ValueError):
                base, *columns = json.loads(line)
                # what refers to a whole that was replaced may be older than what is here
                if base.encode() == self._base:
                    self.entries.update(_entries(*columns))

    def outdate(self, key: str, marks: str) -> None:
        """Forget a training of which something was moved away since it was looked at."""
        if key in self.entries and self.entries[key].marks != marks:
            del self.entries[key]

    def settle(self, over: frozenset[int], trainings: Collection[str]) -> None:
        """From now on some submissions count as over.

        Args:
            over: numbers of submissions that were over before this index was last looked at.
            trainings: what those did that did not count as over until now.
        """
        if over == self.final:
            return
        for key in set(trainings) - self.checked:
            if key in self.entries:  # a training of another manifest, to be looked at in its turn
                self.entries[key].over, self.entries[key].stamp = False, 0
        self.final, self._moved = over, True

    def save(self) -> None:
        """Add what was learned; written whole when a third of it is outdated."""
        if not (self.changed or self._moved) or not answers.keeps(self.root.cache):
            return  # a reader of another user's run root only looks
        base, lines = b"", 0
        with contextlib.suppress(FileNotFoundError), self.root.index.open("rb") as file:
            base, lines = file.read(_BASE), sum(1 for _ in file)
        outdated = 2 * (lines + len(self.changed)) > len(self.entries)
        if self._moved or not self._base or base != self._base or outdated:
            whole = files.dumps([_VERSION, sorted(self.final), *_columns(self.entries)])
            digest = hashlib.sha256(whole.rstrip()).hexdigest().encode()
            files.replace(self.root.index, digest + b"\n" + whole)
            return
        added = [_columns({key: self.entries[key]}) for key in sorted(self.changed)]
        with self.root.index.open("ab") as file:
            file.write(b"".join(files.dumps([base.decode(), *columns]) for columns in added))


def _columns(entries: dict[str, Entry]) -> list[Any]:
    """Entries as columns; what many share stands once, before them."""
    texts: dict[str, int] = {}
    kinds: dict[tuple[tuple[str, Any], ...], int] = {}
    usual = vars(Attempt(number=0)).items()
    default = [(name, value) for name, value in usual if name not in {*_OWN, "process"}]

    def tried(one: Attempt) -> list[Any]:
        found = [(name, getattr(one, name), value) for name, value in default]
        shared = tuple([(name, own) for name, own, value in found if own != value])
        kind = kinds.setdefault(shared, len(kinds))
        return [kind, *[getattr(one, name) for name in _OWN]]

    found = entries.values()
    columns: list[Any] = [
        list(entries),
        [2 * entry.over + entry.trained for entry in found],
        [entry.names for entry in found],
        [texts.setdefault(entry.rows, len(texts)) for entry in found],
        [entry.stamp for entry in found],
        [entry.step for entry in found],
        [entry.marks for entry in found],
        [[tried(one) for one in entry.attempts.values()] for entry in found],
    ]
    return [list(texts), [dict(kind) for kind in kinds], *columns]


def _entries(
    texts: list[str], kinds: list[dict[str, Any]], *columns: list[Any]
) -> Iterator[tuple[str, Entry]]:
    """Undo `_columns`."""
    for key, flags, names, text, stamp, step, marks, tried in zip(*columns, strict=True):
        attempts = {}
        for one in tried:
            attempts[one[1]] = _attempt(kinds[one[0]], one)
        over, trained = flags > 1, flags % 2 == 1
        yield key, Entry(trained, over, names, texts[text], attempts, stamp, step, marks)


def _attempt(kind: dict[str, Any], own: list[Any]) -> Attempt:
    # its constructor takes four times as long, and there are ten thousand
    found = object.__new__(Attempt)
    values = vars(found)
    values.update(kind)
    _, values["number"], values["job_id"], values["task"], values["seconds"] = own
    return found


@lru_cache(maxsize=4096)
def row_keys(text: str) -> frozenset[str]:
    """Row keys of the index's text "attack=1/255,2/255;…"; few texts differ."""
    found = set()
    for part in filter(None, text.split(";")):
        attack, _, epsilons = part.partition("=")
        found |= {f"{attack}@{epsilon}" for epsilon in epsilons.split(",")}
    return frozenset(found)


@lru_cache(maxsize=4096)
def rows_text(keys: frozenset[str]) -> str:
    """Undo `row_keys`."""
    grouped: dict[str, list[str]] = {}
    for key in sorted(keys):
        attack, _, epsilon = key.partition("@")
        grouped.setdefault(attack, []).append(epsilon)
    return ";".join(f"{attack}={','.join(epsilons)}" for attack, epsilons in grouped.items())
