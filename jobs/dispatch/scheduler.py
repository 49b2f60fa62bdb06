"""One honest answer from SLURM: a squeue, a sacct where there is accounting, and nothing guessed.

The controller alone knows what is live, so squeue decides that; sacct only adds how a job ended
that the controller has forgotten. If squeue does not answer, nothing may be concluded.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from jobs.dispatch.slurm_text import (
    ASSOCIATIONS,
    CONFIG,
    QOS,
    SACCT,
    SQUEUE,
    VARIABLES,
    JobAnswer,
    Limits,
    base_id,
    parse_associations,
    parse_limits,
    parse_qos,
    parse_sacct,
    parse_squeue,
)

if TYPE_CHECKING:
    import subprocess

__all__ = ["Answer", "JobAnswer", "Limits", "Reply", "ask", "command", "complete", "kill", "silent"]

TIMEOUT_S = 10.0
TRIES = 2

_BY_NAME = ("--starttime=now-30days",)
"""Without ids, sacct tells of today alone."""
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
        origin: which SLURM was asked (`jobs.dispatch.answers.origin`).
    """

    asked_at: float
    reachable: bool
    source: tuple[str, ...]
    jobs: Mapping[str, JobAnswer]
    limits: Limits
    message: str = ""
    asked: frozenset[str] = field(default=frozenset(), repr=False)
    origin: str = ""

    def covers(self, job_id: str) -> bool:
        """Whether it was asked after the sbatch that made a job or an array, whatever clocks say."""
        return job_id in self.asked or job_id in self.jobs or job_id in self._tasks

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

    def submitted(self, job_id: str) -> float:
        """Unix time at which a job or the first known task of an array was sent; or for ever."""
        tasks = [job_id] if job_id in self.jobs else self._tasks.get(job_id, [])
        return next((t for task in tasks if (t := self.jobs[task].submitted)), math.inf)

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
    import subprocess  # those who only look seldom ask

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
            kill(process)
            return Reply(None, "", f"{argv[0]} did not answer within {timeout_s:g} s")
        except BaseException:
            kill(process)
            raise
    last = (err.strip().splitlines() or [""])[-1]
    return Reply(process.returncode, out, last)


def kill(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a command and all that it started; it must lead a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def ask(
    *,
    job_ids: Collection[str],
    now: float,
    run: Run = command,
    limits: Limits | None = None,
    names: Collection[str] = (),
) -> Answer:
    """Ask once: one squeue, and one sacct about what squeue does not know.

    Args:
        job_ids: of jobs, array tasks or whole arrays ("123" stands for all its tasks).
        now: unix time.
        run: how commands are run.
        limits: those of an earlier answer; asked if None.
        names: of jobs whose ids are not known; one more sacct if squeue does not know them.
    """
    jobs, complaint = _asked_twice(run, SQUEUE, parse_squeue)
    if jobs is None:
        message = f"the scheduler did not answer: {complaint}"
        return silent(message, now, limits)
    limits = _limits(run, now) if limits is None else limits
    answer = Answer(now, reachable=True, source=("squeue",), jobs=jobs, limits=limits)
    return complete(answer, job_ids=job_ids, names=names, run=run)


def cluster(run: Run = command) -> str:
    """Name of the cluster that sbatch sends to from here; empty if SLURM does not tell."""
    reply = run(CONFIG)
    return parse_limits(reply.out, 0.0).cluster if reply.code == 0 else ""


def complete(
    answer: Answer,
    *,
    job_ids: Collection[str] = (),
    names: Collection[str] = (),
    run: Run = command,
) -> Answer:
    """Add how more jobs ended that the controller has forgotten: a sacct each for ids and names."""
    absent = sorted({base_id(i) for i in job_ids if i not in answer.jobs}, key=_by_number)
    unnamed = sorted({*names} - {job.name for job in answer.jobs.values()})
    jobs, source, messages = dict(answer.jobs), {*answer.source}, [answer.message]
    for options, wanted in (((), absent), (_BY_NAME, unnamed)):
        if not answer.limits.accounting or not wanted:
            continue
        rows, complaint = _forgotten(run, wanted, options)
        if rows is None:
            messages.append(f"sacct did not answer: {complaint}")
        else:
            source.add("sacct")
            jobs = {**rows, **jobs}
    return replace(
        answer,
        source=tuple(name for name in ("squeue", "sacct") if name in source),
        jobs=jobs,
        message="; ".join(filter(None, messages)),
        asked=answer.asked | frozenset(job_ids),
    )


def silent(message: str, now: float, limits: Limits | None) -> Answer:
    """No answer, from which nothing may be concluded."""
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


def _limits(run: Run, now: float) -> Limits:
    """What the cluster allows; what it does not tell counts as unlimited."""
    reply = run(CONFIG)
    if reply.code != 0:
        return Limits()
    limits = parse_limits(reply.out, now)
    if not (limits.accounting and limits.enforced):
        return limits
    import getpass  # only who asks SLURM needs it

    own = (f"user={getpass.getuser()}", f"cluster={limits.cluster}")
    associations, qos = run([*ASSOCIATIONS, *own]), run(QOS)
    jobs, usual = parse_associations(associations.out if associations.code == 0 else "")
    return replace(
        limits,
        account_jobs=jobs,
        account_qos=usual,
        qos_jobs=parse_qos(qos.out if qos.code == 0 else ""),
    )


def _forgotten(
    run: Run, wanted: Sequence[str], by_name: Sequence[str]
) -> tuple[dict[str, JobAnswer] | None, str]:
    """How jobs ended of which the controller has no record, or None and a complaint.

    The database may call a job running for ever after a crash of the controller; without a record
    of the controller it does not run.

    Args:
        run: how commands are run.
        wanted: ids of jobs.
        by_name: more options if they are names.
    """
    key = "name" if by_name else "jobs"
    found: dict[str, JobAnswer] = {}
    for start in range(0, len(wanted), _IDS_PER_CALL):
        which = ",".join(wanted[start : start + _IDS_PER_CALL])
        rows, complaint = _asked_twice(run, [*SACCT, *by_name, f"--{key}={which}"], parse_sacct)
        if rows is None:
            return None, complaint
        found |= rows
    return {job_id: _gone(job) if job.live else job for job_id, job in found.items()}, ""


def _gone(job: JobAnswer) -> JobAnswer:
    reason = f"accounting says {job.state}, but the controller has no such job"
    return replace(job, state="unknown", live=False, reason=reason)


def _by_number(job_id: str) -> tuple[int, str]:
    return (int(job_id) if job_id.isdecimal() else 0, job_id)
