"""plan: what submit would do and why; nothing is written or sent."""

import time
from argparse import Namespace

from jobs.commands import context
from jobs.commands.context import View, command
from jobs.console import Console
from jobs.dispatch import codes, describing, ledger
from jobs.dispatch.describing import Options
from jobs.dispatch.site import Profile
from jobs.dispatch.slurm_text import Limits
from jobs.planning import cautions, finding, views
from jobs.planning.finding import Place
from jobs.planning.plan import SENT


def plan(args: Namespace, console: Console) -> int:
    """Print what submit would do; writes nothing, runs nothing."""
    where = context.place(args)
    view = context.view(
        where, finding.manifest(args.manifest, where.root, recalled=True), args, max_age=None
    )
    fault, fetch = context.absent_data(where, view.items)
    if fault:
        console.note(f"{fault}; submit would refuse")
    if args.json:
        cells = [views.as_data(i, view.last.get(i.cell.training_id)) for i in view.items]
        console.json({"manifest": view.manifest.name, "cells": cells})
        return 0
    older = codes.chosen(where.root, view.items, view.seen.known, args.code)
    options = Options(cluster="slurm", limit=args.limit, codes=older)
    console.data(described(view, where, options))
    sent = any(item.action in SENT for item in view.items)
    only = ["--only", args.only] if args.only else []
    follow = command("submit" if sent else "status", args.manifest, *only)
    console.data(f"next: {fetch or follow}")
    return 0


def described(view: View, where: Place, options: Options) -> list[str]:
    """The lines that say what would be sent, and what should be known of it."""
    answer = view.seen.answer
    made, requested = describing.described(view.items, where.site, options, answer, orders=False)
    slurm = any(submission.cluster == "slurm" for submission in view.seen.found)
    details = [
        views.estimate(view.items, view.seconds),
        views.files_estimate(view.items),
        views.age(answer, time.time(), needed=slurm or answer is not None),
    ]
    if answer:
        details.append(_limits(answer.limits, where.site.profile(None)))
    prefix = ledger.job_prefix(where.root)
    text = views.plan_text(view.manifest.name, view.items, made, requested(prefix), details)
    older = codes.told(where.root, options.codes)
    return [*text, *views.notes(view.items), *cautions.notes(view.items), *older]


def _limits(limits: Limits, profile: Profile) -> str:
    """What the cluster allows a user of a profile."""
    words = [f"MaxArraySize {limits.max_array_size:,}"]
    if most := limits.most_queued(profile.account, profile.qos):
        words.append(f"MaxSubmitJobs {most[0]:,} ({most[1]})")
    return ", ".join([*words, f"MaxJobCount {limits.max_job_count:,}"])
