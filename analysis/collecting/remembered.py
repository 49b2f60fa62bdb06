"""What the last collection found of each training, so that the next one reads only what is new.

One file in `tables/.parts/`, derived and deletable: a hash, and a line of all that it is of, which
says what the tables were made of and by which code. The rows are in the tables. A file that is
damaged, or of another program, other run roots or tables that are no longer these, counts as absent.
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

from analysis.collecting import parquet
from analysis.collecting.packed import Packed
from analysis.collecting.specifications import Families
from analysis.collecting.unchanged import Look
from jobs import files
from jobs.schema import TABLES, TableName

_CHECKOUT = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(r"^from ((?:analysis|jobs|snnlib)[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """A collection.

    Attributes:
        roots: run roots, in their order.
        look: what each training was made of; with an empty mark if it is to be read anew.
        families: what the specifications say of the trainings' settings.
        written: SHA-256 of each table's file.
        counts: rows of each table.
        tables: the tables, as they lie on disk.
    """

    roots: Sequence[str]
    look: Look
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
    head = {
        "code": code(),
        "roots": found.roots,
        "look": found.look,
        "texts": list(texts),
        "own": own,
        "climbs": found.families.climbs,
        "written": found.written,
        "counts": found.counts,
    }
    line = files.dumps(head)
    place = path(folder)
    with contextlib.suppress(OSError):
        place.parent.mkdir(exist_ok=True)
        files.replace(place, hashlib.sha256(line).hexdigest().encode() + b"\n" + line)


def roots_of(folder: Path) -> list[str]:
    """Run roots of the last collection into a folder, in their order; none if nothing tells."""
    roots: list[str] = _head(folder).get("roots", [])
    return roots


def _head(folder: Path) -> dict[str, Any]:
    """What is kept of the last collection; nothing if it is damaged."""
    try:
        digest, _, line = path(folder).read_bytes().partition(b"\n")
    except OSError:
        return {}
    if digest != hashlib.sha256(line).hexdigest().encode():
        return {}
    try:
        head: dict[str, Any] = json.loads(line)
    except ValueError:  # an older program's, with rows behind it
        return {}
    return head


def load(folder: Path, roots: Sequence[str]) -> Remembered | None:
    """The last collection of some run roots into a folder; None unless it and its tables are whole."""
    head = _head(folder)
    if (head.get("code"), head.get("roots")) != (code(), list(roots)):
        return None
    tables = _tables(folder, head["written"])
    if tables is None:
        return None
    families = Families()
    families.own = {key: (head["texts"][place], origins) for key, place, origins in head["own"]}
    families.climbs = {key: (what, source) for key, (what, source) in head["climbs"].items()}
    return Remembered(
        roots=roots,
        look=Look(*head["look"]),
        families=families,
        written=head["written"],
        counts=head["counts"],
        tables=tables,
    )


def _tables(folder: Path, written: Mapping[TableName, str]) -> Packed | None:
    """The tables of a folder; None if one is not as it was written."""
    content: dict[TableName, bytes] = {}
    for name in TABLES:
        try:
            content[name] = parquet.path(folder, name).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content[name]).hexdigest() != written[name]:
            return None
    return Packed(content, parquet.decode)


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
