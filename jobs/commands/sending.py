"""submit, resume: the commands that decide and send."""

import time
from argparse import Namespace
from collections.abc import Mapping

from jobs.commands import context, planning
from jobs.commands.context import View, command
from jobs.commands.waiting import wait
from jobs.console import Console
from jobs.dispatch import codes, describing, holds, ledger, liveness, sending
from jobs.dispatch.describing import Options
from jobs.dispatch.ledger import Cluster
from jobs.dispatch.queueing import Pushed
from jobs.dispatch.sending import Sent
from jobs.errors import SpikegridError, UsageError
from jobs.expand.cell import Manifest
from jobs.planning import cautions, finding, request, views
from jobs.planning.finding import Place
from jobs.planning.plan import SENT, with_parents


def submit(args: Namespace, console: Console) -> int:
    """Plan with a fresh scheduler answer, and send."""
    where = context.place(args)
    return send_missing(where, finding.manifest(args.manifest, where.root), args, console)


def resume(args: Namespace, console: Console) -> int:
    """Submit everything that is unfinished again.

    Of several manifests, one that cannot be sent does not keep the others from it.
    """
    where = context.place(args)
    chosen = context.manifests(where, args.manifest, only=args.only, note=console.note)
    if len(chosen) == 1:
        return send_missing(where, chosen[0], args, console)
    found = []
    for manifest in chosen:
        try:
            found.append(send_missing(where, manifest, args, console))
        except SpikegridError as error:
            console.note(f"{manifest.name}: {error}")
            found.append(error.exit_code)
    return max(found)


def send_missing(where: Place, manifest: Manifest, args: Namespace, console: Console) -> int:
    """Send what is missing of a manifest, as the flags of `submit` say; the exit code."""
    retry_failed = getattr(args, "failed", False)
    max_age = None if args.dry_run else 0.0
    chosen = context.cluster(where, manifest.name, args)
    if args.command == "resume" and not args.dry_run and _release(where, manifest):
        console.note(f"{manifest.name}: what was held goes on")
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
        max_parallel=args.max_parallel or _slots(where, chosen),
        limit=args.limit,
        data=where.data,
        python=where.site.python,
        echo=console.echo,
        canary=getattr(args, "canary", False),
        codes=codes.chosen(where.root, view.items, view.seen.known, args.code),
    )
    _check_hours(view, where, options, args.max_gpu_hours)
    if args.dry_run:
        console.data(planning.described(view, where, options))
        return 0
    sending.prepare(where.root)
    answer = view.seen.answer
    if answer is not None and not answer.reachable:
        console.note(f"scheduler: {answer.message}; cells whose job is unknown wait")
    for line in codes.told(where.root, options.codes):
        console.note(line.strip())
    if (chosen == "slurm" or args.cluster == "auto") and _push_before(where, view, console):
        view = context.view(where, manifest, args, max_age=0.0, retry_failed=retry_failed)
    sent = sending.send(where.root, view.manifest, view.items, view.seen, where.site, options)
    view.save()
    console.data(_sent_text(view, sent, chosen))
    if sent is not None and sent.held:
        console.note(_held_text(sent, where, view))
    sending.go_on(where.root, view.seen)
    if args.wait or chosen == "debug":
        code = wait(where, view.manifest, args, console)
        # children of what was just trained can go now; nothing else is tried again here
        return send_missing(where, manifest, args, console) if _freed(where, view, args) else code
    held = any(item.action == "held" for item in view.items)
    name = args.manifest or manifest.name
    follow = context.held_next(where, view, name) if held else command("status", name)
    console.data(f"next: {follow}")
    return 0


def _slots(where: Place, cluster: Cluster) -> int | None:
    """How many jobs this machine's queue runs at once; SLURM has `array_parallelism`."""
    return None if cluster == "slurm" else where.site.profile(None).slots


def _push_before(where: Place, view: View, console: Console) -> bool:
    """Send what waits of earlier submissions, of others too where cells of this one hang on it."""
    awaited = {item.cell.training_id for item in view.items if item.action == "held"}
    before = sending.push_waiting(where.root, view.manifest.name, view.seen, awaited)
    if before:
        console.note("\n".join(_pushed_lines(before)))
    return bool(before)


def _pushed_lines(before: Mapping[int, Pushed]) -> list[str]:
    """What was sent of earlier submissions, and what stopped it."""
    lines = []
    for number, pushed in before.items():
        jobs = f"sent what waited, as job {', '.join(pushed.job_ids)}"
        lines.append(f"submission {number}: {jobs if pushed.job_ids else 'sent nothing more'}")
        lines += [f"  {line}" for line in pushed.words.splitlines()]
    return lines


def _held_text(sent: Sent, where: Place, view: View) -> str:
    """Why tasks were not sent, in sbatch's words and in ours, and who sends them."""
    profile, answer = where.site.profile(None), view.seen.answer
    most = answer.limits.most_queued(profile.account, profile.qos) if answer else None
    lines = sent.words.splitlines()
    if most and lines:
        lines[-1] = f"your {most[1]} allows {views.count(most[0], 'queued job')}"
    held = views.count(sent.held, "task")
    rest = "ending jobs send the rest where nodes have sbatch, and `resume` does at any time"
    return "\n".join([*lines[:-1], f"{'; '.join([*lines[-1:], held])} held: {rest}"])


def _release(where: Place, manifest: Manifest) -> int:
    """Let go on what is held of a manifest; how many holds that were."""
    wanted = {cell.training_id for cell in with_parents(manifest.cells)}
    return sum(
        holds.release(where.root.submission(submission.number), time.time())
        for submission in liveness.submissions(where.root, ledger.closed(where.root))
        if submission.manifest == manifest.name or wanted & submission.cells.keys()
    )


def _freed(where: Place, before: View, args: Namespace) -> bool:
    """Whether cells that had to wait for another of this manifest can be sent now."""
    held = {i.cell.number for i in before.items if i.action in {"blocked", "wait"}}
    held |= {cell.number for cell in cautions.hasty(before.items)}
    after = context.view(where, before.manifest, args, max_age=0.0)
    return any(i.action in SENT and i.cell.number in held and i.step == 0 for i in after.items)


def _check_hours(view: View, where: Place, options: Options, most: float | None) -> None:
    """Refuse what could take more hours of GPUs (of cores on CPU jobs) than the user allows."""
    if most is None:
        return
    made, _ = describing.described(view.items, where.site, options, view.seen.answer, orders=False)
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
    held = sum(item.action == "held" for item in view.items)
    done = sum(item.action == "done" for item in view.items)
    given_up = sum(item.action == "give_up" for item in view.items)
    rest = [
        f"{number} {what}"
        for number, what in (
            (waiting, "on the way"),
            (following, "of them after their parents"),
            (blocked, "waiting for parents that were not sent"),
            (held, "held"),
            (done, "done"),
            (given_up, "given up"),
        )
        if number
    ]
    others = f" · {', '.join(rest)}" if rest else ""
    why = views.held(view.items)
    if sent is None:
        return [f"{view.manifest.name}: nothing to send{others}", *why]
    jobs = f" as job {', '.join(sent.job_ids)}" if sent.job_ids else ""
    where = {"slurm": "SLURM", "local": "this machine's queue", "debug": "the foreground"}
    line = f"sent {views.count(sent.tasks, 'task')} to {where[cluster]}{jobs}"
    if sent.dropped:
        line += f" ({sent.dropped} taken by another submission)"
    return [f"{view.manifest.name}: {line} · submission {sent.paths.number}{others}", *why]
