"""Records: what an evaluation found, as integers and per-sample masks, written once.

A record is one pass of one attack over the rows it computed. Its name holds the first 16 hex of
the SHA-256 of its content, so a torn or altered file is known by its name alone.
"""

import base64
import binascii
import hashlib
import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jobs import breaks, files
from jobs.breaks import Breaks
from jobs.errors import CorruptFile
from jobs.expand.cell import row_key
from jobs.layout import CellFiles

T = TypeVar("T")

SCHEMA_VERSION = 1

_HEAD = ("training_id", "attack_id", "attack", "evaluation", "model_sha256", "samples_sha256")
_COUNTS = ("correct", "total", "zero_gradient")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Outcome of one attack at one epsilon.

    Attributes:
        epsilon: radius; 0 for clean.
        correct: samples still classified correctly.
        total: samples judged.
        mask: one flag per sample in the order of the evaluation set: still correct.
        zero_gradient: samples whose input gradient was exactly zero in every step.
        breaks: how the others fell; None where nothing attacked them, and in older records.
    """

    epsilon: Fraction
    correct: int
    total: int
    mask: tuple[bool, ...]
    zero_gradient: int
    breaks: Breaks | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One pass of one attack on one trained network.

    Attributes:
        training_id: the network.
        attack_id: the attack on its evaluation set.
        attack: the attack, canonical.
        evaluation: dataset name, split, samples and seed.
        model_sha256: of the weights that were attacked.
        samples_sha256: fingerprint of the ordered evaluation set.
        rows: outcomes, by ascending epsilon.
        measured: what may differ between equal runs: attempt, seconds, host, device, threads,
            world_size, batch, versions, code, promise; `row_seconds` of each row, `examples` (how
            many samples have theirs saved beside the record, and the file's sha256).
        members: names of a suite's members in their order; empty for any other attack.
    """

    training_id: str
    attack_id: str
    attack: dict[str, Any]
    evaluation: dict[str, Any]
    model_sha256: str
    samples_sha256: str
    rows: tuple[Row, ...]
    measured: dict[str, Any]
    members: tuple[str, ...] = ()


class PackedRow(NamedTuple):
    """A row whose samples stay packed, for who reads thousands of records.

    Attributes:
        epsilon: numerator and denominator in lowest terms.
        correct: as of `Row`.
        total: as of `Row`.
        zero_gradient: as of `Row`.
        mask: a bit for each sample, as of `pack`; what fills the last byte is 0.
        breaks: as of `Row`, packed.
    """

    epsilon: tuple[int, int]
    correct: int
    total: int
    zero_gradient: int
    mask: bytes
    breaks: breaks.Packed | None


class PackedRecord(NamedTuple):
    """A record of packed rows.

    Attributes:
        head: values of a `Record` by name, but for its rows and members.
        rows: outcomes, by ascending epsilon.
        members: as of `Record`.
    """

    head: dict[str, Any]
    rows: list[PackedRow]
    members: tuple[str, ...]


def pack(mask: Sequence[bool]) -> str:
    """Flags as base64 of bits, first sample in the highest bit of the first byte."""
    bits = 0
    for flag in mask:
        bits = bits << 1 | flag
    length = (len(mask) + 7) // 8
    return base64.b64encode((bits << (length * 8 - len(mask))).to_bytes(length, "big")).decode()


def unpack(text: str, total: int) -> tuple[bool, ...]:
    """Undo `pack`.

    Raises:
        CorruptFile: if the text does not hold exactly `total` flags.
    """
    return _unpacked(_bytes(text, total), total)


def _unpacked(data: bytes, total: int) -> tuple[bool, ...]:
    octets = map(_flags().__getitem__, data)
    return tuple(itertools.chain.from_iterable(octets))[:total]


def _bytes(text: str, total: int) -> bytes:
    data = binascii.a2b_base64(text, strict_mode=True)
    if len(data) != (total + 7) // 8:
        raise CorruptFile(
            f"a mask of {total} samples needs {(total + 7) // 8} bytes, got {len(data)}"
        )
    return data


@cache
def _flags() -> list[tuple[bool, ...]]:
    """Byte → its bits, the highest first; ten thousand cells hold a hundred million bits."""
    return [tuple(bool(byte >> place & 1) for place in range(7, -1, -1)) for byte in range(256)]


def encode(record: Record) -> bytes:
    """The file content of a record."""
    rows = [
        {
            "epsilon": f"{row.epsilon.numerator}/{row.epsilon.denominator}",
            "correct": row.correct,
            "total": row.total,
            "mask": pack(row.mask),
            "zero_gradient": row.zero_gradient,
        }
        for row in record.rows
    ]
    head = {
        "schema_version": SCHEMA_VERSION,
        "training_id": record.training_id,
        "attack_id": record.attack_id,
        "attack": record.attack,
        "evaluation": record.evaluation,
        "model_sha256": record.model_sha256,
        "samples_sha256": record.samples_sha256,
        **_encode_breaks(record),
    }
    return files.dumps({**head, "rows": rows, "measured": record.measured})


def _encode_breaks(record: Record) -> dict[str, str]:
    """How samples fell, as one string.

    Who looks for rows alone, in ten thousand cells, passes over it; as numbers and objects it would
    cost that reader a fifth more.
    """
    told = [None if row.breaks is None else breaks.encode(row.breaks) for row in record.rows]
    if not any(told):
        return {}
    content = zlib.compress(files.dumps({"members": record.members, "rows": told}), 9)
    return {"breaks": base64.b64encode(content).decode()}


def content_hash(data: bytes) -> str:
    """The part of a record's name that vouches for its content."""
    return hashlib.sha256(data).hexdigest()[:16]


def write(cell: CellFiles, record: Record, examples: bytes | None = None) -> Path:
    """Write a record once; writing an equal one again is harmless.

    Args:
        cell: files of the training.
        record: what was found.
        examples: content of the file beside it, which is written first: it is of no use alone, and
            a record that names it never stands without it.
    """
    data = encode(record)
    path = cell.evaluations / f"{record.attack_id}-{content_hash(data)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if examples is not None:
        files.create(cell.examples(path.name), examples)
    files.create(path, data)
    return path


def read(path: str | Path) -> Record:
    """Read and verify a record.

    Raises:
        CorruptFile: if name, hash, schema or counts do not agree; the message says which.
    """
    return _verified(str(path), _decode)


def read_packed(path: str) -> PackedRecord:
    """Read a record, verified as by `read`, at a fraction of its cost.

    Raises:
        CorruptFile: as `read`.
        OverflowError: a sample took more steps to break than 32 bits hold.
    """
    return _verified(path, _decode_packed)


def read_rows(path: str, model_sha256: str) -> frozenset[str]:
    """Keys of the rows of a record, verified as by `read` but for `breaks`, a tenth of its cost.

    Args:
        path: of the record.
        model_sha256: of the weights that count; a record about others has no rows. Empty while
            no weights stand: then all have.

    Raises:
        CorruptFile: as `read`.
    """
    return _verified(path, partial(_decode_rows, model_sha256=model_sha256))


def _verified(path: str, decode: Callable[[dict[str, Any]], T]) -> T:
    data = files.content(path)
    attack_id, _, digest = path.rpartition("/")[2].removesuffix(".json").partition("-")
    if content_hash(data) != digest:
        raise CorruptFile(f"{path}: content does not match its name (torn or altered)")
    try:
        raw = json.loads(data.decode())
        if raw["schema_version"] > SCHEMA_VERSION:
            raise CorruptFile(f"{path}: written by a newer spikegrid; update this checkout")
        found, held = decode(raw), raw["attack_id"]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path}: not a record ({error!r})") from error
    if held != attack_id:
        raise CorruptFile(f"{path}: holds attack {held}, its name says {attack_id}")
    return found


def _decode(raw: dict[str, Any]) -> Record:
    rows = []
    members, told = _decode_breaks(raw)
    for row, fell in zip(raw["rows"], told, strict=True):
        mask = _unpacked(_checked(row), row["total"])
        values = {key: row[key] for key in _COUNTS}
        how = None if fell is None else breaks.decode(fell, row["total"] - row["correct"])
        if how is not None and fell and "member" in fell:
            breaks.check_members(max(how.member, default=0), len(members))
        rows.append(Row(epsilon=_radius(row["epsilon"]), mask=mask, breaks=how, **values))
    return Record(rows=tuple(rows), members=members, **_head(raw))


def _decode_packed(raw: dict[str, Any]) -> PackedRecord:
    rows = []
    members, told = _decode_breaks(raw)
    for row, fell in zip(raw["rows"], told, strict=True):
        mask = _checked(row)
        correct, total, zero_gradient = map(row.__getitem__, _COUNTS)
        how = None if fell is None else breaks.packed(fell, total - correct, len(members))
        rows.append(PackedRow(_terms(row["epsilon"]), correct, total, zero_gradient, mask, how))
    return PackedRecord(_head(raw), rows, members)


def _head(raw: dict[str, Any]) -> dict[str, Any]:
    return {**{key: raw[key] for key in _HEAD}, "measured": raw["measured"]}


def _decode_breaks(raw: dict[str, Any]) -> tuple[tuple[str, ...], list[dict[str, Any] | None]]:
    """Members of a suite, and how samples fell in each row; None in each of an older record."""
    if "breaks" not in raw:
        return (), [None] * len(raw["rows"])
    try:
        content = json.loads(zlib.decompress(binascii.a2b_base64(raw["breaks"], strict_mode=True)))
    except zlib.error as error:
        raise ValueError(f"how samples fell is damaged ({error})") from error
    return tuple(content["members"]), content["rows"]


def _decode_rows(raw: dict[str, Any], *, model_sha256: str) -> frozenset[str]:
    missing = {"measured", *_HEAD} - raw.keys()
    if missing:
        raise KeyError(min(missing))
    for row in raw["rows"]:
        _checked(row)
    if model_sha256 not in ("", raw["model_sha256"]):
        return frozenset()
    return frozenset([f"{raw['attack_id']}@{_epsilon(row['epsilon'])}" for row in raw["rows"]])


def _checked(row: dict[str, Any]) -> bytes:
    """The mask of a row that has its counts, with which it agrees; what fills the last byte is 0.

    Raises:
        KeyError, TypeError, ValueError: it has not, or does not.
    """
    correct, total, _ = map(row.__getitem__, _COUNTS)
    data = _bytes(row["mask"], total)
    bits = int.from_bytes(data, "big")
    spare = -total % 8
    if filler := bits & 255 >> 8 - spare:
        bits -= filler
        data = bits.to_bytes(len(data), "big")
    ones = bits.bit_count()
    if ones != correct:
        raise ValueError(f"mask has {ones} correct samples, count says {correct}")
    return data


@cache
def _radius(text: str) -> Fraction:
    """A radius; few texts differ."""
    return Fraction(text)


@cache
def _terms(text: str) -> tuple[int, int]:
    """Numerator and denominator of a radius."""
    return _radius(text).as_integer_ratio()


@cache
def _epsilon(text: str) -> str:
    """A radius as in `jobs.expand.cell.row_key`."""
    return "{}/{}".format(*_terms(text))


def names(cell: CellFiles) -> list[str]:
    """File names of the records of a cell, sorted; files in the making are left out."""
    try:
        found = os.listdir(cell.evaluations)
    except FileNotFoundError:
        return []
    return sorted(name for name in found if name.endswith(".json") and not name.startswith("."))


def valid(cell: CellFiles) -> Iterator[tuple[Path, Record]]:
    """The records of a cell that read well, by name."""
    for name in names(cell):
        try:
            yield cell.evaluations / name, read(cell.evaluations / name)
        except CorruptFile:
            continue


def rows_of(found: Iterable[Record]) -> set[str]:
    """Keys of all rows that records hold (`jobs.expand.cell.row_key`)."""
    return {row_key(record.attack_id, row.epsilon) for record in found for row in record.rows}
