"""How a manifest stands, as every command says it: status, watch, and those that wait."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs import attempts
from jobs.commands import context
from jobs.commands.context import View, command
from jobs.planning import headway, views
from jobs.planning.finding import Place
from jobs.planning.plan import SENT
from jobs.planning.status_text import hours, status_text

if TYPE_CHECKING:
    from jobs.planning.groups import Cause


def lines(where: Place, view: View, follow: str, width: int) -> list[str]:
    """The whole status of a manifest.

    Args:
        where: run root, data and site.
        view: of the manifest.
        follow: the next useful command; empty to name none.
        width: characters of a line.
    """
    return status_text(
        view.items,
        attempts=view.last,
        trace=partial(headway.trace, where.root),
        facts=facts(where, view),
        follow=follow,
        width=width,
    )


def facts(where: Place, view: View, *, clock: bool = False) -> list[str]:
    """What is said besides the states: hours, and how old the scheduler's word is.

    Args:
        where: run root, data and site.
        view: of the manifest.
        clock: say when the scheduler was asked instead, which stays true for a while.
    """
    slurm = any(submission.cluster == "slurm" for submission in view.seen.found)
    age = views.age(view.seen.answer, time.time(), needed=slurm)
    if clock and slurm and (answer := view.seen.answer) is not None and answer.reachable:
        age = f"scheduler as of {time.strftime('%H:%M:%S', time.localtime(answer.asked_at))}"
    if context.queue_is_missing(where, view):
        age = "this machine's queue is not running (killed or rebooted?)"
    return [hours(view.items, view.seconds), age]


def grouped(where: Place, view: View, by: str) -> list[str]:
    """Cells by state, or failures by cause or node."""

    def log(cause: Cause) -> str:
        attempt = where.root.cell(cause.training_id).attempt(cause.attempt.number)
        tail = attempts.tail(attempt) if cause.attempt.claimed else []
        return tail[-1] if tail else ""

    from jobs.planning import groups  # who asks for a matrix does not wait for it

    match by:
        case "error":
            return groups.by_error(view.items, view.seen.known, log)
        case "node":
            return groups.by_node(view.items, view.seen.known)
        case _:
            return groups.by_state(view.items)


def exit_code(view: View) -> int:
    """1 if cells failed, else 4 if some are unfinished."""
    if views.broken(view.items):
        return 1
    return 0 if views.finished(view.items) else 4


def document(view: View) -> dict[str, Any]:
    """The same for `--json`."""
    answer = view.seen.answer
    return {
        "manifest": view.manifest.name,
        "states": dict(views.summary(view.items)),
        "scheduler_asked_at": answer.asked_at if answer else None,
        "scheduler_reachable": answer.reachable if answer else None,
        "cells": [views.as_data(i, view.last.get(i.cell.training_id)) for i in view.items],
    }


def next_command(where: Place, view: View, named: str | None) -> str:
    """The next useful command after a look at the cells."""
    name = [named] if named else []
    actions = {item.action for item in view.items}
    broken = [i.cell for i in view.items if i.action == "give_up"]
    if broken:
        follow = command("logs", broken[0].training_id[:8])
        return f"{follow} · mend the cause, then: {command('resume', *name, '--failed')}"
    if "held" in actions:
        return context.held_next(where, view, *name)
    if actions & SENT or context.queue_is_missing(where, view):
        return command("resume", *name)
    if "wait" in actions:
        return command("watch", *name)
    return command("collect") if views.finished(view.items) else command("resume", *name)
