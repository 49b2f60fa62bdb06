"""Cells as a matrix: what varies of data set, model and neuron down, of the regime across. Pure.

Everything is read from the cells' labels (`jobs.expand.labels`): a manifest as it is remembered
need not be expanded for it. Seeds are counted.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product, zip_longest

from jobs.planning.plan import Planned, State

WIDTH = 10
"""Characters of a bar at most."""
BROKEN: frozenset[State] = frozenset({"failed", "out_of_memory", "given_up"})
_GAP = "  "
_SPARSE = 1.5
"""A matrix may have so many times the cells of the smallest, to be narrow enough."""
_KEYS = 4
"""Keys of labels that are tried down as well as across; more of them all go one way."""


@dataclass(frozen=True)
class _Setting:
    """What a label says besides the seed."""

    dataset: str
    model: str
    neuron: str
    regime: str
    more: tuple[tuple[str, str], ...]


@lru_cache(maxsize=16384)
def _setting(stem: str) -> _Setting:
    dataset, network, regime, *rest = [*stem.split("/"), "", ""]
    model, _, neuron = network.rpartition("-")
    more: list[tuple[str, str]] = []
    for piece in filter(None, rest):
        key, is_key, value = piece.partition("=")
        if is_key or not more:
            more.append((key, value))
        else:  # a value such as 8/255
            more[-1] = (more[-1][0], f"{more[-1][1]}/{piece}")
    return _Setting(dataset, model or network, neuron if model else "", regime, tuple(more))


def stem_of(label: str) -> tuple[str, str]:
    """A label without its seed, and the seed, e.g. "s0"; empty if there is none."""
    stem, _, last = label.rpartition("/")
    return (stem, last) if re.fullmatch(r"s\d+", last) else (label, "")


@dataclass(frozen=True)
class _Layout:
    """Which row and column each setting has.

    Attributes:
        places: stem → names of its row and column.
        rows, columns: their names, in the order of the manifest.
    """

    places: Mapping[str, tuple[str, str]]
    rows: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def area(self) -> int:
        """Cells of the matrix, the empty ones too."""
        return len(self.rows) * len(self.columns)


def _layouts(stems: Sequence[str]) -> list[_Layout]:
    """Ways to lay settings out, the one with the fewest empty cells first."""
    found = [_setting(stem) for stem in stems]
    keys = list(dict.fromkeys(key for one in found for key, _ in one.more))
    if len(keys) <= _KEYS:
        choices = [dict(zip(keys, down, strict=True)) for down in _ways(len(keys))]
    else:
        choices = [dict.fromkeys(keys, down) for down in (True, False)]
    made = [_layout(stems, found, down) for down in choices]
    whole = [one for one in made if len(set(one.places.values())) == len(stems)]
    return sorted(whole, key=lambda one: (one.area, -len(one.columns)))


def _ways(keys: int) -> list[tuple[bool, ...]]:
    return list(product((True, False), repeat=keys))


def _layout(
    stems: Sequence[str], settings: Sequence[_Setting], down: Mapping[str, bool]
) -> _Layout:
    """Settings laid out with some keys down and the others across."""
    varies = {
        name: len({getattr(one, name) for one in settings}) > 1
        for name in ("dataset", "model", "neuron", "regime")
    }
    places = {}
    for stem, one in zip(stems, settings, strict=True):
        network = [getattr(one, name) for name in ("model", "neuron") if varies[name]]
        left = [one.dataset] if varies["dataset"] else []
        left += ["-".join(filter(None, network))] if network else []
        whole = f"{one.dataset}/{one.model}-{one.neuron}".rstrip("/-")
        above = [one.regime] if varies["regime"] else []
        more = [(down[key], f"{key}={value}" if value else key) for key, value in one.more]
        row = " ".join(["/".join(left) or whole, *(text for is_down, text in more if is_down)])
        above += [text for is_down, text in more if not is_down]
        places[stem] = row, " ".join(above) or one.regime or "-"
    rows, columns = (tuple(dict.fromkeys(p[i] for p in places.values())) for i in (0, 1))
    return _Layout(places, rows, columns)


def names(labels: Iterable[str]) -> dict[str, str]:
    """Short names of cells: what tells them apart, e.g. "ta_lif adversarial s0"."""
    parted = {label: stem_of(label) for label in labels}
    stems = list(dict.fromkeys(stem for stem, _ in parted.values()))
    if len(stems) == 1:
        return {label: " ".join(filter(None, parted[label])) for label in parted}
    ways = _layouts(stems)
    if not ways:
        return {label: label for label in parted}
    way, found = ways[0], {}
    for label, (stem, seed) in parted.items():
        row, column = way.places[stem]
        words = (row if len(way.rows) > 1 else "", column if len(way.columns) > 1 else "", seed)
        found[label] = " ".join(filter(None, words))
    return found


def matrix(items: Iterable[Planned], width: int) -> list[str]:
    """The lines of the matrix; in parts, or as a list, if it is not narrow enough.

    Args:
        items: planned cells; ancestors that are no cells are left out.
        width: characters of a line at most.
    """
    tally: dict[str, Counter[State]] = {}
    stems: dict[str, str] = {}
    for item in items:
        if item.cell.number >= 0:
            head, _, last = item.cell.label.rpartition("/")
            stem = stems.get(head) if last[:1] == "s" and last[1:].isdecimal() else None
            if stem is None:
                stem = stem_of(item.cell.label)[0]
                stems[head] = stem
            if stem not in tally:
                tally[stem] = Counter()
            tally[stem][item.state] += 1
    if not tally:
        return []
    ways = _layouts(list(tally))
    for way in ways:
        if way.area <= _SPARSE * ways[0].area:
            for style in _STYLES:
                lines = _drawn(way, tally, style)
                if _wide(lines) <= width:
                    return lines
    parts = _parts(ways[0], tally, width) if ways else []
    return parts or [f"{text}  {name}" for text, name in _listed(tally, ways)]


def _wide(lines: Iterable[str]) -> int:
    return max(map(len, lines), default=0)


def _parts(way: _Layout, tally: Mapping[str, Counter[State]], width: int) -> list[str]:
    """A matrix below another, each with as many columns as fit; empty if one column does not."""
    lines: list[str] = []
    left = list(way.columns)
    while left:
        for size in range(len(left), 0, -1):
            part = replace(way, columns=tuple(left[:size]))
            drawn = _drawn(part, tally, _short)
            if _wide(drawn) <= width:
                break
        else:
            return []
        lines += drawn
        left = left[size:]
    return lines


def _listed(
    tally: Mapping[str, Counter[State]], ways: Sequence[_Layout]
) -> Iterable[tuple[str, str]]:
    texts = [_full(states) for states in tally.values()]
    wide = max(map(len, texts), default=0)
    for stem, text in zip(tally, texts, strict=True):
        yield f"{text:<{wide}}", _GAP.join(ways[0].places[stem]) if ways else stem


def _drawn(
    way: _Layout, tally: Mapping[str, Counter[State]], style: Callable[[Counter[State]], str]
) -> list[str]:
    table = {way.places[stem]: style(states) for stem, states in tally.items()}
    wide = [
        max(
            max(map(len, column.split(" "))),
            *(len(table.get((row, column), "-")) for row in way.rows),
        )
        for column in way.columns
    ]
    left = max(len(row) for row in way.rows)

    def line(first: str, texts: Iterable[str]) -> str:
        cells = [f"{text:<{w}}" for text, w in zip(texts, wide, strict=True)]
        return _GAP.join([f"{first:<{left}}", *cells]).rstrip()

    body = [
        line(row, (table.get((row, column), "-") for column in way.columns)) for row in way.rows
    ]
    words = [column.split(" ") for column in way.columns]
    heads = [line("", (above or "" for above in level)) for level in zip_longest(*words)]
    return [*heads, *body]


def _full(states: Counter[State]) -> str:
    return f"{_bar(states, WIDTH)} {_count(states)}{_words(states, 'running', 'failed')}"


def _shorter(states: Counter[State]) -> str:
    return f"{_bar(states, WIDTH)} {_count(states)}{_words(states, 'run', 'fail')}"


def _short(states: Counter[State]) -> str:
    return f"{_bar(states, WIDTH)} {_count(states)}"


def _shortest(states: Counter[State]) -> str:
    marks = "▒" * bool(states["running"]) + "✗" * bool(_broken(states))
    return f"{_count(states)}{marks}"


_STYLES: tuple[Callable[[Counter[State]], str], ...] = (_full, _shorter, _short, _shortest)


def _broken(states: Counter[State]) -> int:
    return sum(states[state] for state in BROKEN)


def _count(states: Counter[State]) -> str:
    return f"{states['completed']}/{states.total()}"


def _words(states: Counter[State], running: str, failed: str) -> str:
    words = [f"{states['running']} {running}"] if states["running"] else []
    words += [f"{_broken(states)} {failed}"] if _broken(states) else []
    return "".join(f" {word}" for word in words)


def _bar(states: Counter[State], most: int) -> str:
    """Completed, running, neither, failed; a part that is not empty has a mark if there is room."""
    total = states.total()
    width = min(most, total)
    done, failed = states["completed"] * width // total, -(-_broken(states) * width // total)
    running = min(-(-states["running"] * width // total), width - done - failed)
    left = width - done - running - failed
    return "█" * done + "▒" * running + "░" * left + "✗" * failed
