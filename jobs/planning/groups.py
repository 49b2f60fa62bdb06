"""Cells and failures that belong together: by state, by cause, by node. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.attempts import Attempt, EndState
from jobs.planning.plan import Planned, Progress
from jobs.planning.views import clean, compressed, count

_NO_FAILURES: frozenset[EndState | None] = frozenset({None, "completed", "cancelled", "fenced"})
_SHOWN = 8
"""Nodes, or causes, named on one line at most."""
_LINE = 160
"""Characters of a log's line at most."""
_LABELS = 6
"""Groups of labels named on one line at most."""


@dataclass(kw_only=True)
class Cause:
    """Unfinished cells whose last attempts failed alike.

    Attributes:
        signature: what their failures have in common.
        training_id: of the cell whose failure stands for all: the latest of the grid.
        attempt: that failure.
        labels: of all of them.
        nodes: how many of them failed on each machine.
    """

    signature: str
    training_id: str
    attempt: Attempt
    labels: list[str] = field(default_factory=list)
    nodes: Counter[str] = field(default_factory=Counter)


def signature(one: Attempt) -> str:
    """What failures of the same kind have in common; the state where there are no words."""
    return one.signature or one.reason or one.state or "lost"


def causes(items: Iterable[Planned], known: Mapping[str, Progress]) -> list[Cause]:
    """Unfinished cells by the cause of their last failure, the most frequent first."""
    found: dict[str, Cause] = {}
    for item in items:
        key = item.cell.training_id
        last = _last_failure(known[key].attempts) if key in known else None
        if last is None or item.action == "done" or item.cell.number < 0:
            continue
        cause = found.setdefault(
            signature(last), Cause(signature=signature(last), training_id=key, attempt=last)
        )
        cause.training_id, cause.attempt = key, last
        cause.labels.append(item.cell.label)
        cause.nodes[last.host or "unknown"] += 1
    return sorted(found.values(), key=lambda cause: -len(cause.labels))


def _last_failure(tried: Sequence[Attempt]) -> Attempt | None:
    """The newest failure, unless work was finished after it."""
    for one in reversed(tried):
        if one.state == "completed":
            return None
        if one.state not in _NO_FAILURES:
            return one
    return None


def by_error(
    items: Iterable[Planned], known: Mapping[str, Progress], log: Callable[[Cause], str]
) -> list[str]:
    """Failures by cause: how many cells, which, on which machines, and a line of one log.

    Args:
        items: planned cells.
        known: their progress.
        log: the line of the log that stands for a cause; may be empty.
    """
    lines = []
    for cause in causes(items, known):
        nodes = _tally(cause.nodes)
        last = cause.attempt
        lines += [
            f"{len(cause.labels):>6,}  {clean(cause.signature)}",
            f"        cells  {clean(compressed(cause.labels, _LABELS))}",
            f"        nodes  {nodes}",
            f"        e.g.   {cause.training_id[:8]} attempt {last.number}: "
            f"{clean(log(cause) or last.reason or 'no log').splitlines()[0][:_LINE]}",
        ]
    return lines or ["no unfinished cell has failed"]


def by_node(items: Iterable[Planned], known: Mapping[str, Progress]) -> list[str]:
    """Failures of each machine among all its attempts, healed or not, the worst first."""
    tried: Counter[str] = Counter()
    failed: dict[str, Counter[str]] = {}
    for key in dict.fromkeys(item.cell.training_id for item in items):
        for one in known[key].attempts if key in known else ():
            if not one.host:
                continue
            tried[one.host] += 1
            kinds = failed.setdefault(one.host, Counter())
            if one.state not in _NO_FAILURES:
                kinds[signature(one)] += 1
    wide = max(map(len, tried), default=0)
    return [
        f"{clean(host):<{wide}}  {kinds.total():>5,} of {count(tried[host], 'attempt')} failed"
        f"{'  ' if kinds else ''}{_tally(kinds)}"
        for host, kinds in sorted(failed.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    ] or ["nothing has run yet"]


def _tally(counted: Counter[str]) -> str:
    shown = [f"{clean(name)} ({number:,})" for name, number in counted.most_common(_SHOWN)]
    more = [f"and {len(counted) - _SHOWN} more"] if len(counted) > _SHOWN else []
    return ", ".join([*shown, *more])


def by_state(items: Iterable[Planned]) -> list[str]:
    """Cells by state, the most frequent first."""
    found: dict[str, list[str]] = {}
    for item in items:
        if item.cell.number >= 0:
            found.setdefault(item.state, []).append(item.cell.label)
    return [
        f"{len(labels):>6,}  {state}  {clean(compressed(labels))}"
        for state, labels in sorted(found.items(), key=lambda pair: -len(pair[1]))
    ]
