"""plan, submit, resume, cancel: the commands that decide and send."""

import shlex
import subprocess
import sys
import time
from argparse import Namespace

from jobs import finding, ledger, request, sending, views
from jobs.cell import Manifest
from jobs.commands import context
from jobs.commands.context import View, command
from jobs.commands.waiting import wait
from jobs.console import Console
from jobs.errors import EnvironmentFault, UsageError
from jobs.finding import Place
from jobs.ledger import Cluster
from jobs.plan import SENT
from jobs.sending import Options, Sent

ASK_FROM = 10
"""Destructive commands over more cells than this ask first."""


def plan(args: Namespace, console: Console) -> int:
    """Print what submit would do; writes nothing, runs nothing."""
    where = context.place(args)
    view = context.view(where, finding.manifest(args.manifest, where.root), args, max_age=None)
    fault, fetch = context.absent_data(where, view.items)
    if fault:
        console.note(f"{fault}; submit would refuse")
    if args.json:
        cells = [views.as_data(i, view.last.get(i.cell.training_id)) for i in view.items]
        console.json({"manifest": view.manifest.name, "cells": cells})
        return 0
    console.data(_described(view, where, Options(cluster="slurm", limit=args.limit)))
    sent = any(item.action in SENT for item in view.items)
    only = ["--only", args.only] if args.only else []
    follow = command("submit" if sent else "status", args.manifest, *only)
    console.data(f"next: {fetch or follow}")
    return 0


def submit(args: Namespace, console: Console) -> int:
    """Plan with a fresh scheduler answer, and send."""
    where = context.place(args)
    return _submit(where, finding.manifest(args.manifest, where.root), args, console)


def resume(args: Namespace, console: Console) -> int:
    """Submit everything that is unfinished again."""
    where = context.place(args)
    chosen = context.manifests(where, args.manifest)
    return max(_submit(where, manifest, args, console) for manifest in chosen)


def cancel(args: Namespace, console: Console) -> int:
    """Cancel what is queued or running of a manifest, or of all."""
    where = context.place(args)
    chosen: dict[int, set[int]] = {}
    wanted: set[str] = set()
    ending: set[str] = set()
    manifests = (
        [finding.manifest(args.manifest, where.root)]
        if args.manifest
        else finding.submitted(where.root, every=True)
    )
    for manifest in manifests:
        view = context.view(where, manifest, args, max_age=0.0)
        wanted |= view.seen.holders.keys() & {cell.training_id for cell in view.cells}
        for submission in view.seen.found:
            tasks = {submission.cells[key] for key in submission.cells.keys() & wanted}
            if tasks:
                chosen.setdefault(submission.number, set()).update(tasks)
                ending |= {key for key, task in submission.cells.items() if task in tasks}
    if not chosen:
        console.data("nothing of it is queued or running")
        return 0
    many = views.count(len(wanted), "cell")
    if len(wanted) > ASK_FROM and not args.yes and not _agreed(f"cancel {many}?", console):
        return 1
    sending.cancel(where.root, {n: sorted(tasks) for n, tasks in chosen.items()}, _run)
    if others := len(ending - wanted):
        console.note(
            f"{views.count(others, 'other cell')} in the same jobs (cells_per_job) end too"
        )
    console.data(f"cancelled {many}; running ones save a checkpoint first")
    console.data(f"next: {command('resume', *filter(None, [args.manifest]))}")
    return 0


def _agreed(question: str, console: Console) -> bool:
    """Ask; only "y" or "yes" is agreement, and without a terminal there is none."""
    if not sys.stdin.isatty():
        console.note(f"{question} add --yes")
        return False
    console.note(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFault(f"{shlex.join(argv)}: {error}; try again") from error
    # a job that has ended already is no failure of its cancelling
    if done.returncode and "Invalid job id" not in done.stderr:
        raise EnvironmentFault(f"{shlex.join(argv)}: {done.stderr.strip()}; try again")


def _described(view: View, where: Place, options: Options) -> list[str]:
    answer = view.seen.answer
    made, requested = sending.described(view.items, where.site, options, answer)
    slurm = any(submission.cluster == "slurm" for submission in view.seen.found)
    details = [
        views.estimate(view.items, view.seconds),
        views.files_estimate(view.items),
        views.age(answer, time.time(), needed=slurm or answer is not None),
    ]
    if answer and answer.limits.max_array_size:
        details.append(f"MaxArraySize {answer.limits.max_array_size:,}")
    prefix = ledger.job_prefix(where.root)
    return views.plan_text(view.manifest.name, view.items, made, requested(prefix), details)


def _submit(where: Place, manifest: Manifest, args: Namespace, console: Console) -> int:
    retry_failed = getattr(args, "failed", False)
    max_age = None if args.dry_run else 0.0
    chosen = context.cluster(where, manifest.name, args)
    view = context.view(
        where,
        manifest,
        args,
        max_age=max_age,
        retry_failed=retry_failed,
        always=chosen == "slurm",
    )
    if chosen != "slurm":
        context.check_machine(view.items)
    context.check_data(where, view.items)
    options = Options(
        cluster=chosen,
        max_parallel=args.max_parallel or where.site.profile(None).slots,
        limit=args.limit,
        data=where.data,
        python=where.site.python,
        echo=console.echo,
    )
    _check_hours(view, where, options, args.max_gpu_hours)
    if args.dry_run:
        console.data(_described(view, where, options))
        return 0
    sending.prepare(where.root)
    answer = view.seen.answer
    if answer is not None and not answer.reachable:
        console.note(f"scheduler: {answer.message}; cells whose job is unknown wait")
    sent = sending.send(where.root, view.manifest, view.items, view.seen, where.site, options)
    view.index.save()
    console.data(_sent_text(view, sent, chosen))
    sending.go_on(where.root, view.seen)
    if args.wait or chosen == "debug":
        code = wait(where, view.manifest, args, console)
        # children of what was just trained can go now; nothing else is tried again here
        return _submit(where, manifest, args, console) if _freed(where, view, args) else code
    console.data(f"next: {command('status', args.manifest or manifest.name)}")
    return 0


def _freed(where: Place, before: View, args: Namespace) -> bool:
    """Whether cells that had to wait for another of this manifest can be sent now."""
    held = {i.cell.number for i in before.items if i.action in {"blocked", "wait"}}
    after = context.view(where, before.manifest, args, max_age=0.0)
    return any(i.action in SENT and i.cell.number in held and i.step == 0 for i in after.items)


def _check_hours(view: View, where: Place, options: Options, most: float | None) -> None:
    """Refuse what could take more hours of GPUs (of cores on CPU jobs) than the user allows."""
    if most is None:
        return
    made, _ = sending.described(view.items, where.site, options, view.seen.answer)
    hours = sum(request.longest_hours(task.resources) for task in made)
    if hours > most:
        raise UsageError(
            f"--max-gpu-hours {most:g}: {views.count(len(made), 'job')} could take up to "
            f"{hours:g} hours; shorten resources.timeout_min, or send fewer with --limit or --only"
        )


def _sent_text(view: View, sent: Sent | None, cluster: Cluster) -> list[str]:
    waiting = sum(item.action == "wait" for item in view.items)
    blocked = sum(item.action == "blocked" and not item.follows for item in view.items)
    following = sum(item.follows > 0 for item in view.items)
    done = sum(item.action == "done" for item in view.items)
    given_up = sum(item.action == "give_up" for item in view.items)
    rest = [
        f"{number} {what}"
        for number, what in (
            (waiting, "on the way"),
            (following, "of them after their parents"),
            (blocked, "waiting for parents that were not sent"),
            (done, "done"),
            (given_up, "given up"),
        )
        if number
    ]
    others = f" · {', '.join(rest)}" if rest else ""
    if sent is None:
        return [f"{view.manifest.name}: nothing to send{others}"]
    jobs = f" as job {', '.join(sent.job_ids)}" if sent.job_ids else ""
    where = {"slurm": "SLURM", "local": "this machine's queue", "debug": "the foreground"}
    line = f"sent {views.count(sent.tasks, 'task')} to {where[cluster]}{jobs}"
    if sent.dropped:
        line += f" ({sent.dropped} taken by another submission)"
    return [f"{view.manifest.name}: {line} · submission {sent.paths.number}{others}"]
