"""The plan: wanted minus recorded minus live, with a reason for each cell. Pure.

Clock, disk and scheduler come in as arguments; `plan` prints what `submit` would do from the
same objects, and resuming is planning again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from jobs.attempts import Attempt
from jobs.expand.cell import Cell, Parent, stage_key
from jobs.planning.budget import exhausted, tally

Action = Literal["train", "evaluate", "retry", "wait", "blocked", "held", "give_up", "done"]
State = Literal[
    "new", "blocked", "held", "queued", "pending", "running", "completed", "failed", "timeout",
    "out_of_memory", "preempted", "node_fail", "cancelled", "lost", "given_up", "unknown",
]  # fmt: skip
SENT: frozenset[Action] = frozenset({"train", "evaluate", "retry"})
"""Actions that `submit` sends."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the disk holds of a training.

    Attributes:
        trained: training.json stands.
        rows: keys of the recorded rows (`jobs.expand.cell.row_key`).
        attempts: all tries, ascending.
        step: of the newest checkpoint, 0 if none.
        invalidated: why what there was of it counts no more; attempts are those made since.
        buried: tries before that. They count for nothing, but their jobs did claim the cell.
    """

    trained: bool = False
    rows: frozenset[str] = frozenset()
    attempts: tuple[Attempt, ...] = ()
    step: int = 0
    invalidated: str = ""
    buried: tuple[Attempt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Live:
    """A job that holds a cell, or a submission that keeps it from running.

    Attributes:
        state: queued, pending, running or unknown; held until somebody lets it go on.
        job: for people, e.g. "job 123_4" or "submission 7".
        why: what it waits for, or is held by; may be empty.
        otherwise: state of a held job that the scheduler or the queue still has.
    """

    state: Literal["queued", "pending", "running", "unknown", "held"]
    job: str
    nodes: str = ""
    why: str = ""
    otherwise: Literal["queued", "pending"] | None = None


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What is to be done about one cell.

    Attributes:
        missing: keys of the rows and stages that are wanted and not recorded.
        awaits: of a blocked cell, the trainings it waits for: its parents, or what its transfer
            attacks climb on.
        follows: of a blocked cell, how many generations of those are sent or run before it; 0 if it
            cannot be sent along with them.
        reason: for people.
        state: of the cell, for status.
        step: where a training goes on.
    """

    cell: Cell
    action: Action
    state: State
    reason: str
    missing: tuple[str, ...] = ()
    step: int = 0
    awaits: tuple[str, ...] = ()
    follows: int = 0


_Kind = tuple[int, int, bool, int]


def with_parents(cells: Sequence[Cell]) -> list[Cell]:
    """Cells and all ancestors they need, each training once, ancestors first.

    An ancestor that is not among the cells is trained, not evaluated.
    """
    heirs = [cell for cell in cells if cell.parents or cell.sources]
    own = {cell.training_id for cell in cells} if heirs else set()
    found: dict[str, Cell] = {}
    for cell in heirs:
        for ancestor in needed(cell):
            if ancestor.training_id not in own:
                found.setdefault(ancestor.training_id, ancestor.as_ancestor())
    return [*found.values(), *cells]


def needed(cell: Cell) -> Iterator[Cell]:
    """What a cell descends from, then what its transfer attacks climb on; both may repeat."""
    yield from ancestors(cell)
    for source in cell.sources:
        yield from ancestors(source)
        yield source


def ancestors(cell: Cell) -> Iterator[Cell]:
    """Everything that a cell descends from, the oldest first; shared ancestors may repeat."""
    for parent in cell.parents:
        yield from ancestors(parent.cell)
        yield parent.cell


def plan(
    cells: Sequence[Cell],
    progress: Mapping[str, Progress],
    live: Mapping[str, Live],
    *,
    retry_failed: bool = False,
) -> list[Planned]:
    """Decide for each cell; parents that are no cells come first, then the cells in order.

    Args:
        cells: wanted.
        progress: by training id; absent means nothing is on disk.
        live: jobs by training id.
        retry_failed: try again what was given up.
    """
    planned: list[Planned] = []
    claimed: set[str] = set()
    alike: dict[_Kind | None, Planned] = {}
    nothing = Progress()
    for cell in with_parents(cells):
        key = cell.training_id
        known, holder = progress.get(key, nothing), live.get(key)
        kind = _kind(cell, known) if holder is None else None
        like = alike.get(kind)
        if like is not None:
            item = _about(cell, like)
        else:
            item = _decide(cell, known, holder, retry_failed=retry_failed)
            if kind is not None:
                alike[kind] = item
        if item.action in SENT:
            if key in claimed or cell.parents or cell.sources:
                item = _hold_back(item, progress, claimed)
            claimed.add(key)
        planned.append(item)
    return _followed(planned)


def _kind(cell: Cell, known: Progress) -> _Kind | None:
    """Equal for cells about which all but their names is the same; None for one that is special."""
    if known.attempts:
        if not known.trained:
            return None
        for attempt in known.attempts:
            if attempt.state != "completed":
                return None
    elif known.invalidated:
        return None
    # most cells of a manifest share the objects, which live as long as the plan is made
    return id(cell.wanted), id(known.rows), known.trained, known.step


def _about(cell: Cell, like: Planned) -> Planned:
    """The same decision about another cell."""
    # its constructor takes four times as long, and there are ten thousand
    found = object.__new__(Planned)
    own = found.__dict__
    own.update(like.__dict__)
    own["cell"] = cell
    return found


def _followed(planned: list[Planned]) -> list[Planned]:
    """Blocked cells whose parents are sent or run now can be sent along, to start after them."""
    if all(item.action != "blocked" for item in planned):
        return planned
    by_id: dict[str, Planned] = {}
    for item in planned:
        if item.action in SENT or item.cell.training_id not in by_id:
            by_id[item.cell.training_id] = item
    known: dict[str, int | None] = {}

    def generation(item: Planned) -> int | None:
        """Generations before a cell; None if one that it waits for will not come."""
        key = item.cell.training_id
        if key not in known:
            known[key] = _generation(item, [by_id[awaited] for awaited in item.awaits])
        return known[key]

    def _generation(item: Planned, parents: list[Planned]) -> int | None:
        if item.action in SENT or (item.action == "wait" and item.state != "new"):
            return 0
        if item.action != "blocked":
            return None
        before = [generation(parent) for parent in parents if parent.action != "done"]
        return None if None in before else 1 + max(filter(None, before), default=0)

    return [
        replace(item, follows=generation(item) or 0) if item.action == "blocked" else item
        for item in planned
    ]


def _hold_back(item: Planned, progress: Mapping[str, Progress], claimed: set[str]) -> Planned:
    """A cell whose parent or twin training must come first is not sent yet."""
    cell = item.cell
    for parent in cell.parents:
        if reason := _awaited(parent, progress.get(parent.cell.training_id, Progress())):
            return _blocked(item, reason, [one.cell for one in cell.parents])
    if item.action == "evaluate" and (climbed := _climbed(item, progress)):
        return _blocked(item, _source_awaited(climbed[0], progress), climbed)
    if cell.training_id in claimed:
        reason = "another cell of this manifest runs the same training; its turn comes next"
        return Planned(cell=cell, action="wait", state="new", reason=reason, missing=item.missing)
    return item


def _blocked(item: Planned, reason: str, awaits: Sequence[Cell]) -> Planned:
    return Planned(
        cell=item.cell,
        action="blocked",
        state="blocked",
        reason=reason,
        missing=item.missing,
        awaits=tuple([one.training_id for one in awaits]),
    )


def _climbed(item: Planned, progress: Mapping[str, Progress]) -> list[Cell]:
    """Untrained networks that all that is left of a cell climbs on; none if something can be done.

    A cell with other work left is sent: its job does what it can, and leaves the rest.
    """
    source_of = item.cell.source_of
    if not source_of:
        return []
    wanted = {source_of.get(key.partition("@")[0]) for key in item.missing}
    absent = [s for s in item.cell.sources if not _progress(s, progress).trained]
    if not wanted.issubset({source.training_id for source in absent}):
        return []
    return [source for source in absent if source.training_id in wanted]


def _source_awaited(source: Cell, progress: Mapping[str, Progress]) -> str:
    if why := exhausted(_progress(source, progress).attempts):
        return f"the source of its transfer attack, {source.label}, was given up ({why})"
    return f"its transfer attack waits for {source.label}"


def _progress(cell: Cell, progress: Mapping[str, Progress]) -> Progress:
    return progress.get(cell.training_id, Progress())


def _awaited(parent: Parent, known: Progress) -> str:
    """What a child waits for, or nothing."""
    label = parent.cell.label
    there = parent.stage_id is None or stage_key(parent.stage_id) in known.rows
    if known.trained and there:
        return ""
    if why := exhausted(known.attempts):
        return f"its parent {label} was given up ({why})"
    return f"waits for its parent {label}" + (", its signature" if known.trained else "")


@lru_cache(maxsize=4096)
def _missing(wanted: tuple[str, ...], recorded: frozenset[str]) -> tuple[str, ...]:
    """Wanted rows without the recorded ones; few pairs differ, and cells share the answer."""
    return tuple([row for row in wanted if row not in recorded])


def _decide(cell: Cell, known: Progress, live: Live | None, *, retry_failed: bool) -> Planned:
    missing = _missing(cell.wanted, known.rows)

    def planned(action: Action, state: State, reason: str) -> Planned:
        return Planned(
            cell=cell, action=action, state=state, reason=reason, missing=missing, step=known.step
        )

    if known.trained and not missing:
        return planned("done", "completed", "recorded")
    if live is not None and live.state == "held":
        return planned("held", "held", f"{live.why} ({live.job})")
    if live is not None:
        job = "; ".join(filter(None, (live.job, live.why)))
        return planned("wait", live.state, f"{live.state} ({job})")
    last = known.attempts[-1] if known.attempts else None
    state: State = "new" if last is None else _state_of(last)
    if (reason := exhausted(known.attempts)) and not retry_failed:
        return planned("give_up", "failed" if last and last.deterministic else "given_up", reason)
    if known.trained:
        again = last is not None and last.state != "completed"
        reason = f"training done; {_in_words(cell, missing)} missing"
        return planned("evaluate", state if again else "new", reason)
    if last is None:
        why = f"new; invalidated: {known.invalidated}" if known.invalidated else "new"
        return planned("train", "new", why)
    on = f"go on from step {known.step:,}" if known.step else "start over"
    return planned("retry", state, f"{tally(known.attempts)}, {on}")


@lru_cache(maxsize=4096)
def _rows(missing: tuple[str, ...]) -> int:
    """How many of some keys are rows; cells share their lists of missing keys."""
    return sum(not key.endswith("@stage") for key in missing)


def _in_words(cell: Cell, missing: tuple[str, ...]) -> str:
    """What is missing of a trained cell."""
    rows = _rows(missing)
    words = [f"{rows} of {len(cell.rows)} rows"] if rows else []
    if rows < len(missing):
        stages = cell.stage_ids.items()
        words += dict.fromkeys(s.noun for key, s in stages if stage_key(key) in missing)
    return " and ".join(words)


def _state_of(last: Attempt) -> State:
    match last.state:
        case None | "lost":
            return "lost"
        case "fenced" | "completed":
            return "new"
        case known:
            return known
