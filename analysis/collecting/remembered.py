"""What the last collection found of each training, so that the next one reads only what is new.

One file in `tables/.parts/`, derived and deletable: the hash of all that follows, a line that says
what it was made of and by which code, then the tables as Arrow streams. A file that is damaged, or
of another program or other run roots, counts as absent.
"""

import contextlib
import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.collecting.specifications import Families
from analysis.collecting.streams import Streams, pack
from jobs import files
from jobs.schema import TableName

_CHECKOUT = Path(__file__).resolve().parents[2]
_HASH = 64
"""Characters of a SHA-256."""
_IMPORT = re.compile(r"^from ((?:analysis|jobs|snnlib)[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """A collection.

    Attributes:
        roots: run roots, in their order.
        marks: what each training was made of (`analysis.collecting.listing`); empty if it is to be read anew.
        families: what the specifications say of the trainings' settings.
        written: SHA-256 of each table's file.
        counts: rows of each table.
        tables: the tables.
    """

    roots: Sequence[str]
    marks: Mapping[str, str]
    families: Families
    written: Mapping[TableName, str]
    counts: Mapping[TableName, int]
    tables: Mapping[TableName, pa.Table]


def path(folder: Path) -> Path:
    """Where it lies, beside the tables of a folder."""
    return folder / ".parts" / "collected"


def save(folder: Path, found: Remembered) -> None:
    """Keep a collection; without room or permission the next one reads everything."""
    texts: dict[str, int] = {}
    own = [
        (key, texts.setdefault(text, len(texts)), origins)
        for key, (text, origins) in found.families.own.items()
    ]
    streams = pack(found.tables).packed
    head = {
        "code": code(),
        "roots": found.roots,
        "marks": list(found.marks.items()),
        "texts": list(texts),
        "own": own,
        "climbs": found.families.climbs,
        "written": found.written,
        "counts": found.counts,
        "streams": [(name, stream.size) for name, stream in streams.items()],
    }
    parts: list[bytes | pa.Buffer] = [files.dumps(head), *streams.values()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    place = path(folder)
    with contextlib.suppress(OSError):
        place.parent.mkdir(exist_ok=True)
        files.replace(place, b"".join([digest.hexdigest().encode(), b"\n", *parts]))


def roots_of(folder: Path) -> list[str]:
    """Run roots of the last collection into a folder, in their order; none if nothing tells."""
    whole = _whole(folder)
    roots: list[str] = whole[0].get("roots", []) if whole else []
    return roots


def _whole(folder: Path) -> tuple[dict[str, Any], memoryview] | None:
    """The head of what is kept of the last collection, and what follows it; None if it is damaged."""
    try:
        content = path(folder).read_bytes()
    except OSError:
        return None
    start, data = _HASH + 1, memoryview(content)
    if content[:_HASH] != hashlib.sha256(data[start:]).hexdigest().encode():
        return None
    end = content.index(b"\n", start)
    return json.loads(content[start:end]), data[end + 1 :]


def load(folder: Path, roots: Sequence[str]) -> Remembered | None:
    """The last collection of some run roots into a folder; None if there is none that is whole."""
    whole = _whole(folder)
    if whole is None:
        return None
    head, data = whole
    if (head["code"], head["roots"]) != (code(), list(roots)):
        return None
    families = Families()
    families.own = {key: (head["texts"][place], origins) for key, place, origins in head["own"]}
    families.climbs = {key: (what, source) for key, (what, source) in head["climbs"].items()}
    streams, place = {}, 0
    for name, size in head["streams"]:
        streams[name] = pa.py_buffer(data[place : place + size])
        place += size
    return Remembered(
        roots=roots,
        marks=dict(head["marks"]),
        families=families,
        written=head["written"],
        counts=head["counts"],
        tables=Streams(streams),
    )


@cache
def code() -> str:
    """Hash of all that makes tables of files: our sources, Python and Arrow."""
    digest = hashlib.sha256(f"{platform.python_version()} {pa.__version__}".encode())
    for name, text in sorted(_sources("analysis.collecting.incremental").items()):
        digest.update(f"{name}:{text}".encode())
    return digest.hexdigest()


def _sources(module: str) -> dict[str, str]:
    """The text of a module of ours, and of all of ours that it imports."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _CHECKOUT.joinpath(*name.split(".")).with_suffix(".py")
        if name in found or not path.is_file():
            continue
        found[name] = text = path.read_text()
        for package, names in _IMPORT.findall(text):
            waiting += [package, *(f"{package}.{one}" for one in re.findall(r"\w+", names))]
    return found
