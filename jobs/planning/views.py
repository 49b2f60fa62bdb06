"""What people read: plans, rows and counts as text. Pure; nothing is printed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING, Any

from jobs.attempts import Attempt
from jobs.dispatch.scheduler import Answer
from jobs.identity import plain
from jobs.planning.plan import SENT, Planned

if TYPE_CHECKING:
    from jobs.planning.request import JobRequest, Task

_Z_95 = 1.959963984540054
_FILES = 12
"""Files of a training besides one for each attack, as counted."""


def clean(text: str) -> str:
    """Text without what could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun, e.g. "1,204 cells"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds in words: "12 s", "4 min", "3.1 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def epsilon(value: Fraction) -> str:
    """A radius as papers write it: in 255ths where that is exact, e.g. "24/255"."""
    in_255 = value * 255
    return f"{in_255.numerator}/255" if value and in_255.denominator == 1 else str(value)


def interval(correct: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z2, share = _Z_95**2, correct / total
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z_95 / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def flat(value: object) -> str:
    """A part of a specification on one line, e.g. "lif (tau: 2)"."""
    if isinstance(value, dict):
        inner = ", ".join(f"{k}: {flat(v)}" for k, v in value.items() if k != "name")
        return f"{value.get('name', '')}{f' ({inner})' if inner else ''}".strip()
    return str(value)


def row_text(row: Mapping[str, Any], wide: int = 6) -> str:
    """One result with all that it needs to be believed.

    Args:
        row: of a cell's story.
        wide: room for the attack's name.
    """
    low, high = (100 * bound for bound in interval(row["correct"], row["total"]))
    share = row["correct"] / row["total"]
    norm = f"{row['norm']} in " if row.get("norm") not in (None, "linf") else ""
    how = f"{norm}{row['space']} space, surrogate {row['surrogate']}" if row["space"] else ""
    how += f", gradient {row['gradient']}" if row.get("gradient") not in (None, "own") else ""
    how += f"  by {row['climb']} on {row['source'][:23]}" if row.get("source") else ""
    how += f"  faithful {row['faithful']}" if row.get("faithful") else ""
    return (
        f"{row['attack']:<{wide}} ε = {epsilon(Fraction(row['epsilon'])):<7} "
        f"{row['correct']:>6,}/{row['total']:,} = {share:6.1%} [{low:5.1f}, {high:5.1f}]"
        f"  zero gradient {row['zero_gradient']}  {how}"
    ).rstrip()


def compressed(labels: Iterable[str], most: int = 3) -> str:
    """Labels with their seeds drawn together: "digits/small-lif/clean/s0-2"."""
    groups: dict[str, list[int]] = {}
    for label in labels:
        stem, mark, seed = label.rpartition("/s")
        if mark and seed.isdecimal():
            groups.setdefault(f"{stem}{mark}", []).append(int(seed))
        else:
            groups.setdefault(label, [])
    shown = [f"{stem}{_ranges(seeds)}" for stem, seeds in groups.items()]
    more = f" and {count(len(shown) - most, 'more group')}" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _ranges(numbers: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in runs)


def age(answer: Answer | None, now: float, *, needed: bool) -> str:
    """How old the scheduler's word is."""
    if not needed:
        return ""
    if answer is None:
        return "scheduler not asked yet"
    word = "" if answer.reachable else f", unreachable: {clean(answer.message)}"
    return f"scheduler as of {duration(max(0.0, now - answer.asked_at))} ago{word}"


def plan_text(
    name: str,
    items: Sequence[Planned],
    made: Sequence[Task],
    requests: Sequence[JobRequest],
    details: Sequence[str],
) -> list[str]:
    """The lines of a plan.

    Args:
        name: of the manifest.
        items: planned cells.
        made: tasks that would be sent.
        requests: arrays they would be sent in.
        details: more facts for the last line.
    """
    own = [item for item in items if item.cell.number >= 0]
    trainings = {item.cell.training_id for item in items}
    rows = sum(len(item.cell.rows) for item in own)
    staged = {(i.cell.training_id, key): s for i in items for key, s in i.cell.stage_ids.items()}
    head = f"{name} · {count(len(own), 'cell')} · {count(len(trainings), 'training')}"
    groups: dict[tuple[str, str], list[str]] = {}
    told = {reason: clean(reason) for reason in {item.reason for item in items}}
    for item in items:
        groups.setdefault((item.action, told[item.reason]), []).append(item.cell.label)
    wide = max((len(reason) for _, reason in groups), default=0)
    stages = Counter(stage.noun for stage in staged.values())
    lines = [" · ".join([head, *(count(n, s) for s, n in stages.items()), count(rows, "row")])]
    for (action, reason), labels in groups.items():
        lines.append(
            f"  {len(labels):>5,} {action:<8}  {reason:<{min(wide, 48)}}  {compressed(labels)}"
        )
    sizes = " + ".join(str(len(request.tasks)) for request in requests[:6])
    if len(requests) > 6:
        sizes += f" + {len(requests) - 6} more"
    if made:
        arrays = f"{count(len(requests), 'array')} ({sizes} {'task' if sizes == '1' else 'tasks'})"
        if later := sum(item.follows > 0 for item in items):
            arrays += f", {count(later, 'cell')} to start after {'its' if later == 1 else 'their'}"
            arrays += " parents"
        lines.append(" · ".join([f"would send: {arrays}", *filter(None, details)]))
    else:
        lines.append(" · ".join(["would send nothing", *filter(None, details)]))
    return lines


def estimate(items: Sequence[Planned], seconds: Mapping[str, float]) -> str:
    """GPU or CPU hours of what would be sent, from cells that are done already.

    Args:
        items: the plan.
        seconds: training id → seconds its attempts took so far.
    """
    done = [s for i in items if i.action == "done" and (s := seconds.get(i.cell.training_id))]
    todo = [i.cell.shape for i in items if i.action in {"train", "retry"}]
    if not done or not todo:
        return ""
    hours = sum(done) / len(done) * sum(r.nodes * r.processes for r in todo) / 3600
    kind = "GPU" if any(r.gpus_per_node for r in todo) else "core"
    shown = f"{hours:.0f}" if hours >= 10 else f"{hours:.2g}"
    return f"about {shown} {kind} hours (from {count(len(done), 'finished cell')})"


@lru_cache(maxsize=4096)
def _attacks(rows: tuple[str, ...]) -> int:
    """How many attacks some rows belong to."""
    return len({row.partition("@")[0] for row in rows})


def files_count(items: Iterable[Planned]) -> int:
    """About how many files running some cells would add."""
    return sum(_attacks(i.missing) + (_FILES if i.action != "evaluate" else 6) for i in items)


def files_estimate(items: Sequence[Planned]) -> str:
    """Files that running the plan would add."""
    total = files_count(i for i in items if i.action in SENT)
    return f"about {total:,} files" if total else ""


def notes(items: Sequence[Planned]) -> list[str]:
    """What should be known of the numbers that a plan will bring."""
    coming = [i.cell for i in items if i.action in SENT or i.action == "blocked"]
    chosen = {c.training_id: c for c in coming if c.outline.select == "best_test"}
    if not chosen:
        return []
    from jobs.expand.systems import of_training  # only for what is told of few studies

    systems = {of_training(plain(cell.training)) for cell in chosen.values()}
    named = f" (faithful {', '.join(sorted(filter(None, systems)))})" if any(systems) else ""
    verb = "keeps" if len(chosen) == 1 else "keep"
    return [
        f"note: {count(len(chosen), 'training')}{named} {verb} the epoch that does best on test "
        "images; such accuracies are too high to compare with others"
    ]


def summary(items: Sequence[Planned]) -> Counter[str]:
    """How many cells are in each state."""
    return Counter(item.state for item in items if item.cell.number >= 0)


def held(items: Sequence[Planned]) -> list[str]:
    """One line for each reason for which cells are held."""
    reasons = Counter(clean(item.reason) for item in items if item.action == "held")
    return [f"held: {count(number, 'cell')} · {why}" for why, number in reasons.items()]


def as_data(item: Planned, last: Attempt | None) -> dict[str, Any]:
    """One cell for `--json`."""
    return {
        "training_id": item.cell.training_id,
        "label": item.cell.label,
        "action": item.action,
        "state": item.state,
        "reason": item.reason,
        "rows": len(item.cell.rows),
        "missing": len(item.missing),
        "step": item.step,
        "attempts": last.number if last else 0,
        "job_id": last.job_id if last else "",
    }


def finished(items: Sequence[Planned]) -> bool:
    """Whether nothing is left to do or to wait for."""
    return all(item.action in {"done", "give_up"} for item in items if item.cell.number >= 0)


def broken(items: Sequence[Planned]) -> int:
    """How many cells are given up."""
    return sum(item.action == "give_up" for item in items if item.cell.number >= 0)
