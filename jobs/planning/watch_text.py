"""What `watch` shows: a matrix, a bar for each running cell, the queue, what failed. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from jobs.planning.headway import Headway
from jobs.planning.plan import Planned
from jobs.planning.status_text import one_line
from jobs.planning.views import duration

BAR = 10
"""Characters of a bar."""
_NAME = 36
"""Characters of a cell's name at most."""
_GAPS = 2
"""Empty lines between the parts."""
_LEAST = 3
"""Lines that a part keeps, however many the others have."""
_QUEUE = ("queued", "pending", "blocked", "held", "unknown")
_REASONS = 3
"""Reasons for waiting that are named."""
STAYS = "Ctrl-C stops watching, the jobs go on"


@dataclass(frozen=True, kw_only=True)
class Running:
    """A cell that runs.

    Attributes:
        name: short.
        headway: how far it is.
    """

    name: str
    headway: Headway


def screen(
    heads: Sequence[Sequence[str]],
    running: Sequence[Running],
    below: Sequence[str],
    *,
    width: int,
    height: int,
) -> list[str]:
    """The lines of the live view, cut to a terminal.

    Args:
        heads: title, matrix and totals of each manifest.
        running: cells that run.
        below: queue and failures.
        width: characters of a line.
        height: lines; what runs comes before what the matrices cannot show.
    """
    last = [*below, STAYS]
    room = height - len(last) - _GAPS
    top = [line for one in heads for line in one]
    top = _cut_lines(top, max(_LEAST, room - min(len(running), _LEAST)))
    most = max(1, room - len(top))
    bars = ["", *_cut_lines(bar_lines(running, width), most)] if running else []
    return [_cut(line, width) for line in (*top, *bars, "", *last)][:height]


def bar_lines(running: Sequence[Running], width: int) -> list[str]:
    """One line for each running cell: a bar, and as many words about it as there is room for."""
    names = [_cut(one_line(one.name), min(_NAME, width // 3)) for one in running]
    whats = [_what(one.headway) for one in running]
    left, middle = (max(map(len, texts), default=0) for texts in (names, whats))
    facts = [_words(one.headway) for one in running]
    wide = [max(map(len, column)) for column in zip_longest(*facts, fillvalue="")]
    lines = []
    for one, name, what, words in zip(running, names, whats, facts, strict=True):
        line = f"{name:<{left}}  {_bar(one.headway)} {what:<{middle}}"
        for word, room in zip(words, wide, strict=False):
            if len(line) + 2 + len(word) > width:
                break
            line += f"  {word:<{room}}"
        lines.append(line.rstrip())
    return lines


def _bar(one: Headway) -> str:
    done = min(BAR, one.done * BAR // one.of) if one.of else 0
    return "█" * done + "▒" * (done < BAR) + "░" * (BAR - done - 1)


def _what(one: Headway) -> str:
    if one.doing == "training":
        return f"epoch {one.done}/{one.of or '?'}"
    if one.of:
        return f"{one_line(one.doing)} {one.done:,}/{one.of:,} batches"
    return one_line(one.doing) or "starts"


def _words(one: Headway) -> list[str]:
    """Facts about a running cell, the most useful first; "" where one is not known."""
    return [
        "" if one.left_s is None else f"ETA {duration(one.left_s)}",
        "" if one.accuracy is None else f"{one.judge} {one.accuracy:.1%}",
        "" if one.loss is None else f"loss {one.loss:.3g}",
        f"{one.images_per_s:,.0f} images/s" if one.images_per_s else "",
    ]


def brief(one: Headway) -> str:
    """How far a cell is, in a few words: "epoch 3/25, val 88.1%, loss 0.412"."""
    return ", ".join([_what(one), *filter(None, _words(one))])


def queue(items: Iterable[Planned], whys: Mapping[str, str]) -> list[str]:
    """What waits and for what, on one line; nothing if nothing waits.

    Args:
        items: planned cells.
        whys: what the jobs of trainings wait for, by training id.
    """
    found: dict[str, Counter[str]] = {}
    for item in items:
        if item.cell.number < 0 or item.state not in _QUEUE:
            continue
        blocked = item.state == "blocked"
        why = "for parents" if blocked else one_line(whys.get(item.cell.training_id, ""))
        found.setdefault(item.state, Counter())[why] += 1
    words = [
        f"{found[state].total():,} {state}{_whys(found[state])}"
        for state in _QUEUE
        if state in found
    ]
    return [f"waiting: {' · '.join(words)}"] if words else []


def _whys(tally: Counter[str]) -> str:
    named = [(why, number) for why, number in tally.most_common(_REASONS) if why]
    if not named:
        return ""
    alone = len(tally) == 1
    return f" ({', '.join(why if alone else f'{number:,} {why}' for why, number in named)})"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _cut_lines(lines: list[str], most: int) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"… and {len(lines) - most + 1:,} more lines"]
