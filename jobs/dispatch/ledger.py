"""The ledger: submissions as numbered folders; how each array of one is sent stands in jobs.dispatch.chunks.

A submission's folder is complete before it gets its number. Nothing here is changed afterwards:
what happens to a task is added as a file of its own, or as a line of the local queue.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from jobs import files, identity, processes
from jobs.dispatch import chunks
from jobs.dispatch.chunks import Chunk
from jobs.errors import CorruptFile, EnvironmentFault
from jobs.layout import RunRoot, SubmissionFiles
from jobs.processes import Process

if TYPE_CHECKING:
    from jobs.planning.request import JobRequest, Task

Cluster = Literal["slurm", "local", "debug"]
Standing = Literal["given_up", "sending", "waiting", "doubtful"]
"""Of what is not known to be sent: it never will be; somebody is at it; anybody may send it; it may
have been sent by somebody who died before putting that on record."""

STALE_INTENT_S = 600.0
"""Age at which the intent of another host's launcher no longer counts as live."""

_ABSENT = (FileNotFoundError, NotADirectoryError)


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

    def standing(self, chunk: Chunk, now: float) -> Standing:
        """How a chunk stands whose job is not on record."""
        last = chunk.last
        if chunk.refused:
            return "given_up"
        if chunk.tries == 0:
            # a limit stops a launcher, which may live on and watch
            free = self.launcher == processes.this() or any(one.limited for one in self.chunks)
            return "waiting" if free or _gone(self.launcher, self.at, now) else "sending"
        if last is None or last.over or last.sender is None or last.intended is None:
            return "waiting"
        if not _gone(last.sender, last.intended, now):
            return "sending"
        return "waiting" if last.decided is None else "doubtful"

    def unsent(self, chunk: Chunk) -> list[int]:
        """Tasks of a chunk without a job that are still to be sent."""
        return [t for t in chunk.tasks if t not in self.cancelled and t not in self.skipped]

    @property
    def job_ids(self) -> frozenset[str]:
        """Its arrays that are on record."""
        return frozenset(chunk.job_id for chunk in self.chunks if chunk.job_id)

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


def _gone(process: Process, since: float, now: float) -> bool:
    """Whether whoever began to send something is at it no more."""
    alive = processes.alive(process)
    return alive is False or (alive is None and now - since >= STALE_INTENT_S)


def numbers(root: RunRoot) -> list[int]:
    """Numbers of all submissions, ascending."""
    try:
        found = os.listdir(root.submissions)
    except _ABSENT:
        return []
    return sorted(int(name) for name in found if re.fullmatch(r"\d{6,}", name))


def closed(root: RunRoot) -> frozenset[int]:
    """Numbers of submissions that are known to hold nothing any more."""
    return frozenset(next(files.read_lines(root.closed), {}).get("closed", ()))


def job_prefix(root: RunRoot) -> str:
    """Prefix of the scheduler's job names, different for each run root."""
    return f"spikegrid-{identity.short_hash(str(root.path.resolve()))[:6]}"


def publish(
    root: RunRoot,
    manifest_text: str,
    header: dict[str, Any],
    tasks: Sequence[Task],
    request: Callable[[int], Sequence[JobRequest]],
    hold: bytes | None = None,
) -> SubmissionFiles:
    """Write a whole submission and give it the next free number.

    Args:
        root: the run root; its submissions folder is made if absent.
        manifest_text: the manifest as it was read.
        header: manifest name, cluster, code, python and data, for plan.json.
        tasks: what to run.
        request: from the submission's number to its job requests, whose names hold it.
        hold: content of a hold that it is born with (`jobs.dispatch.holds`).

    Raises:
        CorruptFile: one that cannot be read may hold the same cells.
    """
    for other in set(numbers(root)) - closed(root):
        read(root, other)
    root.submissions.mkdir(parents=True, exist_ok=True)
    building = SubmissionFiles(root.submissions / f"{files.TEMPORARY}{files.token()}")
    building.skipped.mkdir(parents=True)
    building.submitit.mkdir(mode=0o700)
    try:
        files.replace(building.manifest, manifest_text.encode())
        lines = [_task_line(task) for task in tasks]
        files.replace(building.array, b"".join(lines))
        if hold is not None:
            files.replace(building.held(1), hold)
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
    listed = [
        {
            "chunk": request.chunk,
            "name": request.name,
            "tasks": list(request.tasks),
            "resources": identity.plain(request.resources),
            "generation": request.generation,
            "after": list(request.after),
            "parameters": request.parameters,
        }
        for request in made
    ]
    cells = {order["training_id"]: task.index for task in tasks for order in task.cells}
    launcher = asdict(processes.this())
    return {"schema_version": 1, **header, "launcher": launcher, "chunks": listed, "cells": cells}


def read(root: RunRoot, number: int) -> Submission:
    """One submission.

    Raises:
        CorruptFile: if its files are not those of a submission.
        EnvironmentFault: if the filesystem does not show them now.
    """
    paths = root.submission(number)
    try:
        plan = files.read_json(paths.plan)
        skipped = _skipped(paths)
        return Submission(
            number=number,
            manifest=plan["manifest"],
            cluster=plan["cluster"],
            at=plan["at"],
            launcher=Process.of(plan["launcher"]),
            cells=plan["cells"],
            chunks=tuple(chunks.read(paths, plan["chunks"], skipped)),
            parameters=plan,
            cancelled=_cancelled(paths, plan["chunks"]),
            skipped=skipped,
            local=_local(paths),
        )
    except (*_ABSENT, CorruptFile, KeyError, TypeError, ValueError) as error:
        why = "plan.json does not parse" if isinstance(error, CorruptFile) else repr(error)
        raise CorruptFile(f"{paths.folder}: not a submission ({why}); move it away") from error
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or paths.folder}: cannot be read ({error.strerror}), "
            "so nobody knows what its jobs hold; try again"
        ) from error


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
        elif line["event"] == "again":
            found.pop(task, None)
        elif task in found:
            started = found[task]
            found[task] = LocalTask(process=started.process, ended=True, devices=started.devices)
    return found


def latest(root: RunRoot, manifest: str) -> Submission | None:
    """The newest submission of a manifest to SLURM or to a queue, not to the foreground."""
    for number in reversed(numbers(root)):
        with contextlib.suppress(CorruptFile):
            submission = read(root, number)
            if submission.manifest == manifest and submission.cluster != "debug":
                return submission
    return None


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


def again(paths: SubmissionFiles, task: int, at: float) -> None:
    """Put on record that a task on this machine has ended, and waits to be started again."""
    files.append(paths.local, {"event": "again", "task": task, "at": at})


def task_line(paths: SubmissionFiles, task: int) -> dict[str, Any]:
    """The line of array.jsonl of one task, read without parsing the others."""
    with paths.array.open("rb") as file:
        for index, line in enumerate(file):
            if index == task:
                data: dict[str, Any] = json.loads(line)
                return data
    raise IndexError(f"{paths.array}: no task {task}")
