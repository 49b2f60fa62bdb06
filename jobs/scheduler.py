"""One honest answer from SLURM: a squeue, a sacct where there is accounting, and nothing guessed.

The controller alone knows what is live, so squeue decides that; sacct only adds how a job ended
that the controller has forgotten. If squeue does not answer, nothing may be concluded.
"""

import contextlib
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs import files
from jobs.errors import CorruptFile
from jobs.slurm_text import (
    CONFIG,
    SACCT,
    SQUEUE,
    VARIABLES,
    JobAnswer,
    Limits,
    base_id,
    parse_limits,
    parse_sacct,
    parse_squeue,
)

__all__ = ["Answer", "JobAnswer", "Limits", "Reply", "ask", "cached", "command", "saved"]

TIMEOUT_S = 10.0
TRIES = 2
LIMITS_AGE_S = 3600.0
"""For so long the limits of a cluster are not asked again."""

_VERSION = 1
_NAME = "scheduler.json"
_IDS_PER_CALL = 8_000  # the kernel takes 128 KiB in one argument
_SCRUBBED = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SRUN_", "SINFO_", "SCONTROL_")


@dataclass(frozen=True)
class Reply:
    """What a command did.

    Attributes:
        code: exit status; None if it is not installed or had to be killed.
        out: standard output.
        complaint: the last line of standard error, or why there is no exit status.
    """

    code: int | None
    out: str
    complaint: str


Run = Callable[[Sequence[str]], Reply]


@dataclass(frozen=True)
class Answer:
    """What the scheduler said at one moment.

    Attributes:
        asked_at: unix time.
        reachable: squeue answered; if not, no job may be taken for ended.
        source: the commands that answered.
        jobs: by id, array tasks one by one.
        limits: of the cluster.
        message: what went wrong, for people; empty if nothing did.
        asked: ids of jobs and arrays that the question was about.
    """

    asked_at: float
    reachable: bool
    source: tuple[str, ...]
    jobs: Mapping[str, JobAnswer]
    limits: Limits
    message: str = ""
    asked: frozenset[str] = field(default=frozenset(), repr=False)

    def lookup(self, job_id: str, name: str | None = None) -> JobAnswer | None:
        """What is known of a job; None for another job that has its id now.

        Args:
            job_id: of a job or an array task.
            name: the name it was sent with.
        """
        job = self.jobs.get(job_id)
        return None if job is None or name not in {None, job.name} else job

    def named(self, name: str) -> list[str]:
        """Ids of the jobs and arrays with a name, oldest first."""
        return list(self._names.get(name, {}))

    def is_live(
        self, job_id: str, name: str | None = None, *, sent_at: float | None = None
    ) -> bool | None:
        """Whether the controller has a live record of a job, or of any task of an array.

        Args:
            job_id: of a job, an array or an array task.
            name: the name it was sent with.
            sent_at: unix time at which sbatch was called; an older answer cannot know the job.

        Returns:
            None if this answer does not tell.
        """
        if not self.reachable or (sent_at is not None and sent_at >= self.asked_at):
            return None
        tasks = [job_id] if job_id in self.jobs else self._tasks.get(job_id, [])
        return any(job.live for task in tasks if (job := self.lookup(task, name)) is not None)

    @cached_property
    def _names(self) -> dict[str, dict[str, None]]:
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for job in sorted(self.jobs.values(), key=lambda job: job.submitted or 0.0):
            found[job.name][base_id(job.job_id)] = None
        return found

    @cached_property
    def _tasks(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for job_id in self.jobs:
            if "_" in job_id:
                found[base_id(job_id)].append(job_id)
        return found


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """An environment in which SLURM's commands print what the parsers expect.

    A user's SQUEUE_FORMAT, or the variables of a job that this process runs in, would change it.
    """
    kept = {k: v for k, v in given.items() if k == "SLURM_CONF" or not k.startswith(_SCRUBBED)}
    return {**kept, **VARIABLES}


def command(argv: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> Reply:
    """Run one of SLURM's commands; what outlives the timeout is killed with its children."""
    try:
        process = subprocess.Popen(
            argv,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # sites wrap squeue in scripts: their children must go too
        )
    except OSError as error:
        return Reply(None, "", f"{argv[0]}: {error.strerror}")
    with process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return Reply(None, "", f"{argv[0]} did not answer within {timeout_s:g} s")
        except BaseException:
            _kill(process)
            raise
    last = (err.strip().splitlines() or [""])[-1]
    return Reply(process.returncode, out, last)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def ask(
    *, job_ids: Collection[str], now: float, run: Run = command, limits: Limits | None = None
) -> Answer:
    """Ask once: one squeue, and one sacct about what squeue does not know.

    Args:
        job_ids: of jobs, array tasks or whole arrays ("123" stands for all its tasks).
        now: unix time.
        run: how commands are run.
        limits: those of an earlier answer; asked if None.
    """
    asked = frozenset(job_ids)
    jobs, complaint = _asked_twice(run, SQUEUE, parse_squeue)
    if jobs is None:
        message = f"the scheduler did not answer: {complaint}"
        return _silent(message, now, limits)
    source, messages = ["squeue"], []
    if limits is None:
        reply = run(CONFIG)
        limits = parse_limits(reply.out, now) if reply.code == 0 else Limits()
    absent = {base_id(job_id) for job_id in asked if job_id not in jobs}
    if limits.accounting and absent:
        ended, complaint = _forgotten(run, sorted(absent, key=_by_number))
        if ended is None:
            messages.append(f"sacct did not answer: {complaint}")
        else:
            source.append("sacct")
            jobs = {**ended, **jobs}
    return Answer(
        asked_at=now,
        reachable=True,
        source=tuple(source),
        jobs=jobs,
        limits=limits,
        message="; ".join(messages),
        asked=asked,
    )


def _silent(message: str, now: float, limits: Limits | None) -> Answer:
    return Answer(
        asked_at=now,
        reachable=False,
        source=(),
        jobs={},
        limits=limits or Limits(),
        message=message,
    )


def _asked_twice(
    run: Run,
    argv: Sequence[str],
    parse: Callable[[str], dict[str, JobAnswer] | None],
) -> tuple[dict[str, JobAnswer] | None, str]:
    """The parsed answer, or None and the complaint of the last of two tries."""
    complaint = ""
    for _ in range(TRIES):
        reply = run(argv)
        found = parse(reply.out) if reply.code == 0 else None
        if found is not None:
            return found, ""
        complaint = reply.complaint or f"{argv[0]} printed nothing"
        if "Unable to contact" in complaint:  # the command itself has tried for seconds
            break
    return None, complaint


def _forgotten(run: Run, ids: Sequence[str]) -> tuple[dict[str, JobAnswer] | None, str]:
    """How jobs ended of which the controller has no record.

    The database may call a job running for ever after a crash of the controller; without a record
    of the controller it does not run.
    """
    found: dict[str, JobAnswer] = {}
    for start in range(0, len(ids), _IDS_PER_CALL):
        wanted = ",".join(ids[start : start + _IDS_PER_CALL])
        rows, complaint = _asked_twice(run, [*SACCT, f"--jobs={wanted}"], parse_sacct)
        if rows is None:
            return None, complaint
        found |= rows
    return {job_id: _gone(job) if job.live else job for job_id, job in found.items()}, ""


def _gone(job: JobAnswer) -> JobAnswer:
    reason = f"accounting says {job.state}, but the controller has no such job"
    return replace(job, state="unknown", live=False, reason=reason)


def _by_number(job_id: str) -> tuple[int, str]:
    return (int(job_id) if job_id.isdecimal() else 0, job_id)


def cached(
    folder: Path, *, job_ids: Collection[str], now: float, max_age: float, run: Run = command
) -> Answer:
    """The saved answer if it is young and covers these ids, else a new one, which is saved.

    How a job ended is kept while somebody asks about it, since the controller forgets it after
    some minutes and not every site has accounting. A reader who may not write the folder asks
    nothing: squeue would tell of the reader's own jobs only.

    Args:
        folder: cache folder of a run root; made if the run root is there.
        job_ids: as for `ask`.
        now: unix time.
        max_age: seconds; 0 always asks.
        run: how commands are run.
    """
    before = saved(folder)
    young = before is not None and 0 <= now - before.asked_at < max_age
    if before is not None and young and before.asked >= {*job_ids}:
        return before
    if not _may_write(folder):
        message = "this run root is another user's: only its owner's commands ask the scheduler"
        return replace(before, message=message) if before else _silent(message, now, None)
    known = before.limits if before and 0 <= now - before.limits.asked_at < LIMITS_AGE_S else None
    answer = ask(job_ids=job_ids, now=now, run=run, limits=known)
    if not answer.reachable:
        return answer
    if before is not None:
        answer = replace(answer, jobs={**_remembered(before, answer.asked), **answer.jobs})
    with contextlib.suppress(OSError):  # a full disk must not hide the answer
        folder.mkdir(exist_ok=True)
        files.replace(folder / _NAME, _encode(answer))
    return answer


def _may_write(folder: Path) -> bool:
    """Whether the folder, or the first above it that exists, is this user's to write."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(place, os.W_OK)


def _remembered(before: Answer, asked: Collection[str]) -> dict[str, JobAnswer]:
    """Ended jobs of an earlier answer that are asked about again."""
    return {
        job_id: job
        for job_id, job in before.jobs.items()
        if not job.live and (job_id in asked or base_id(job_id) in asked)
    }


def saved(folder: Path) -> Answer | None:
    """The last answer, of whatever age; None if there is none that reads well."""
    try:
        return _decode(files.read_json(folder / _NAME))
    except (OSError, CorruptFile, KeyError, TypeError, ValueError):
        return None


def _encode(answer: Answer) -> bytes:
    rows = [
        [j.job_id, j.name, j.state, j.live, j.nodes, j.reason, j.exit_code, j.submitted]
        for j in answer.jobs.values()
    ]
    head = {
        "schema_version": _VERSION,
        "asked_at": answer.asked_at,
        "source": answer.source,
        "message": answer.message,
        "asked": sorted(answer.asked),
        "limits": asdict(answer.limits),
    }
    return files.dumps({**head, "jobs": rows})


def _decode(data: dict[str, Any]) -> Answer:
    if data["schema_version"] != _VERSION:
        raise ValueError(f"schema version {data['schema_version']}")
    return Answer(
        asked_at=float(data["asked_at"]),
        reachable=True,
        source=tuple(data["source"]),
        jobs={row[0]: JobAnswer(*row) for row in data["jobs"]},
        limits=Limits(**data["limits"]),
        message=data["message"],
        asked=frozenset(data["asked"]),
    )
