"""The ledger: submissions as numbered folders, with an intent before sbatch and the id after.

A submission's folder is complete before it gets its number. Nothing here is changed afterwards:
what happens to a task is added as a file of its own, or as a line of the local queue.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jobs import files, identity, processes
from jobs.errors import CorruptFile
from jobs.layout import RunRoot, SubmissionFiles
from jobs.processes import Process
from jobs.request import JobRequest, Task

Cluster = Literal["slurm", "local", "debug"]
STALE_INTENT_S = 600.0
"""Age at which the intent of another host's launcher no longer counts as live."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One array of a submission.

    Attributes:
        tasks: lines of array.jsonl; the position is SLURM's array index.
        job_id: of the array, or None if its sending is not on record.
        intended: unix time of the intent; None if sending was not begun.
        refused: sbatch said no.
        sent: unix time at which sbatch had answered; 0 if that is not on record.
    """

    number: int
    name: str
    tasks: tuple[int, ...]
    job_id: str | None = None
    intended: float | None = None
    refused: bool = False
    sent: float = 0.0

    def position_job(self, position: int) -> str:
        """SLURM's id of the task at a position; submitit sends a single task without an array."""
        assert self.job_id is not None
        return f"{self.job_id}_{position}" if len(self.tasks) > 1 else self.job_id


@dataclass(frozen=True, kw_only=True)
class LocalTask:
    """What the local queue did with a task."""

    process: Process
    ended: bool
    devices: str


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One submission as its files tell it.

    Attributes:
        cells: training id → task.
        launcher: the process that sends, or sent, it.
        cancelled: tasks that the user cancelled.
        skipped: task → reason, for tasks that found they could not or need not run.
        local: task → what the local queue did.
    """

    number: int
    manifest: str
    cluster: Cluster
    at: float
    launcher: Process
    cells: Mapping[str, int]
    chunks: tuple[Chunk, ...]
    parameters: dict[str, Any]
    cancelled: frozenset[int] = frozenset()
    skipped: Mapping[int, str]
    local: Mapping[int, LocalTask]

    @property
    def tasks(self) -> list[int]:
        """All its tasks, in order."""
        return sorted({task for chunk in self.chunks for task in chunk.tasks})

    def startable(self, task: int) -> bool:
        """Whether the local queue may start a task that it has not started yet.

        Its launcher must have said so: before, it may still find that others hold the cells.
        """
        chunk = self.chunk_of(task)
        free = task not in self.cancelled and task not in self.skipped
        return free and chunk.intended is not None

    def chunk_of(self, task: int) -> Chunk:
        """The array that holds a task."""
        return next(chunk for chunk in self.chunks if task in chunk.tasks)


def numbers(root: RunRoot) -> list[int]:
    """Numbers of all submissions, ascending."""
    try:
        found = os.listdir(root.submissions)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name) for name in found if re.fullmatch(r"\d{6,}", name))


def job_prefix(root: RunRoot) -> str:
    """Prefix of the scheduler's job names, different for each run root."""
    return f"spikegrid-{identity.short_hash(str(root.path.resolve()))[:6]}"


def publish(
    root: RunRoot,
    manifest_text: str,
    header: dict[str, Any],
    tasks: Sequence[Task],
    request: Callable[[int], Sequence[JobRequest]],
) -> SubmissionFiles:
    """Write a whole submission and give it the next free number.

    Args:
        root: the run root; its submissions folder is made if absent.
        manifest_text: the manifest as it was read.
        header: manifest name, cluster, code, python and data, for plan.json.
        tasks: what to run.
        request: from the submission's number to its job requests, whose names hold it.
    """
    root.submissions.mkdir(parents=True, exist_ok=True)
    building = SubmissionFiles(root.submissions / f"{files.TEMPORARY}{secrets.token_hex(6)}")
    building.skipped.mkdir(parents=True)
    building.submitit.mkdir(mode=0o700)
    try:
        files.replace(building.manifest, manifest_text.encode())
        lines = [_task_line(task) for task in tasks]
        files.replace(building.array, b"".join(lines))
        number = (numbers(root) or [0])[-1] + 1
        while True:
            plan = _plan(header, tasks, request(number))
            files.replace(building.plan, files.dumps(plan))
            target = root.submission(number)
            if files.publish(building.folder, target.folder):
                return target
            number += 1
    except BaseException:
        shutil.rmtree(building.folder, ignore_errors=True)
        raise


def _task_line(task: Task) -> bytes:
    line = {"task": task.index, "cells": list(task.cells)}
    return files.dumps({**line, "resources": identity.plain(task.resources)})


def _plan(
    header: dict[str, Any], tasks: Sequence[Task], made: Sequence[JobRequest]
) -> dict[str, Any]:
    chunks = [
        {
            "chunk": request.chunk,
            "name": request.name,
            "tasks": list(request.tasks),
            "resources": identity.plain(request.resources),
            "generation": request.generation,
            "parameters": request.parameters,
        }
        for request in made
    ]
    cells = {order["training_id"]: task.index for task in tasks for order in task.cells}
    launcher = asdict(processes.this())
    return {"schema_version": 1, **header, "launcher": launcher, "chunks": chunks, "cells": cells}


def read(root: RunRoot, number: int) -> Submission:
    """One submission.

    Raises:
        CorruptFile: if its files are not those of a submission.
    """
    paths = root.submission(number)
    try:
        plan = files.read_json(paths.plan)
        return Submission(
            number=number,
            manifest=plan["manifest"],
            cluster=plan["cluster"],
            at=plan["at"],
            launcher=Process.of(plan["launcher"]),
            cells=plan["cells"],
            chunks=tuple(_chunk(paths, data) for data in plan["chunks"]),
            parameters=plan,
            cancelled=_cancelled(paths, plan["chunks"]),
            skipped=_skipped(paths),
            local=_local(paths),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{paths.folder}: not a submission ({error!r}); move it away") from error


def _chunk(paths: SubmissionFiles, data: dict[str, Any]) -> Chunk:
    number = data["chunk"]
    intent = next(files.read_lines(paths.intent(number)), None)
    sent = next(files.read_lines(paths.sent(number)), None)
    return Chunk(
        number=number,
        name=data["name"],
        tasks=tuple(sent["tasks"] if sent else data["tasks"]),
        job_id=sent["job_id"] if sent else None,
        intended=intent["at"] if intent else None,
        refused=paths.refused(number).exists(),
        sent=sent["at"] if sent else 0.0,
    )


def _cancelled(paths: SubmissionFiles, chunks: Sequence[dict[str, Any]]) -> frozenset[int]:
    if paths.cancel().exists():
        return frozenset(task for chunk in chunks for task in chunk["tasks"])
    return frozenset(
        int(path.stem.partition("-")[2]) for path in paths.folder.glob("cancel-*.json")
    )


def _skipped(paths: SubmissionFiles) -> dict[int, str]:
    found = {}
    for path in paths.skipped.glob("*.json"):
        for line in files.read_lines(path):
            found[int(path.stem)] = line["reason"]
    return found


def _local(paths: SubmissionFiles) -> dict[int, LocalTask]:
    found: dict[int, LocalTask] = {}
    for line in files.read_lines(paths.local):
        task = line["task"]
        if line["event"] == "start":
            process = Process.of(line["process"])
            found[task] = LocalTask(process=process, ended=False, devices=line["devices"])
        elif task in found:
            started = found[task]
            found[task] = LocalTask(process=started.process, ended=True, devices=started.devices)
    return found


def intend(paths: SubmissionFiles, chunk: int, at: float) -> bool:
    """Say that a chunk is about to be sent; False if somebody said so before."""
    line = {"at": at, **processes.this().data()}
    return files.create(paths.intent(chunk), files.dumps(line))


def refused(paths: SubmissionFiles, chunk: int, words: str, at: float) -> None:
    """Put on record that nothing of a chunk was sent."""
    files.create(paths.refused(chunk), files.dumps({"words": words, "at": at}))


def latest(root: RunRoot, manifest: str) -> Submission | None:
    """The newest submission of a manifest to SLURM or to a queue, not to the foreground."""
    for number in reversed(numbers(root)):
        with contextlib.suppress(CorruptFile):
            submission = read(root, number)
            if submission.manifest == manifest and submission.cluster != "debug":
                return submission
    return None


def sent(paths: SubmissionFiles, chunk: int, job_id: str, tasks: Sequence[int], at: float) -> None:
    """Put the job id of a chunk on record, and the tasks in the order of its array."""
    line = {"job_id": job_id, "at": at, "tasks": list(tasks)}
    files.create(paths.sent(chunk), files.dumps(line))


def cancel(paths: SubmissionFiles, tasks: Sequence[int] | None, at: float) -> None:
    """Say that some tasks of a submission are cancelled, or the whole of it (None)."""
    data = files.dumps({"at": at, **processes.this().data()})
    for path in [paths.cancel()] if tasks is None else [paths.cancel(task) for task in tasks]:
        files.create(path, data)


def skip(paths: SubmissionFiles, task: int, reason: str) -> None:
    """Say that a task ended without trying any cell."""
    files.create(paths.skipped / f"{task}.json", files.dumps({"reason": reason}))


def started(paths: SubmissionFiles, task: int, process: Process, devices: str, at: float) -> None:
    """Put on record that a task was started on this machine."""
    line = {"event": "start", "task": task, "at": at, "devices": devices}
    files.append(paths.local, {**line, "process": process.data()})


def ended(paths: SubmissionFiles, task: int, at: float) -> None:
    """Put on record that a task on this machine has ended."""
    files.append(paths.local, {"event": "end", "task": task, "at": at})


def task_line(paths: SubmissionFiles, task: int) -> dict[str, Any]:
    """The line of array.jsonl of one task, read without parsing the others."""
    with paths.array.open("rb") as file:
        for index, line in enumerate(file):
            if index == task:
                data: dict[str, Any] = json.loads(line)
                return data
    raise IndexError(f"{paths.array}: no task {task}")
