"""status, logs, show, explain, collect, schema, doctor: the commands that only look."""

import json
import os
import time
from argparse import Namespace
from fractions import Fraction
from pathlib import Path
from typing import Any

from jobs import attempts, files, finding, identity, processes, records, views
from jobs.attempts import Attempt
from jobs.cell import Cell
from jobs.commands import context
from jobs.commands.context import STATUS_AGE_S, View, command
from jobs.console import Console
from jobs.errors import UsageError
from jobs.finding import Place
from jobs.plan import SENT

FOLLOW_S = 0.3


def status(args: Namespace, console: Console) -> int:
    """Say how a manifest's cells stand, or those of all that was submitted."""
    where = context.place(args)
    code, documents = 0, []
    for manifest in context.manifests(where, args.manifest):
        view = context.view(where, manifest, args, max_age=STATUS_AGE_S)
        if where.root.path.exists():
            view.index.save()
        code = max(code, _code(view))
        if args.json:
            documents.append(_document(view))
            continue
        console.data(f"{manifest.name} · {where.root.path}")
        if args.by:
            console.data(views.grouped(view.items, view.last, args.by))
        else:
            console.data(_status_lines(where, view, args.manifest))
    if args.json:
        console.json({"manifests": documents})
    return code if args.exit_code else 0


def _code(view: View) -> int:
    """1 if cells failed, else 4 if some are unfinished."""
    if views.broken(view.items):
        return 1
    return 0 if views.finished(view.items) else 4


def _document(view: View) -> dict[str, Any]:
    answer = view.seen.answer
    return {
        "manifest": view.manifest.name,
        "states": dict(views.summary(view.items)),
        "scheduler_asked_at": answer.asked_at if answer else None,
        "scheduler_reachable": answer.reachable if answer else None,
        "cells": [views.as_data(i, view.last.get(i.cell.training_id)) for i in view.items],
    }


def _status_lines(where: Place, view: View, named: str | None) -> list[str]:
    slurm = any(submission.cluster == "slurm" for submission in view.seen.found)
    age = views.age(view.seen.answer, time.time(), needed=slurm)
    if context.queue_is_missing(where, view):
        age = "this machine's queue is not running (killed or rebooted?)"
    name = [named] if named else []
    broken = [i.cell for i in view.items if i.action == "give_up"]
    if broken:
        follow = command("logs", broken[0].training_id[:8])
        follow += f" · mend the cause, then: {command('resume', *name, '--failed')}"
    elif any(i.action in SENT for i in view.items) or context.queue_is_missing(where, view):
        follow = command("resume", *name)
    elif any(i.action == "wait" for i in view.items):
        follow = command("status", *name)
    elif views.finished(view.items):
        follow = command("collect")
    else:
        follow = command("resume", *name)
    return views.status_text(view.items, view.last, age, follow)


def logs(args: Namespace, console: Console) -> int:
    """Print the log of a cell's last attempt."""
    where = context.place(args)
    _, cell = context.cell(where, args.cell, args.manifest)
    paths = where.root.cell(cell.training_id)
    tried = [attempts.read(paths, number) for number in attempts.numbers(paths)]
    chosen = _attempt(tried, args, cell)
    log = paths.attempt(chosen.number).log(args.rank)
    if not log.exists():
        _explain_absent_log(where, chosen, args.rank, log, console)
    console.note(f"{cell.label} attempt {chosen.number} rank {args.rank}: {log}")
    _print_log(log, chosen, console, follow=args.follow, ended=paths.attempt(chosen.number).end)
    return 0


def _explain_absent_log(
    where: Place, chosen: Attempt, rank: int, log: Path, console: Console
) -> None:
    ranks = sorted(path.stem.removeprefix("rank") for path in log.parent.glob("rank*.log"))
    if ranks:
        raise UsageError(f"attempt {chosen.number} has no rank {rank}; it has {', '.join(ranks)}")
    before = where.root.submission(chosen.submission).submitit
    console.note(f"no rank of it has written yet; what came before lies under {before}")
    console.note(chosen.reason)


def _attempt(tried: list[Attempt], args: Namespace, cell: Cell) -> Attempt:
    if args.failed:
        tried = [a for a in tried if a.state not in {None, "completed"}]
    if args.attempt is not None:
        tried = [a for a in tried if a.number == args.attempt]
    if not tried:
        kind = "failed " if args.failed else ""
        raise UsageError(f"{cell.label}: has no such {kind}attempt; see `show {args.cell}`")
    return tried[-1]


def _print_log(log: Path, chosen: Attempt, console: Console, *, follow: bool, ended: Path) -> None:
    """Print a log; with `follow`, go on until its attempt has ended or was killed."""
    position = 0
    while True:
        killed = chosen.process is not None and processes.alive(chosen.process) is False
        over = ended.exists() or killed or not follow
        if log.exists():
            with log.open("rb") as file:
                file.seek(position)
                text = file.read()
            whole = text if over else text[: text.rfind(b"\n") + 1]
            position += len(whole)
            if whole:
                console.data(whole.decode(errors="replace").rstrip("\n").split("\n"))
        if over:
            return
        time.sleep(FOLLOW_S)


def show(args: Namespace, console: Console) -> int:
    """Tell a cell's whole story."""
    where = context.place(args)
    _, cell = context.cell(where, args.cell, args.manifest)
    story = _story(where, cell)
    if args.json:
        console.json(story)
    else:
        console.data(_story_lines(story))
    return 0


def _story(where: Place, cell: Cell) -> dict[str, Any]:
    paths = where.root.cell(cell.training_id)
    tried = [attempts.read(paths, number) for number in attempts.numbers(paths)]
    found = list(records.valid(paths))
    training = files.read_json(paths.training) if paths.training.exists() else None
    return {
        "training_id": cell.training_id,
        "label": cell.label,
        "folder": str(paths.folder),
        "spec": identity.plain(cell.training),
        "training": training and {k: v for k, v in training.items() if k != "history"},
        "attempts": [{k: v for k, v in vars(a).items() if k != "process"} for a in tried],
        "rows": [
            {
                "attack": record.attack["name"],
                "attack_id": record.attack_id,
                "space": record.attack.get("space"),
                "surrogate": views.flat(record.attack.get("surrogate")),
                "epsilon": str(row.epsilon),
                "correct": row.correct,
                "total": row.total,
                "zero_gradient": row.zero_gradient,
                "promise": record.measured.get("promise"),
                "record": path.name,
            }
            for path, record in found
            for row in record.rows
        ],
    }


def _story_lines(story: dict[str, Any]) -> list[str]:
    lines = [f"{story['training_id']} {story['label']}", f"  folder    {story['folder']}"]
    for key, value in story["spec"].items():
        lines.append(f"  {key:<9} {views.flat(value)}")
    training = story["training"]
    if training:
        lines.append(
            f"trained   {training['steps']:,} steps, best epoch {training['best_epoch']} with "
            f"{training['validation_correct']}/{training['validation_total']} on validation · "
            f"weights sha256 {training['model_sha256'][:16]} · {training['measured']['promise']}"
        )
    else:
        lines.append("not trained")
    for tried in story["attempts"]:
        state = tried["state"] or "no word of its end"
        reason = f" · {tried['reason']}" if tried["reason"] else ""
        job = f" job {tried['job_id']}" if tried["job_id"] else ""
        lines.append(
            f"attempt {tried['number']}: {state}{reason} · {tried['seconds']:.0f} s on "
            f"{tried['host']}{job} · submission {tried['submission']}"
        )
    rows = sorted(story["rows"], key=_order)
    lines += [f"  {views.row_text(row)}" for row in rows]
    if rows:
        lines.append("  [95 % Wilson interval over samples]")
    return [*lines, f"next: {command('logs', story['training_id'][:8])}"]


def _order(row: dict[str, Any]) -> tuple[bool, str, str, Fraction]:
    return row["attack"] != "clean", row["attack"], row["attack_id"], Fraction(row["epsilon"])


def explain(args: Namespace, console: Console) -> int:
    """Print the keys that make two cells differ."""
    where = context.place(args)
    a, b = (context.cell(where, name, args.manifest)[1] for name in (args.a, args.b))
    found = identity.differences(a.training, b.training)
    own = [
        (key, x, y)
        for key in ("attacks", "epsilons", "evaluation")
        for key, x, y in identity.differences(
            {key: identity.plain(getattr(a, key))}, {key: identity.plain(getattr(b, key))}
        )
    ]
    lines = [f"{cell.training_id} {cell.label}" for cell in (a, b)]
    lines += [f"  {key}: {views.flat(x)} → {views.flat(y)}" for key, x, y in found]
    if not found:
        lines.append("  the same training: they share a checkpoint")
    lines += [
        f"  {key}: {views.flat(x)} → {views.flat(y)} (not part of the training)"
        for key, x, y in own
    ]
    console.data(lines)
    return 0


def schema(args: Namespace, console: Console) -> int:
    """Print the JSON Schema of manifests."""
    from jobs import manifest

    del args
    console.data(json.dumps(manifest.schema(), indent=1))
    return 0


def doctor(args: Namespace, console: Console) -> int:
    """Check what spikegrid needs of this machine, cluster and filesystem."""
    from jobs import doctor as checks

    where = finding.place(args.root, args.data, checks.site_or_empty(os.environ), os.environ)
    console.progress("asking Python, torch, SLURM and the filesystem …")
    found = checks.examine(where.root.path, Path(where.data), env=os.environ)
    marks = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
    for one in found:
        console.data(f"{marks[one.status]}  {one.name:<14} {one.found}")
        if one.way_out:
            console.data(f"      {'':<14} → {one.way_out}")
    failed = any(one.status == "fail" for one in found)
    follow = command("doctor") if failed else command("plan", "quickstart")
    console.data(f"next: {follow}")
    return 3 if failed else 0
