"""Finished batches of an evaluation that still runs, so that a killed one goes on where it was.

Each rank of each attempt has a file of its own: a header that says what was attacked, then a line
for each finished batch. Every line carries its hash; one that is torn or altered is passed over,
and so is a file whose header does not agree. Batches are independent of each other and of how many
ranks there are, so a later attempt takes all that it finds.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from jobs import breaks, files
from jobs.errors import CorruptFile
from jobs.records import Row, pack, unpack

SCHEMA_VERSION = 1
SAVE_S = 2.0
"""Seconds between two writes at least."""
LOSS = 100
"""A kill may cost one part in this many of the time that an evaluation has taken, besides the batch
in work; hundreds of ranks that write every other second would burden a shared filesystem."""
SAVE_SHARE = 20
"""A write may cost one part in this many of the time since the last one."""
_FILE = re.compile(r"a\d{4,}\.r\d+\.jsonl")


@dataclass(frozen=True, kw_only=True)
class Points:
    """Adversarial examples of the first samples of a batch.

    Attributes:
        shape: [samples, ...], those of one point of the attack's space behind.
        data: float32, little-endian, one sample after the other.
        predicted: the class that the network decides for, of each.
    """

    shape: tuple[int, ...]
    data: bytes
    predicted: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Part(Row):
    """Outcome of one batch at one radius.

    Attributes:
        seconds: spent on it; an equal share where radii go together.
        points: its adversarial examples, if any were asked for.
    """

    seconds: float = field(default=0.0, compare=False)
    points: Points | None = field(default=None, compare=False)

    @property
    def shown(self) -> int:
        """Of how many samples it has points."""
        return 0 if self.points is None else self.points.shape[0]


Parts = dict[tuple[int, Fraction], Part]
"""Outcomes of single batches, by the position of their first sample and the radius."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What must agree before batches of two attempts are put together.

    Attributes:
        attack_id: the attack on its evaluation set.
        model_sha256: of the weights that are attacked.
        samples_sha256: fingerprint of the ordered evaluation set.
        total: samples of it.
        batch: samples attacked together.
        source_sha256: of the weights that a transfer attack climbs on.
        invalidated: how often the attack on this network has been; None for never.
    """

    attack_id: str
    model_sha256: str
    samples_sha256: str
    total: int
    batch: int
    source_sha256: str | None = None
    invalidated: int | None = None

    def count(self, start: int) -> int:
        """Samples of the batch that begins at a position; 0 if none begins there."""
        return max(0, min(self.batch, self.total - start)) if start % self.batch == 0 else 0


@dataclass
class Found:
    """What earlier attempts finished.

    Attributes:
        parts: their outcomes.
        made: what each file that gave some says of the code and machine that made it.
        seconds: wall time that went into them.
        refused: files that were not taken, whole or in part, with the reason.
    """

    parts: Parts = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    refused: list[tuple[str, str]] = field(default_factory=list)


def encode(content: Mapping[str, Any]) -> bytes:
    """One line with its hash."""
    return files.dumps({"content": content, "sha256": _hash(content)})


def decode(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The contents of all lines that are whole, and how many are not."""
    lines = [line for line in data.split(b"\n") if line]
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            value = json.loads(line)
            if value["sha256"] == _hash(value["content"]):
                found.append(value["content"])
    return found, len(lines) - len(found)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(files.dumps(content)).hexdigest()[:16]


def header(subject: Subject, made: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the first line: what was attacked, by what code and machine."""
    return {"schema_version": SCHEMA_VERSION, "subject": asdict(subject), "made": dict(made)}


def batch(start: int, rows: Iterable[Part], seconds: float) -> dict[str, Any]:
    """Content of the line of one batch, at one radius or several."""
    return {"start": start, "seconds": round(seconds, 3), "rows": [_row(row) for row in rows]}


def _row(row: Part) -> dict[str, Any]:
    return {
        "epsilon": f"{row.epsilon.numerator}/{row.epsilon.denominator}",
        "mask": pack(row.mask),
        "zero_gradient": row.zero_gradient,
        **({} if row.breaks is None else {"breaks": breaks.encode(row.breaks)}),
        **({} if row.points is None else {"points": _points(row.points)}),
    }


def _points(points: Points) -> dict[str, Any]:
    data = base64.b64encode(points.data).decode()
    return {"shape": points.shape, "data": data, "predicted": points.predicted}


def _part(row: Mapping[str, Any], count: int, seconds: float) -> Part:
    """Undo `_row`; an older program wrote neither `breaks` nor `points`."""
    mask = unpack(row["mask"], count)
    correct, fell, points = sum(mask), row.get("breaks"), row.get("points")
    return Part(
        epsilon=Fraction(row["epsilon"]),
        correct=correct,
        total=count,
        mask=mask,
        zero_gradient=row["zero_gradient"],
        breaks=None if fell is None else breaks.decode(fell, count - correct),
        seconds=seconds,
        points=None
        if points is None
        else Points(
            shape=tuple(points["shape"]),
            data=base64.b64decode(points["data"], validate=True),
            predicted=tuple(points["predicted"]),
        ),
    )


def _parts(content: Mapping[str, Any], subject: Subject) -> Parts:
    """Undo `batch`.

    Raises:
        CorruptFile: if it is no batch of this subject.
    """
    start = content["start"]
    count = subject.count(start)
    if not count:
        raise CorruptFile(f"no batch begins at sample {start}")
    share = content["seconds"] / max(1, len(content["rows"]))
    parts = [_part(row, count, share) for row in content["rows"]]
    return {(start, part.epsilon): part for part in parts}


def read(folder: Path, subject: Subject, epsilons: Collection[Fraction]) -> Found:
    """What the files of a folder hold of a subject at some radii.

    Of equals that with the most points counts, and the first of those.
    """
    found = Found()
    try:
        names = sorted(name for name in os.listdir(folder) if _FILE.fullmatch(name))
    except (FileNotFoundError, NotADirectoryError):
        return found
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # recorded and removed meanwhile
            contents, broken = decode((folder / name).read_bytes())
            if broken:
                found.refused.append((name, f"{broken} of its lines are torn or altered"))
            if why := _disagreement(contents, subject):
                found.refused.append((name, why))
                continue
            _take(name, contents, subject, epsilons, found)
    return found


def _disagreement(contents: Sequence[Mapping[str, Any]], subject: Subject) -> str:
    """Why a file cannot be taken, or nothing."""
    head = contents[0] if contents else {}
    if "subject" not in head:
        return "its header is torn or altered"
    if head["schema_version"] != SCHEMA_VERSION:
        return f"has format {head['schema_version']}, this program writes {SCHEMA_VERSION}"
    wrong = [key for key, value in asdict(subject).items() if head["subject"].get(key) != value]
    return f"is of another {', '.join(wrong)}" if wrong else ""


def _take(
    name: str,
    contents: Sequence[Mapping[str, Any]],
    subject: Subject,
    epsilons: Collection[Fraction],
    found: Found,
) -> None:
    """Add the batches of one file, unless an earlier one has them with as many points."""
    made, seconds, differing, taken = contents[0]["made"], 0.0, 0, False
    for content in contents[1:]:
        try:
            own = _parts(content, subject)
        except (CorruptFile, KeyError, TypeError, ValueError) as error:
            found.refused.append((name, f"a line is no batch of it ({error})"))
            continue
        for key in own.keys() & found.parts.keys():
            differing += own[key] != found.parts[key]
        new = {
            key: row
            for key, row in own.items()
            if key[1] in epsilons and (key not in found.parts or row.shown > found.parts[key].shown)
        }
        # repeated for the points alone: counted once
        seconds += content["seconds"] if new.keys() - found.parts.keys() else 0.0
        taken |= bool(new)
        found.parts |= new
    if differing:
        found.refused.append((name, f"{differing} outcomes differ from an earlier file's"))
    if taken:
        found.made.append(made)
        found.seconds += seconds / made["world_size"]


class Writer:
    """The file of one rank; nothing of it exists before the first batch is saved.

    Attributes:
        saved: batches on disk.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self._path, self._head = path, head
        self._pending: list[bytes] = []
        self._began = self._wrote = time.monotonic()
        self._cost = 0.0
        self.saved = 0

    def add(self, content: Mapping[str, Any]) -> None:
        """Take a finished batch (`batch`), and save if the last time is long enough ago."""
        self._pending.append(encode(content))
        self.save_if_due()

    def save_if_due(self) -> None:
        """Save, unless it was done a moment ago."""
        now = time.monotonic()
        pause = max(SAVE_S, SAVE_SHARE * self._cost, (now - self._began) / LOSS)
        if now - self._wrote >= pause:
            self.save()

    def save(self) -> None:
        """Write what is not on disk yet.

        Raises:
            OSError: if it cannot be written whole.
        """
        if not self._pending:
            return
        before = time.monotonic()
        lines: Sequence[bytes] = self._pending
        if not self.saved:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = [encode(self._head), *lines]
        try:
            files.extend(self._path, b"".join(lines))
        except FileNotFoundError:
            # an attempt that took this one for dead has recorded the evaluation
            return
        if not self.saved:
            files.sync_folder(self._path.parent)
        self.saved += len(self._pending)
        self._pending = []
        self._wrote = time.monotonic()
        self._cost = self._wrote - before


def remove(folder: Path) -> None:
    """Delete the files of an evaluation that is recorded; what cannot be deleted does no harm."""
    shutil.rmtree(folder, ignore_errors=True)


def progress(events: Iterable[Mapping[str, Any]]) -> str:
    """How far an evaluation is by the events of its attempt, e.g. "pgd 34 of 100 batches"."""
    text = ""
    for event in events:
        if event.get("event") == "partial":
            text = f"{event['name']} {event['done']:,} of {event['of']:,} batches"
        elif event.get("event") == "recorded":
            text = ""
    return text
