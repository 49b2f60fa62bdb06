"""What a cluster does to jobs, in words: its limits, and what happens to a job that must go."""

import re
import shutil
import time
from collections.abc import Iterator, Mapping

from jobs.dispatch import scheduler
from jobs.dispatch.slurm_text import CONFIG, Limits
from jobs.upkeep.diagnosis import Finding

PARTITIONS = ("scontrol", "show", "partition", "--oneliner")

_SHORT_KILL_S = 10
"""Less than this between TERM and KILL does not suffice to save a large network."""
_SHORT_UNKILLABLE_S = 60
"""A job that writes its checkpoint to a slow filesystem can take so long to die."""


def examine(env: Mapping[str, str]) -> Iterator[Finding]:
    """Ask the cluster of this machine, if there is one.

    Args:
        env: the environment of the process.
    """
    if shutil.which("sbatch", path=env.get("PATH")) is None:
        found = "no sbatch here; jobs run on this machine (--cluster local)"
        yield Finding("slurm", "ok", found)
        return
    # any id will do: whether sacct answers is the question
    answer = scheduler.ask(job_ids=["1"], now=time.time())
    if not answer.reachable:
        # the packages alone, without a cluster, are no fault of this machine
        alone = "configuration source" in answer.message
        way_out = "ask on a login node of the cluster, or use --cluster local"
        yield Finding("slurm", "warn" if alone else "fail", answer.message, way_out)
        return
    limits = answer.limits
    live = sum(job.live for job in answer.jobs.values())
    yield Finding(
        "slurm", "ok", f"SLURM {limits.version}; you have {live:,} jobs queued or running"
    )
    yield _limits(limits)
    yield _queued(limits, live)
    settings = _settings(scheduler.command(CONFIG).out)
    graces = _graces(scheduler.command(PARTITIONS).out)
    yield _preemption(limits, graces)
    yield _requeue(limits)
    yield from _stubborn(settings)
    yield _accounting(limits, answered="sacct" in answer.source, message=answer.message)


def _settings(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _graces(text: str) -> dict[str, int]:
    """Partition → seconds that a preempted job has before SLURM's TERM, where it has any."""
    found = {}
    for line in text.splitlines():
        name = re.search(r"\bPartitionName=(\S+)", line)
        grace = re.search(r"\bGraceTime=(\d+)", line)
        if name and grace and int(grace[1]):
            found[name[1]] = int(grace[1])
    return found


def _limits(limits: Limits) -> Finding:
    found = (
        f"{limits.max_array_size:,} jobs fit into one array (MaxArraySize), {limits.max_job_count:,} "
        "jobs of all users into the cluster (MaxJobCount); longer submissions are cut into arrays"
    )
    return Finding("slurm limits", "ok", found)


def _queued(limits: Limits, live: int) -> Finding:
    """How many jobs a user may queue (MaxSubmit of accounts and QOS)."""
    bound = limits.most_queued(None, None)
    if bound is None:
        found = "no limit on your queued jobs is known (MaxSubmitJobs)"
        return Finding("slurm queue", "ok", found)
    most, whose = bound
    found = f"{whose} allows you {most:,} queued jobs (MaxSubmitJobs), of which {live:,} are taken"
    if live < most:
        return Finding("slurm queue", "ok", f"{found}; what does not fit is sent later")
    return Finding("slurm queue", "warn", found, "nothing can be sent before some have ended")


def _preemption(limits: Limits, graces: Mapping[str, int]) -> Finding:
    kill = f"a stopped job has {limits.kill_wait_s} s to save (KillWait)"
    if graces:
        listed = ", ".join(f"{seconds} s in {name}" for name, seconds in sorted(graces.items()))
        kill += f", after a warning of {listed} (GraceTime)"
    mode = limits.preempt_mode.upper()
    short = limits.kill_wait_s < _SHORT_KILL_S and not graces
    way_out = "cells go on from their last checkpoint, which is seconds old; nothing to do"
    if "REQUEUE" in mode:
        found = f"jobs with higher priority stop yours; SLURM queues yours again; {kill}"
        if short:
            return Finding("slurm preemption", "warn", found, way_out)
        return Finding("slurm preemption", "ok", found)
    if "CANCEL" in mode:
        found = f"jobs with higher priority cancel yours; {kill}"
        way_out = "after a preemption run `resume`: cells go on from their checkpoints"
        return Finding("slurm preemption", "warn", found, way_out)
    found = f"running jobs are not stopped for others; at the time limit, {kill}"
    if short:
        return Finding("slurm preemption", "warn", found, way_out)
    return Finding("slurm preemption", "ok", found)


def _requeue(limits: Limits) -> Finding:
    if limits.requeue:
        return Finding("slurm requeue", "ok", "a job whose node fails starts again by itself")
    found = "a job whose node fails does not start again by itself (JobRequeue=0)"
    return Finding("slurm requeue", "warn", found, "run `resume` after a failure of a node")


def _stubborn(settings: Mapping[str, str]) -> Iterator[Finding]:
    """A node is drained if a job cannot be killed in time, e.g. while it waits for a disk."""
    match = re.match(r"\d+", settings.get("UnkillableStepTimeout", ""))
    if match and 0 < int(match[0]) < _SHORT_UNKILLABLE_S:
        found = (
            f"a node is taken out of service if a job needs more than {match[0]} s to die "
            "(UnkillableStepTimeout), e.g. while it writes to a slow filesystem"
        )
        way_out = f"ask the site's administrators for {_SHORT_UNKILLABLE_S} s or more"
        yield Finding("slurm kill", "warn", found, way_out)


def _accounting(limits: Limits, *, answered: bool, message: str) -> Finding:
    if answered:
        found = "sacct answers: how a job ended is known for as long as the site keeps it"
        return Finding("slurm accounting", "ok", found)
    minutes = limits.min_job_age_s / 60
    if limits.accounting:
        way_out = "tell the site's administrators; spikegrid goes on with squeue and its own files"
        return Finding("slurm accounting", "warn", message, way_out)
    found = (
        f"this cluster keeps none: how a job was killed is known for {minutes:g} min after its end "
        "(MinJobAge); results do not depend on it"
    )
    return Finding("slurm accounting", "ok", found)
