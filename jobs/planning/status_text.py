"""How a manifest's cells stand, as text: the matrix, totals, what failed and why. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jobs.attempts import Attempt
from jobs.planning.matrix import BROKEN, matrix
from jobs.planning.plan import Planned
from jobs.planning.views import clean, count, held, summary

FAILURES = 10
"""Failed cells that are named."""
_BESIDE = 4
"""Spaces between the matrix and what stands beside it."""
_QUOTE = 160
"""Characters of a log's line at most."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a failed attempt left behind.

    Attributes:
        epoch: the last that it finished; 0 if none.
        line: the last of its log; may be empty.
    """

    epoch: int = 0
    line: str = ""


Tracer = Callable[[Planned, Attempt], Trace]
"""Finds what the last attempt at a cell left behind."""


def one_line(text: str) -> str:
    """Harmless text without line breaks."""
    return " ".join(clean(text).split())


def status_text(
    items: Sequence[Planned],
    *,
    attempts: Mapping[str, Attempt],
    trace: Tracer,
    facts: Sequence[str],
    follow: str,
    width: int,
) -> list[str]:
    """The lines of a status.

    Args:
        items: planned cells.
        attempts: the last attempt of each training that has one.
        trace: of a failed cell's last attempt.
        facts: said after the totals, e.g. the age of the scheduler's answer.
        follow: the next useful command.
        width: characters of a line, as far as the matrix goes.
    """
    lines = [*head(items, facts, width), *failures(items, attempts, trace)]
    return [*lines, *held(_own(items)), f"next: {follow}"] if follow else lines


def _own(items: Sequence[Planned]) -> list[Planned]:
    return [item for item in items if item.cell.number >= 0]


def head(items: Sequence[Planned], facts: Sequence[str], width: int) -> list[str]:
    """Matrix and totals, side by side if that fits."""
    own = _own(items)
    words = [f"{n:,} {state}" for state, n in sorted(summary(items).items(), key=lambda p: -p[1])]
    partly = sum(item.action == "evaluate" for item in own)
    words += [f"{partly:,} trained with rows missing"] if partly else []
    totals = [f"{count(len(own), 'cell')}: {' · '.join(words)}"]
    totals += [" · ".join(filter(None, facts))] if any(facts) else []
    drawn = matrix(own, width)
    left = max(map(len, drawn), default=0) + _BESIDE
    if left + max(map(len, totals)) > width or len(totals) > len(drawn):
        return [*drawn, *totals]
    beside = [f"{line:<{left}}{text}" for line, text in zip(drawn, totals, strict=False)]
    return [*beside, *drawn[len(totals) :]]


def hours(items: Sequence[Planned], seconds: Mapping[str, float]) -> str:
    """Hours of devices that a study took so far, and about how many it takes in all.

    Args:
        items: planned cells and ancestors.
        seconds: training id → seconds that its attempts took.
    """
    used, done, left = [], [], []
    for key, item in {item.cell.training_id: item for item in items}.items():
        devices, spent = item.cell.hardware[0], seconds.get(key)
        if spent:
            used.append(spent * devices)
        if item.action == "done":
            done += [spent] if spent else []
        elif item.action != "give_up":
            left.append(devices)
    if not used:
        return ""
    kind = "GPU" if any(kind == "GPU" for _, kind in {i.cell.hardware for i in items}) else "core"
    total = sum(used)
    text = f"{kind} hours {_hours(total)}"
    if not left or not done:
        return text
    return f"{text} of ~{_hours(total + sum(done) / len(done) * sum(left))}"


def _hours(seconds: float) -> str:
    value = seconds / 3600
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def failures(
    items: Sequence[Planned], attempts: Mapping[str, Attempt], trace: Tracer, most: int = FAILURES
) -> list[str]:
    """A line for each failed cell: which, where, at which epoch, why, and what its log ends with."""
    broken = [item for item in _own(items) if item.state in BROKEN]
    lines = [failure(item, attempts.get(item.cell.training_id), trace) for item in broken[:most]]
    if len(broken) > most:
        lines.append(f"… and {len(broken) - most:,} more (status --by error groups them)")
    return lines


def failure(item: Planned, last: Attempt | None, trace: Tracer, *, name: str = "") -> str:
    """One failed cell, by its label if it has no shorter name."""
    found = trace(item, last) if last else Trace()
    where = f" on {one_line(last.host)}" if last and last.host else ""
    where += f" at epoch {found.epoch + 1}" if found.epoch else ""
    reason = one_line(last.reason if last and last.reason else item.reason)
    named = f"{item.cell.training_id[:8]} {name or item.cell.label}"
    text = f"{item.state}: {named}{where} · {reason}"
    quote = one_line(found.line)
    return (
        text if not quote or quote in reason or reason in quote else f'{text} · "{quote[:_QUOTE]}"'
    )


def tally_line(items: Sequence[Planned]) -> str:
    """How many cells are done and in each other state, e.g. "3/8 completed · 5 queued"."""
    states: Counter[str] = summary(items)
    words = [f"{states.pop('completed', 0)}/{len(_own(items))} completed"]
    return " · ".join([*words, *(f"{number:,} {state}" for state, number in states.items())])
