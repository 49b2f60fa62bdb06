"""Tombstones: trainings and attacks that turned out to be wrong, and why.

The tombstone is the decision: from then on nothing of what it names counts. All of that is then
moved into the cell's own folder `invalidated`, and a mark beside the tombstone says so. A kill in
between leaves a tombstone without its mark: readers take what it names for absent, and the next
command or job that writes moves the rest. Nothing is deleted.

A training's tombstone bears an attempt number of its own, which fences whatever might still write.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import attempts, files, records
from jobs.dispatch import ledger
from jobs.errors import CorruptFile
from jobs.layout import CellFiles, RunRoot

SCHEMA_VERSION = 1

_NAME = re.compile(r"([0-9a-f]{16})(?:-([0-9a-f]{16}))?-(\d{4,})\.(json|moved)")


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """One decision.

    Attributes:
        training_id: the training that it is about.
        attack_id: the only attack that it is about; None for the training and all made from it.
        number: of a training: the attempt that fences those before it; of an attack: from 1.
        moved: what it names has been moved away.
    """

    training_id: str
    attack_id: str | None
    number: int
    moved: bool = False

    @property
    def place(self) -> str:
        """Name of the folder, in that of the cell, that takes what is invalid."""
        attack = "" if self.attack_id is None else f"{self.attack_id}-"
        return f"{attack}{self.number:04d}"

    @property
    def name(self) -> str:
        """Name of the tombstone."""
        return f"{self.training_id}-{self.place}"


@dataclass
class Grave:
    """What the tombstones of one training say together.

    Attributes:
        stones: all of them, by name.
        fence: attempts up to this number do not count; 0 if the training was never invalidated.
        pending: the whole training is invalid, and part of it may lie where it was.
        attacks: attacks that are invalid, and parts of which may lie where they were.
    """

    stones: list[Tombstone] = field(default_factory=list)
    fence: int = 0
    pending: bool = False
    attacks: set[str] = field(default_factory=set)

    def times(self, attack_id: str) -> int:
        """How often one attack alone has been invalidated."""
        return max((s.number for s in self.stones if s.attack_id == attack_id), default=0)

    @property
    def marks(self) -> str:
        """A text that changes whenever something has been moved away."""
        return " ".join(stone.place for stone in self.stones if stone.moved)


def graves(root: RunRoot) -> dict[str, Grave]:
    """All tombstones of a run root, by training; one listing."""
    found: dict[str, Grave] = {}
    for stone in _stones(root):
        grave = found.setdefault(stone.training_id, Grave())
        grave.stones.append(stone)
        if stone.attack_id is None:
            grave.fence = max(grave.fence, stone.number)
            grave.pending |= not stone.moved
        elif not stone.moved:
            grave.attacks.add(stone.attack_id)
    return found


def _stones(root: RunRoot) -> Iterator[Tombstone]:
    try:
        names = sorted(os.listdir(root.invalidated))
    except (FileNotFoundError, NotADirectoryError):
        return
    there = {*names}
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match[4] == "json":
            moved = f"{name.removesuffix('json')}moved" in there
            yield Tombstone(
                training_id=match[1], attack_id=match[2], number=int(match[3]), moved=moved
            )


def story(root: RunRoot, stone: Tombstone) -> dict[str, Any]:
    """What a tombstone says; little, if it is torn."""
    try:
        told = files.read_json(root.tombstone(stone.name))
    except CorruptFile:
        told = {}
    return told if isinstance(told, dict) else {}


def reason(root: RunRoot, grave: Grave) -> str:
    """Why a training counts as new; empty if it was never invalidated."""
    whole = [stone for stone in grave.stones if stone.attack_id is None]
    return str(story(root, whole[-1]).get("reason", "")) if whole else ""


def submitted(root: RunRoot, grave: Grave) -> int:
    """The newest submission when a training was invalidated last; 0 if that is not known."""
    whole = [stone for stone in grave.stones if stone.attack_id is None]
    return int(story(root, whole[-1]).get("submission", 0)) if whole else 0


def kept(cell: CellFiles) -> set[str]:
    """Names in a cell's folder that stay, whatever becomes of the training."""
    return {path.name for path in (cell.spec, cell.attempts, cell.invalidated)}


def holds(cell: CellFiles) -> bool:
    """Whether a cell has anything that could be invalidated."""
    return any(
        not path.is_dir() or any(not n.startswith(files.TEMPORARY) for n in os.listdir(path))
        for path in _own(cell)
    )


def invalidate(
    root: RunRoot, training_id: str, attack_id: str | None, note: Mapping[str, Any]
) -> Tombstone:
    """Declare a training, or one attack on it, invalid, and move away what there is of it.

    Args:
        root: the run root.
        training_id: a training that no job holds.
        attack_id: the attack; None for the training and everything made from it.
        note: what the tombstone says besides: who, when, the reason.
    """
    root.invalidated.mkdir(exist_ok=True)
    cell, number = root.cell(training_id), 0
    about = {"training_id": training_id, "attack_id": attack_id, **_lost(cell, attack_id)}
    about["submission"] = (ledger.numbers(root) or [0])[-1]
    while True:
        number = attempts.take(cell) if attack_id is None else number + 1
        stone = Tombstone(training_id=training_id, attack_id=attack_id, number=number)
        content = {"schema_version": SCHEMA_VERSION, **about, **note}
        if files.create(root.tombstone(stone.name), files.dumps(content)):
            break
    _bury(root, stone)
    return stone


def finish(root: RunRoot, training_ids: Collection[str] | None = None) -> list[Tombstone]:
    """Move away what killed commands left where it was.

    Args:
        root: the run root.
        training_ids: of these alone; None for all.
    """
    pending = [
        stone
        for stone in _stones(root)
        if not stone.moved and (training_ids is None or stone.training_id in training_ids)
    ]
    for stone in pending:
        _bury(root, stone)
    return pending


def _bury(root: RunRoot, stone: Tombstone) -> None:
    cell = root.cell(stone.training_id)
    if stone.attack_id is None:
        why = f"invalidated: {story(root, stone).get('reason', '')}"
        attempts.end(cell.attempt(stone.number), "cancelled", why)
    place = CellFiles(cell.invalidated / stone.place)
    place.evaluations.parent.mkdir(parents=True, exist_ok=True)
    if stone.attack_id is not None:
        place.evaluations.mkdir(exist_ok=True)
    for path in _named(cell, stone.attack_id):
        # another process may have moved it all, and a new training may be on its way
        if root.moved(stone.name).exists():
            return
        files.move(path, place.folder / path.relative_to(cell.folder))
    files.sync_folder(cell.folder)
    files.create(root.moved(stone.name), files.dumps({}))


def _named(cell: CellFiles, attack_id: str | None) -> list[Path]:
    """What a tombstone is about; training.json first, since all else rests on it."""
    if attack_id is None:
        return sorted(_own(cell), key=lambda path: path != cell.training)
    try:
        found = sorted(os.listdir(cell.evaluations))
    except FileNotFoundError:
        return []
    own = (f"{attack_id}-", cell.partial(attack_id).name)
    return [cell.evaluations / name for name in found if name.startswith(own)]


def _own(cell: CellFiles) -> list[Path]:
    """Everything in a cell's folder that its training made."""
    try:
        found = sorted(os.listdir(cell.folder))
    except FileNotFoundError:
        return []
    stays = kept(cell)
    return [
        cell.folder / name
        for name in found
        if name not in stays and not name.startswith(files.TEMPORARY)
    ]


def _lost(cell: CellFiles, attack_id: str | None) -> dict[str, Any]:
    """What an invalidation takes away, for the record."""
    training = next(files.read_lines(cell.training), {})
    found = [
        (path.name, len(record.rows))
        for path, record in records.valid(cell)
        if attack_id in (None, record.attack_id)
    ]
    return {
        "model_sha256": training.get("model_sha256"),
        "records": [name for name, _ in found],
        "rows": sum(rows for _, rows in found),
    }


def descendants(root: RunRoot, training_id: str) -> list[str]:
    """Trainings that were made from this one, or from its descendants; the youngest first.

    Those of which nothing is on disk are left out, unless somebody may be at them now.
    """
    children: dict[str, list[str]] = {}
    from jobs.planning import request  # nobody else here needs it

    for path in root.cells.glob("*/*"):
        spec = next(files.read_lines(root.cell(path.name).spec), {})
        for parent, _ in request.parents({"start": None, **spec}):
            children.setdefault(parent, []).append(path.name)
    queue = [training_id]
    for key in queue:
        queue += [child for child in children.get(key, []) if child not in queue]
    dead, below = graves(root), [(key, root.cell(key)) for key in queue[1:]]
    found = [key for key, cell in below if holds(cell) or _open(cell, dead.get(key, Grave()))]
    return found[::-1]


def _open(cell: CellFiles, grave: Grave) -> bool:
    """Whether the newest attempt since the last invalidation did not end, as far as it said."""
    newest = max(attempts.numbers(cell), default=0)
    return newest > grave.fence and attempts.read(cell, newest).state is None


def climbers(root: RunRoot, training_ids: Collection[str]) -> dict[str, dict[str, str]]:
    """Attacks on record that climbed on some trainings.

    Returns:
        Training id → attack id → the attack's name.
    """
    known: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, str]] = {}
    for path in sorted(root.cells.glob("*/*")):
        cell = root.cell(path.name)
        for name in records.names(cell) if path.name not in training_ids else ():
            attack_id = name.partition("-")[0]
            if attack_id not in known:  # cells share their attacks: one record tells of each
                with contextlib.suppress(CorruptFile):
                    known[attack_id] = records.read(cell.evaluations / name).attack
            attack = known.get(attack_id, {})
            if attack.get("source") in training_ids:
                found.setdefault(path.name, {})[attack_id] = str(attack["name"])
    return found
