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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from jobs import files
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
    """

    epsilon: Fraction
    correct: int
    total: int
    mask: tuple[bool, ...]
    zero_gradient: int


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
            world_size, batch, versions, code, promise.
    """

    training_id: str
    attack_id: str
    attack: dict[str, Any]
    evaluation: dict[str, Any]
    model_sha256: str
    samples_sha256: str
    rows: tuple[Row, ...]
    measured: dict[str, Any]


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
    octets = map(_flags().__getitem__, _bytes(text, total))
    return tuple(itertools.chain.from_iterable(octets))[:total]


def _bytes(text: str, total: int) -> bytes:
    data = binascii.a2b_base64(text, strict_mode=True)
    if len(data) != (total + 7) // 8:
        raise CorruptFile(
            f"a mask of {total} samples needs {(total + 7) // 8} bytes, got {len(data)}"
        )
    return data


def _bits(text: str, total: int) -> int:
    """Flags as a whole number; what fills the last byte is cut off."""
    return int.from_bytes(_bytes(text, total), "big") >> -total % 8


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
    }
    return files.dumps({**head, "rows": rows, "measured": record.measured})


def content_hash(data: bytes) -> str:
    """The part of a record's name that vouches for its content."""
    return hashlib.sha256(data).hexdigest()[:16]


def write(cell: CellFiles, record: Record) -> Path:
    """Write a record once; writing an equal one again is harmless."""
    data = encode(record)
    path = cell.evaluations / f"{record.attack_id}-{content_hash(data)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.create(path, data)
    return path


def read(path: Path) -> Record:
    """Read and verify a record.

    Raises:
        CorruptFile: if name, hash, schema or counts do not agree; the message says which.
    """
    return _verified(str(path), _decode)


def read_rows(path: str) -> frozenset[str]:
    """Keys of the rows of a record, verified as by `read`, a tenth of its cost.

    Raises:
        CorruptFile: as `read`.
    """
    return _verified(path, _decode_rows)


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
    for row in raw["rows"]:
        _check(row)
        values = {key: row[key] for key in _COUNTS}
        mask = unpack(row["mask"], row["total"])
        rows.append(Row(epsilon=Fraction(row["epsilon"]), mask=mask, **values))
    return Record(rows=tuple(rows), measured=raw["measured"], **{key: raw[key] for key in _HEAD})


def _decode_rows(raw: dict[str, Any]) -> frozenset[str]:
    missing = {"measured", *_HEAD} - raw.keys()
    if missing:
        raise KeyError(min(missing))
    for row in raw["rows"]:
        _check(row)
    return frozenset([f"{raw['attack_id']}@{_epsilon(row['epsilon'])}" for row in raw["rows"]])


def _check(row: dict[str, Any]) -> None:
    """Whether a row has its counts, and the mask agrees with them.

    Raises:
        KeyError, TypeError, ValueError: it has not.
    """
    correct, total, _ = map(row.__getitem__, _COUNTS)
    ones = _bits(row["mask"], total).bit_count()
    if ones != correct:
        raise ValueError(f"mask has {ones} correct samples, count says {correct}")


@cache
def _epsilon(text: str) -> str:
    """A radius as in `jobs.expand.cell.row_key`."""
    value = Fraction(text)
    return f"{value.numerator}/{value.denominator}"


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
