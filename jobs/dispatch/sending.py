"""From a description to sent jobs: publish, send; and cancel."""

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from jobs import files, processes
from jobs.dispatch import chunks, earlier, holds, ledger, local, queueing, snapshot
from jobs.dispatch.chunks import Chunk
from jobs.dispatch.describing import Options, described
from jobs.dispatch.ledger import Submission
from jobs.dispatch.queueing import Pushed
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.site import Site
from jobs.errors import EnvironmentFault, Refused
from jobs.expand.cell import Manifest
from jobs.layout import FORMAT, RunRoot, SubmissionFiles
from jobs.planning.plan import Planned
from jobs.planning.situation import Situation, check_format
from jobs.upkeep import tombstones


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
        tombstones.finish(root)
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
        held: how many tasks wait on disk until they can be sent.
        words: sbatch's own, and their meaning, if a limit is why.
    """

    paths: SubmissionFiles
    tasks: int
    dropped: int
    job_ids: tuple[str, ...]
    held: int = 0
    words: str = ""


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
        Refused: sbatch said no; the submission says so, and holds nothing but what was sent.
        EnvironmentFault: sbatch gave no clear answer; the next submit finds out.
    """
    made, request = described(items, site, options, seen.answer)
    if not made:
        return None
    header = {
        "manifest": manifest.name,
        "source": options.source or str(Path(manifest.source).resolve()),
        "folder": str(Path.cwd()),
        "cluster": options.cluster,
        "at": time.time(),
        "code": snapshot.take(root),
        "codes": sorted({order["code"] for t in made for order in t.cells if "code" in order}),
        "commit": snapshot.commit(),
        "data": options.data,
        "sinks": [*site.sinks],
        "max_parallel": options.max_parallel,
        "python": options.python,
        "before": _running_parents(items, seen),
        "labels": {item.cell.training_id: item.cell.label for item in items},
    }
    prefix = ledger.job_prefix(root)
    canary = options.canary and len(made) > 1
    paths = ledger.publish(
        root,
        manifest.text,
        header,
        made,
        lambda number: request(f"{prefix}-{number:06d}"),
        holds.canary(made[0].index, made[0].cells[0]) if canary else None,
    )
    submission = ledger.read(root, paths.number)
    dropped = earlier.taken_meanwhile(root, submission, seen.found, seen.answer)
    for task, reason in dropped.items():
        ledger.skip(paths, task, reason)
    pushed = _dispatch(root, ledger.read(root, paths.number), options, seen.answer)
    return _told(root, paths.number, pushed, dropped=len(dropped))


def _running_parents(items: Sequence[Planned], seen: Situation) -> list[str]:
    """Jobs of earlier submissions that hold parents of what is sent along."""
    parents = [awaited for i in items if i.follows for awaited in i.awaits]
    jobs = [seen.holders[key].job for key in parents if key in seen.holders]
    return sorted({job.removeprefix("job ") for job in jobs if job.startswith("job ")})


def _dispatch(
    root: RunRoot, submission: Submission, options: Options, answer: Answer | None
) -> Pushed:
    paths = root.submission(submission.number)
    match options.cluster:
        case "local":
            for chunk in submission.chunks:
                if submission.unsent(chunk):
                    chunks.intend(paths, chunk.number, time.time())
            local.ensure_running(root)
            return Pushed()
        case "debug":
            for chunk in submission.chunks:
                for task in submission.unsent(chunk):
                    _run_here(paths, task, options.echo)
            return Pushed()
        case "slurm":
            return _push(root, submission.number, alone=_alone(answer))


def _push(root: RunRoot, number: int, *, alone: bool) -> Pushed:
    """Send what waits of a submission; Ctrl-C gives up what was not begun."""
    from jobs.dispatch import submit  # submitit is loaded only where jobs start

    try:
        return queueing.push(root, number, submit.send_slurm, alone=alone)
    except KeyboardInterrupt:
        queueing.give_up(root, number, "stopped by the user")
        raise


def _alone(answer: Answer | None) -> bool:
    """Whether nothing of this user is in SLURM's queue."""
    return answer is not None and answer.reachable and not any(j.live for j in answer.jobs.values())


def push_waiting(
    root: RunRoot, manifest: str, seen: Situation, awaited: Set[str] = frozenset()
) -> dict[int, Pushed]:
    """Send first what waits of earlier submissions.

    Args:
        root: the run root.
        manifest: whose submissions.
        seen: how everything stands.
        awaited: trainings for whose sake those of other manifests are sent, too.

    Returns:
        What became of each submission, by number.
    """
    answer = seen.answer
    if answer is None or not answer.reachable:
        return {}
    done: dict[int, Pushed] = {}
    for before in earlier.waiting(root, manifest, seen.found, answer, awaited):
        try:
            done[before] = _push(root, before, alone=_alone(answer) and not done)
        except Refused as error:
            done[before] = Pushed(words=str(error))
    return done


def _told(root: RunRoot, number: int, pushed: Pushed, *, dropped: int) -> Sent:
    submission = ledger.read(root, number)
    ours = [chunk for chunk in submission.chunks if chunk.job_id in pushed.job_ids]
    unsent = [submission.unsent(c) for c in submission.chunks if not (c.job_id or c.refused)]
    slurm = submission.cluster == "slurm"
    return Sent(
        paths=root.submission(number),
        tasks=sum(len(c.tasks) for c in ours) if slurm else sum(map(len, unsent)),
        dropped=dropped,
        held=sum(map(len, unsent)) if slurm else 0,
        job_ids=pushed.job_ids,
        words=pushed.words,
    )


def _run_here(paths: SubmissionFiles, task: int, echo: Callable[[str], None]) -> None:
    """One task in the foreground, on record like one of the queue.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped it; the ranks have saved.
    """
    from jobs.dispatch import submit  # submitit is loaded only where jobs start

    ledger.started(paths, task, processes.this(), "", time.time())
    try:
        stopped = submit.run_here(paths, task, echo)
    finally:
        ledger.ended(paths, task, time.time())
    if stopped:
        raise KeyboardInterrupt


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
