"""What launchers and the local queue write, one operation at a time, on a small run root."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import attempts, files, identity, processes
from jobs.dispatch import answers, chunks, holds, ledger, liveness, sending, snapshot, unclaimed
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.slurm_text import JobAnswer, Limits
from jobs.layout import CellFiles, RunRoot
from tests.examples import cell, finish, submission

ONE, DONE = cell(0), cell(1)
"""What operations are about; what was finished before."""
CELLS = [ONE, DONE]
NOW = 1000.0


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that is written.

    Attributes:
        name: for people.
        before: makes what must be there, once.
        act: writes; it may be repeated.
        seen: what readers find of it afterwards.
    """

    name: str
    before: Callable[[RunRoot], object]
    act: Callable[[RunRoot], object]
    seen: Callable[[RunRoot], object]


def base(root: RunRoot) -> None:
    """A training that is finished, with the submission that made it."""
    submission(root, CELLS, "local")
    paths = root.cell(DONE.training_id)
    spec = identity.canonical(DONE.training).encode()
    number = attempts.claim(paths, claim(DONE.label, 1), spec)
    finish(root, DONE)
    files.replace(paths.training, files.dumps(training(DONE.training_id, DONE.label)))
    attempts.end(paths.attempt(number), "completed", "", step=4, seconds=1.0, ended=NOW)


def claim(label: str, task: int) -> dict[str, Any]:
    job = {"submission": 1, "task": task, "job_id": "7", "job_name": "job-1", "claimed": NOW}
    return {"label": label, "code": "c0de", "attacks": [], **job}


def training(training_id: str, label: str) -> dict[str, Any]:
    measured = {"attempt": 1, "codes": ["c0de"], "promise": "bitwise"}
    head = {"schema_version": 1, "training_id": training_id, "label": label}
    done = {"model_sha256": "0" * 64, "checkpoint": "final.a0001", "epochs": 2, "steps": 4}
    return {**head, **done, "history": [], "measured": measured}


def nothing(root: RunRoot) -> None:
    del root


def one(root: RunRoot) -> CellFiles:
    return root.cell(ONE.training_id)


def claimed(root: RunRoot) -> None:
    attempts.claim(one(root), claim(ONE.label, 0), identity.canonical(ONE.training).encode())


def _publish(root: RunRoot) -> None:
    submission(root, [ONE], "local")


def _published(root: RunRoot) -> Any:
    """The newest submission; one that a killed launcher left counts for nothing."""
    last = ledger.read(root, ledger.numbers(root)[-1])
    return last.cells, ledger.task_line(root.submission(last.number), 0)["cells"][0]["label"]


def _told(root: RunRoot) -> Any:
    found = ledger.read(root, 1)
    tried = [(c.tasks, c.job_id, c.refused, c.tries) for c in found.chunks]
    ended = {task: one.ended for task, one in found.local.items()}
    return tried, found.cancelled, dict(found.skipped), ended


def _intended(root: RunRoot) -> None:
    chunks.intend(root.submission(1), 0, NOW, tasks=[0, 1])


def _decided(root: RunRoot) -> None:
    _intended(root)
    chunks.decide(root.submission(1), 0, NOW, number=0, void=False)


def _started(root: RunRoot) -> None:
    ledger.started(root.submission(1), 0, processes.Process("h", 1, 1, "b"), "", NOW)


def _again(root: RunRoot) -> None:
    _started(root)
    ledger.again(root.submission(1), 0, NOW)
    _started(root)


def _in_force(root: RunRoot) -> Any:
    return [hold.reason for hold in holds.in_force(root.submission(1))]


def _held(root: RunRoot) -> None:
    if not holds.in_force(root.submission(1)):
        holds.create(root.submission(1), "5 cells failed alike", NOW)


def _died(root: RunRoot) -> None:
    death = unclaimed.of_local_job(root.submission(1), 0, "9", [ONE.training_id], "h")
    if not unclaimed.read(root.submission(1)):
        unclaimed.record(root.submission(1), [death], NOW)


def _answer() -> Answer:
    job = JobAnswer("7", "job-1", "running", True, "n1", "", "0:0", NOW)
    return Answer(NOW, reachable=True, source=("squeue",), jobs={"7": job}, limits=Limits())


def _asked(root: RunRoot) -> None:
    answers._save(root.cache, _answer())


def _closed(root: RunRoot) -> None:
    liveness.close(root, [ledger.read(root, 1)], None, NOW)


def _checkout(root: RunRoot) -> Path:
    found = root.path.parent / "checkout"
    (found / "jobs").mkdir(parents=True, exist_ok=True)
    for name in ("one", "two"):
        (found / "jobs" / f"{name}.py").write_text(f"{name} = 1\n")
    return found


def _code(root: RunRoot) -> None:
    snapshot.take(root, _checkout(root))


def _copied(root: RunRoot) -> Any:
    found = [path for path in root.code.iterdir() if not path.name.startswith(".")]
    return {path.name: len(list(path.rglob("*.py"))) for path in found}


def _file(root: RunRoot) -> Path:
    return root.path / "file"


def _building(root: RunRoot) -> None:
    (root.path / "building").mkdir()
    (root.path / "building" / "file").write_bytes(b"new")


def _named(root: RunRoot) -> None:
    if (root.path / "building").exists():
        files.publish(root.path / "building", root.path / "published")


def _moved(root: RunRoot) -> None:
    files.move(_file(root), root.path / "moved")


def _text(name: str) -> Callable[[RunRoot], object]:
    return lambda root: (root.path / name).read_bytes()


def _lines(root: RunRoot) -> Any:
    return {line["n"] for line in files.read_lines(_file(root))}


def _write(path: str, data: bytes) -> Callable[[RunRoot], object]:
    return lambda root: (root.path / path).write_bytes(data)


OF_LAUNCHERS = [
    Operation(
        name="files.create",
        before=nothing,
        act=lambda root: files.create(_file(root), b"new"),
        seen=_text("file"),
    ),
    Operation(
        name="files.replace",
        before=_write("file", b"old"),
        act=lambda root: files.replace(_file(root), b"new"),
        seen=_text("file"),
    ),
    Operation(
        name="files.append",
        before=_write("file", b'{"n":1}\n'),
        act=lambda root: files.append(_file(root), {"n": 2}),
        seen=_lines,
    ),
    Operation(
        name="files.extend",
        before=_write("file", b'{"n":1}\n'),
        act=lambda root: files.extend(_file(root), b'{"n":2}\n{"n":3}\n'),
        seen=_lines,
    ),
    Operation(name="files.publish", before=_building, act=_named, seen=_text("published/file")),
    Operation(name="files.move", before=_write("file", b"old"), act=_moved, seen=_text("moved")),
    Operation(name="prepare", before=nothing, act=sending.prepare, seen=_text("format.json")),
    Operation(name="publish", before=nothing, act=_publish, seen=_published),
    Operation(name="intend", before=nothing, act=_intended, seen=_told),
    Operation(
        name="decide",
        before=_intended,
        act=lambda root: chunks.decide(root.submission(1), 0, NOW, number=0, void=False),
        seen=_told,
    ),
    Operation(
        name="sent",
        before=_decided,
        act=lambda root: chunks.sent(root.submission(1), 0, "77", [0, 1], NOW),
        seen=_told,
    ),
    Operation(
        name="refused",
        before=_decided,
        act=lambda root: chunks.refused(root.submission(1), 0, "no", NOW),
        seen=_told,
    ),
    Operation(
        name="cancel",
        before=_intended,
        act=lambda root: ledger.cancel(root.submission(1), [0, 1], NOW),
        seen=_told,
    ),
    Operation(
        name="skip",
        before=_intended,
        act=lambda root: ledger.skip(root.submission(1), 0, "its parent is not trained"),
        seen=_told,
    ),
    Operation(name="start", before=_intended, act=_started, seen=_told),
    Operation(name="start again", before=_intended, act=_again, seen=_told),
    Operation(name="hold", before=_intended, act=_held, seen=_in_force),
    Operation(
        name="release",
        before=_held,
        act=lambda root: holds.release(root.submission(1), NOW),
        seen=_in_force,
    ),
    Operation(
        name="death",
        before=_intended,
        act=_died,
        seen=lambda root: [death.cells for death in unclaimed.read(root.submission(1))],
    ),
    Operation(
        name="scheduler's answer",
        before=nothing,
        act=_asked,
        seen=lambda root: answers.saved(root.cache),
    ),
    Operation(name="close", before=_intended, act=_closed, seen=ledger.closed),
    Operation(name="snapshot", before=_checkout, act=_code, seen=_copied),
]
