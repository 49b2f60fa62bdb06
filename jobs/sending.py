"""From a plan to sent jobs: describe, publish, send; and cancel.

`plan` stops after the describing, `submit` goes on; both use the same objects.
"""

import errno
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs import files, ledger, liveness, local, processes, snapshot
from jobs.cell import Manifest, Resources
from jobs.errors import EnvironmentFault, Refused, TryLater
from jobs.layout import FORMAT, RunRoot, SubmissionFiles
from jobs.ledger import Chunk, Cluster, Submission
from jobs.plan import SENT, Planned
from jobs.request import JobRequest, Task, requests, tasks, work_order
from jobs.scheduler import Answer
from jobs.site import Site
from jobs.situation import Situation, check_format


def unheard(text: str) -> None:
    """Logs that nobody watches."""
    del text


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user asks of `submit`.

    Attributes:
        cluster: where to.
        max_parallel: jobs of this submission at once.
        limit: cells to send at most.
        data: folder of data sets.
        python: interpreter on the nodes.
        echo: is given the logs of what runs in the foreground.
    """

    cluster: Cluster
    max_parallel: int | None = None
    limit: int | None = None
    data: str = ""
    python: str | None = None
    echo: Callable[[str], None] = unheard


def described(
    items: Sequence[Planned], site: Site, options: Options, answer: Answer | None
) -> tuple[list[Task], Callable[[str], list[JobRequest]]]:
    """What would be sent for planned cells: tasks, and requests once their names' prefix is known.

    Children come after their parents; otherwise seed-major, so that all curves appear early.
    """
    chosen = [item for item in items if item.action in SENT or item.follows]
    chosen.sort(key=_turn)
    made: list[Task] = []
    for generation, group in itertools.groupby(chosen[: options.limit], lambda i: i.follows):
        work = [(item.cell, work_order(item.cell, item.missing)) for item in group]
        made += tasks(work, first=len(made), generation=generation)
    shapes = {task.resources for task in made}
    profiles = {shape: site_parameters(site, shape, options) for shape in shapes}
    limits = [answer.limits.max_array_size] if answer and answer.limits.max_array_size else []
    limits += [p.max_array_size for p in map(_profile(site), shapes) if p.max_array_size]

    def request(prefix: str) -> list[JobRequest]:
        longest = min(limits, default=1000)
        return requests(made, name=prefix, max_array=longest, profile=profiles)

    return made, request


def _turn(item: Planned) -> tuple[int, bool, int, int]:
    cell = item.cell
    return item.follows, cell.number >= 0, cell.training.seed, cell.number


def _profile(site: Site) -> Callable[[Resources], Any]:
    return lambda shape: site.profile(shape.profile)


def site_parameters(site: Site, shape: Resources, options: Options) -> dict[str, Any]:
    """What the site adds to a job's shape, for submitit's SlurmExecutor."""
    found: dict[str, Any] = site.profile(shape.profile).parameters()
    if options.max_parallel is not None:
        found["array_parallelism"] = options.max_parallel
    return found


def prepare(root: RunRoot) -> None:
    """Make the run root if it is not there, and refuse one that this program cannot write.

    Raises:
        EnvironmentFault: it cannot be written.
        NewerLayout: it was written by a newer program.
    """
    check_format(root)
    try:
        for folder in (root.cells, root.submissions, root.code, root.cache):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        if not root.format.exists():
            files.create(root.format, files.dumps({"format": FORMAT}))
    except OSError as error:
        raise EnvironmentFault(
            f"{root.path}: cannot write here ({error.strerror}); "
            "choose another folder with --root or $SPIKEGRID_ROOT"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What `send` did.

    Attributes:
        paths: the submission.
        tasks: how many were sent.
        dropped: how many another submission had taken in the meantime.
        job_ids: of the arrays.
    """

    paths: SubmissionFiles
    tasks: int
    dropped: int
    job_ids: tuple[str, ...]


def send(
    root: RunRoot,
    manifest: Manifest,
    items: Sequence[Planned],
    seen: Situation,
    site: Site,
    options: Options,
) -> Sent | None:
    """Publish a submission and send its jobs; None if there is nothing to send.

    Raises:
        EnvironmentFault: the scheduler refused; the submission says so and holds nothing.
    """
    made, request = described(items, site, options, seen.answer)
    if not made:
        return None
    header = {
        "manifest": manifest.name,
        "source": str(Path(manifest.source).resolve()),
        "cluster": options.cluster,
        "at": time.time(),
        "code": snapshot.take(root),
        "commit": snapshot.commit(),
        "data": options.data,
        "max_parallel": options.max_parallel,
        "labels": {item.cell.training_id: item.cell.label for item in items},
    }
    prefix = ledger.job_prefix(root)
    paths = ledger.publish(
        root, manifest.text, header, made, lambda number: request(f"{prefix}-{number:06d}")
    )
    submission = ledger.read(root, paths.number)
    dropped = _taken_meanwhile(root, submission, seen)
    for task, reason in dropped.items():
        ledger.skip(paths, task, reason)
    left = [chunk for chunk in submission.chunks if set(chunk.tasks) - dropped.keys()]
    made_requests = {r.chunk: r for r in request(f"{prefix}-{paths.number:06d}")}
    chosen = [_without(made_requests[chunk.number], dropped) for chunk in left]
    ids = _dispatch(root, paths, chosen, options, _running_parents(items, seen))
    return Sent(
        paths=paths, tasks=len(made) - len(dropped), dropped=len(dropped), job_ids=tuple(ids)
    )


def _without(request: JobRequest, dropped: Mapping[int, str]) -> JobRequest:
    return replace(request, tasks=tuple(t for t in request.tasks if t not in dropped))


def _taken_meanwhile(root: RunRoot, own: Submission, seen: Situation) -> dict[int, str]:
    """Tasks whose cells a submission with a lower number holds that the plan had not seen."""
    known = {submission.number for submission in seen.found}
    newer = [
        submission
        for submission in liveness.submissions(root, liveness.closed(root))
        if submission.number < own.number and submission.number not in known
    ]
    holders = liveness.live(newer, {}, seen.answer, time.time())
    return {
        task: f"{holders[key].job} took {key} first"
        for key, task in own.cells.items()
        if key in holders
    }


def _running_parents(items: Sequence[Planned], seen: Situation) -> list[str]:
    """Jobs of earlier submissions that hold parents of what is sent along."""
    parents = [p.cell.training_id for i in items if i.follows for p in i.cell.parents]
    jobs = [seen.holders[key].job for key in parents if key in seen.holders]
    return sorted({job.removeprefix("job ") for job in jobs if job.startswith("job ")})


def _dispatch(
    root: RunRoot,
    paths: SubmissionFiles,
    chosen: Sequence[JobRequest],
    options: Options,
    before: Sequence[str],
) -> list[str]:
    match options.cluster:
        case "local":
            for request in chosen:
                ledger.intend(paths, request.chunk, time.time())
            local.ensure_running(root)
            return []
        case "debug":
            for request in chosen:
                for task in request.tasks:
                    _run_here(paths, task, options.echo)
            return []
        case "slurm":
            return _send_chunks(paths, chosen, options, before)


def _send_chunks(
    paths: SubmissionFiles, chosen: Sequence[JobRequest], options: Options, before: Sequence[str]
) -> list[str]:
    """One sbatch each; children start after their parents' jobs ended, however they did.

    Each task looks itself whether its parents are there: exit codes of torchrun say nothing.
    """
    sent: dict[int, str] = {}
    for request in chosen:
        awaited = [sent[chunk] for chunk in request.after if chunk in sent]
        awaited += before if request.generation else []
        sent[request.chunk] = _send_chunk(paths, _after(request, awaited), options)
    return list(sent.values())


def _after(request: JobRequest, jobs: Sequence[str]) -> JobRequest:
    if not jobs:
        return request
    dependency = f"afterany:{':'.join(jobs)}"
    return replace(request, parameters={**request.parameters, "dependency": dependency})


def _run_here(paths: SubmissionFiles, task: int, echo: Callable[[str], None]) -> None:
    """One task in the foreground, on record like one of the queue.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped it; the ranks have saved.
    """
    from jobs import submit  # submitit is loaded only where jobs start

    ledger.started(paths, task, processes.this(), "", time.time())
    try:
        stopped = submit.run_here(paths, task, echo)
    finally:
        ledger.ended(paths, task, time.time())
    if stopped:
        raise KeyboardInterrupt


def _send_chunk(paths: SubmissionFiles, request: JobRequest, options: Options) -> str:
    """One sbatch: the intent before, the id after."""
    from jobs import submit  # submitit is loaded only where jobs start

    if not ledger.intend(paths, request.chunk, time.time()):
        raise TryLater(f"{paths.folder}: chunk {request.chunk} is being sent by another process")
    try:
        job_id = submit.send_slurm(paths, request, options.python)
    except Refused as error:
        ledger.refused(paths, request.chunk, str(error), time.time())
        raise
    ledger.sent(paths, request.chunk, job_id, request.tasks, time.time())
    return job_id


def cancel(
    root: RunRoot, chosen: Mapping[int, Sequence[int]], run: Callable[[list[str]], None]
) -> None:
    """Cancel tasks: their cancel files first, then one scancel for each submission.

    Args:
        root: the run root.
        chosen: submission number → its tasks that are to end.
        run: runs a command, raising an error of ours if it fails.
    """
    for number, ending in chosen.items():
        submission = ledger.read(root, number)
        whole = set(ending) >= set(submission.tasks)
        ledger.cancel(root.submission(number), None if whole else ending, time.time())
        jobs = [job for chunk in submission.chunks for job in _jobs(chunk, ending)]
        if jobs:
            run(["scancel", *jobs])


def _jobs(chunk: Chunk, ending: Sequence[int]) -> list[str]:
    """SLURM's ids of tasks of an array: that of the array alone where it ends as a whole."""
    if chunk.job_id is None:
        return []
    places = [place for place, task in enumerate(chunk.tasks) if task in ending]
    if len(places) == len(chunk.tasks):
        return [chunk.job_id]
    return [chunk.position_job(place) for place in places]


def go_on(root: RunRoot, seen: Situation) -> None:
    """Start this machine's queue again if local submissions may still have work for it."""
    if any(submission.cluster == "local" for submission in seen.found):
        local.ensure_running(root)
