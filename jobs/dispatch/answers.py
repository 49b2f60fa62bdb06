"""The scheduler's last answer, kept: one question serves all run roots of a user for a while.

A user's copy lies in the user's cache folder, under the name of the cluster; a run root's own copy
also remembers how its jobs ended. Both are derived and may be deleted.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jobs import files, identity, processes
from jobs.dispatch import scheduler
from jobs.dispatch.scheduler import Answer, Run, command
from jobs.dispatch.slurm_text import JobAnswer, Limits, base_id
from jobs.errors import CorruptFile
from jobs.layout import RunRoot

LIMITS_AGE_S = 3600.0
"""For so long the limits of a cluster are not asked again."""

_VERSION = 1
_NAME = "scheduler.json"
_CONFIGURATIONS = ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf")


def shared(env: Mapping[str, str]) -> Path | None:
    """Where this user's answers of this cluster lie, whatever the run root; None without a home."""
    home = env.get("XDG_CACHE_HOME") or (f"{env['HOME']}/.cache" if env.get("HOME") else "")
    return Path(home) / "spikegrid" / origin(env) if home else None


def origin(env: Mapping[str, str]) -> str:
    """Which SLURM is asked in an environment, as a hash: two clusters can share a home.

    That is what squeue stands for, with its configuration; where none can be read, the host stands
    for it.
    """
    squeue = shutil.which("squeue", path=env.get("PATH")) or ""
    cluster = processes.host()
    for path in filter(None, (env.get("SLURM_CONF"), *_CONFIGURATIONS)):
        with contextlib.suppress(OSError):
            text = Path(path).read_text(errors="replace")
            named = re.findall(
                r"^\s*(?:ClusterName|SlurmctldHost)\s*=.*$", text, re.MULTILINE | re.I
            )
            cluster = "\n".join([path, *named])
            break
    return identity.short_hash(f"{squeue}\n{cluster}")


def cluster(folder: Path) -> str:
    """Name of the cluster that sbatch sends to from here; empty if it is not known.

    Args:
        folder: cache folder of a run root, whose last answer may tell it.
    """
    common = shared(os.environ)
    for last in (saved(folder), saved(common) if common else None):
        if last is not None and last.origin == origin(os.environ) and last.limits.asked_at:
            return last.limits.cluster
    return scheduler.cluster()


def cached(
    folder: Path,
    *,
    job_ids: Collection[str],
    now: float,
    max_age: float,
    run: Run = command,
    common: Path | None = None,
) -> Answer:
    """The saved answer if it is young and covers these ids, else a new one, which is saved.

    How a job ended is kept while somebody asks about it, since the controller forgets it after
    some minutes and not every site has accounting. A reader of another user's run root asks
    nothing: squeue would tell of the reader's own jobs only.

    Args:
        folder: cache folder of a run root; made if the run root is there.
        job_ids: as for `scheduler.ask`.
        now: unix time.
        max_age: seconds; 0 always asks.
        run: how commands are run.
        common: folder of the answers that all run roots of this user share (`shared`).
    """
    here = origin(os.environ)
    before = saved(folder)
    own = before if before is not None and before.origin == here else None
    if own is not None and _young(own, now, max_age) and own.asked >= {*job_ids}:
        return own
    if not sends(folder):
        message = "this run root is another user's: only its owner's commands ask the scheduler"
        return replace(before, message=message) if before else scheduler.silent(message, now, None)
    others = saved(common) if common else None
    if others is not None and _young(others, now, max_age) and all(map(others.covers, job_ids)):
        answer = scheduler.complete(others, job_ids={*job_ids} - others.asked, run=run)
    else:
        limits = _limits(now, own, others)
        answer = scheduler.ask(job_ids=job_ids, now=now, run=run, limits=limits)
        answer = replace(answer, origin=here)
        if answer.reachable and common:
            _save(common, answer, parents=True)
    if not answer.reachable:
        return answer
    if before is not None:
        answer = replace(answer, jobs={**_remembered(before, answer.asked), **answer.jobs})
    _save(folder, answer)
    return answer


def _young(answer: Answer, now: float, max_age: float) -> bool:
    return 0 <= now - answer.asked_at < max_age


def _limits(now: float, *answers: Answer | None) -> Limits | None:
    """Limits that need not be asked again."""
    known = [a.limits for a in answers if a and 0 <= now - a.limits.asked_at < LIMITS_AGE_S]
    return max(known, key=lambda limits: limits.asked_at, default=None)


def _save(folder: Path, answer: Answer, *, parents: bool = False) -> None:
    with contextlib.suppress(OSError):  # a full disk must not hide the answer
        folder.mkdir(parents=parents, exist_ok=True)
        files.replace(folder / _NAME, _encode(answer))


def sends(folder: Path) -> bool:
    """Whether this user sends the jobs of a run root, and so can ask for them and write.

    Administrators and members of a group may write where another user sends.

    Args:
        folder: cache folder of the run root.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        owner = RunRoot(folder.parent).submissions.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        owner = os.getuid()  # nothing was sent yet
    return owner == os.getuid() and os.access(place, os.W_OK)


def keeps(folder: Path) -> bool:
    """Whether there is a cache folder that this user keeps up to date."""
    return folder.is_dir() and sends(folder)


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
        "origin": answer.origin,
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
        origin=data.get("origin", ""),
    )
