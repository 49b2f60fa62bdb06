"""watch: how everything stands, live, until nothing is on the way any more."""

import shutil
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from jobs.commands import context, standing
from jobs.commands.context import STATUS_AGE_S, View, command
from jobs.commands.waiting import moving
from jobs.console import LOG_EVERY_S, Console
from jobs.planning import headway
from jobs.planning.finding import Place
from jobs.planning.headway import Watcher
from jobs.planning.matrix import BROKEN, names
from jobs.planning.status_text import failure, head, tally_line
from jobs.planning.views import clean
from jobs.planning.watch_text import Running, brief, queue, screen

COST_SHARE = 20
"""Looking at all cells may take one part in this many of the time since the last look."""
FOLLOWED = 50
"""Running cells whose files are looked at, to spare a network filesystem."""
START_S = 15.0
"""Seconds that this machine's queue, sent off a moment ago, may take to start."""
_SHOWN = 3
"""Failures that are shown, the newest last."""


def watch(args: Namespace, console: Console) -> int:
    """Show how a manifest's cells stand, or those of all that was submitted, until they are still."""
    where = context.place(args)
    watched = _Watched(where, args)
    try:
        with _shown(watched, console) as show:
            while watched.look():
                show()
                time.sleep(args.interval)
    except KeyboardInterrupt:
        named = [args.manifest] if args.manifest else []
        console.note(f"stopped watching; the jobs go on\nnext: {command('status', *named)}")
        return 130
    for view in watched.views:
        console.data(f"{view.manifest.name} · {where.root.path}")
        follow = standing.next_command(where, view, args.manifest)
        console.data(standing.lines(where, view, follow, console.width))
    return max(standing.exit_code(view) for view in watched.views)


class _Watched:
    """What is watched, looked at no more often than it costs.

    Attributes:
        views: of the manifests.
        waiting: what waits and for what.
        failures: a line for each cell that failed, in the order in which it was noticed.
        unseen: running cells beyond those that are followed.
    """

    def __init__(self, where: Place, args: Namespace) -> None:
        self._where, self._args = where, args
        self._watcher = Watcher(where.root)
        self._due = 0.0
        self._queue_seen: dict[str, float] = {}
        self._heads: dict[int, list[list[str]]] = {}
        self._running: dict[str, str] = {}
        self._awaited: list[str] = []
        self.unseen = 0
        self.views: list[View] = []
        self.waiting: list[str] = []
        self.failures: dict[str, str] = {}

    def look(self) -> bool:
        """Look again; whether anything is on the way."""
        began = time.monotonic()
        if began >= self._due or any(map(self._watcher.ended, self._awaited)):
            self.views = self._looked()
            self.waiting = [line for view in self.views for line in queue(view.items, _whys(view))]
            self._heads.clear()
            self._running = self._named()
            self._awaited = [key for key in self._running if not self._watcher.ended(key)]
            cost = time.monotonic() - began
            self._due = time.monotonic() + max(self._args.interval, COST_SHARE * cost)
        return any(self._moves(view) for view in self.views)

    def _looked(self) -> list[View]:
        found = []
        for manifest in context.manifests(self._where, self._args.manifest, only=self._args.only):
            view = context.view(self._where, manifest, self._args, max_age=STATUS_AGE_S)
            if self._where.root.path.exists():
                view.save()
            found.append(view)
            own = [item for item in view.items if item.cell.number >= 0]
            broken = {i.cell.training_id: i for i in own if i.state in BROKEN}
            fresh = [key for key in broken if key not in self.failures]
            short = names([item.cell.label for item in own]) if fresh else {}
            trace = partial(headway.trace, self._where.root)
            for key in fresh:
                name = short[broken[key].cell.label]
                self.failures[key] = failure(broken[key], view.last.get(key), trace, name=name)
        return found

    def _moves(self, view: View) -> bool:
        """Whether cells go on by themselves; those of a queue that died do not."""
        name, now = view.manifest.name, time.monotonic()
        if not context.queue_is_missing(self._where, view):
            self._queue_seen[name] = now
        elif now - self._queue_seen.setdefault(name, now) > START_S:
            return any(item.state in {"running", "pending"} for item in view.items)
        return moving(self._where, view)

    def _named(self) -> dict[str, str]:
        """The running cells that are followed: training id → short name."""
        items = [item for view in self.views for item in view.items]
        found = {i.cell.training_id: i.cell.label for i in items if i.state == "running"}
        self.unseen = max(0, len(found) - FOLLOWED)
        if not found:
            return {}
        short = names([item.cell.label for item in items if item.cell.number >= 0])
        return {key: short.get(found[key], found[key]) for key in list(found)[:FOLLOWED]}

    def running(self) -> list[Running]:
        """How far the running cells are, now."""
        now = time.time()
        return [
            Running(name=name, headway=self._watcher.of(key, now))
            for key, name in self._running.items()
        ]

    def heads(self, width: int) -> list[list[str]]:
        """Title, matrix and totals of each manifest."""
        if width not in self._heads:
            self._heads[width] = [
                [
                    f"{view.manifest.name} · {self._where.root.path}",
                    *head(view.items, standing.facts(self._where, view, clock=True), width),
                ]
                for view in self.views
            ]
        return self._heads[width]

    def below(self) -> list[str]:
        """What waits, and what failed last."""
        waiting = [f"… and {self.unseen:,} more running"] if self.unseen else []
        waiting += self.waiting
        failed = list(self.failures.values())
        more = len(failed) - _SHOWN
        return [*waiting, *([f"{more:,} more failed"] if more > 0 else []), *failed[-_SHOWN:]]


def _whys(view: View) -> dict[str, str]:
    """What jobs wait for: in our words, else in SLURM's one word."""
    jobs = view.seen.answer.jobs if view.seen.answer else {}
    found = {}
    for key, holder in view.seen.holders.items():
        told = jobs.get(holder.job.removeprefix("job ")) if holder.state == "pending" else None
        found[key] = holder.why or (told.reason if told else "")
    return found


@contextmanager
def _shown(watched: _Watched, console: Console) -> Iterator[Callable[[], None]]:
    """A function that shows what is watched: on a screen, or line by line where there is none."""
    if not console.screen:
        yield _Lines(watched, console).show
        return
    with _live(console) as draw:

        def show() -> None:
            size = shutil.get_terminal_size()
            width, height = size.columns - 1, size.lines - 1
            heads = watched.heads(width)
            draw(screen(heads, watched.running(), watched.below(), width=width, height=height))

        yield show


class _Lines:
    """What is watched as plain lines: every change of the totals, every failure; now and then the
    rest, since an epoch can take a second."""

    def __init__(self, watched: _Watched, console: Console) -> None:
        self._watched, self._console = watched, console
        self._said: dict[str, str] = {}
        self._at: dict[str, float] = {}

    def show(self) -> None:
        """Print what has changed."""
        for view in self._watched.views:
            self._say(view.manifest.name, tally_line(view.items), 0.0)
        for key, text in self._watched.failures.items():
            self._say(f"failure of {key}", text, 0.0, named=False)
        for one in self._watched.running():
            self._say(one.name, brief(one.headway), LOG_EVERY_S)

    def _say(self, name: str, text: str, pause_s: float, *, named: bool = True) -> None:
        now = time.monotonic()
        if self._said.get(name) == text or now - self._at.get(name, -pause_s) < pause_s:
            return
        self._said[name], self._at[name] = text, now
        self._console.data(f"{time.strftime('%H:%M:%S')} {f'{name}: ' if named else ''}{text}")


@contextmanager
def _live(console: Console) -> Iterator[Callable[[Sequence[str]], None]]:
    """A function that draws lines over the last ones, if they differ: few bytes over slow ssh."""
    from rich.console import Console as Terminal  # only for who watches
    from rich.live import Live
    from rich.text import Text

    terminal = Terminal(file=console.err, highlight=False)
    before: list[str] = []
    with Live(
        console=terminal,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    ) as live:

        def draw(lines: Sequence[str]) -> None:
            text = [console.plain(clean(line).replace("\n", " ")) for line in lines]
            if text == before:
                return
            before[:] = text
            shown = Text("\n".join(text), no_wrap=True, overflow="crop")  # no markup in it counts
            for pattern, style in (("█+", "green"), ("▒+", "yellow"), ("✗+|^failed", "red")):
                shown.highlight_regex(pattern, style)
            live.update(shown, refresh=True)

        yield draw
