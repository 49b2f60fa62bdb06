"""grid, zip, cells, exclude, include: from the text to the parts of every cell.

A product is counted before it is made, and each distinct part is validated once, so ten thousand
cells cost little more than their parts. `include` and `exclude` mean what they mean in the matrix
of a CI service: exclude drops what it matches in part; include adds keys to the cells whose own
keys it agrees with, or is a cell of its own.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jobs.expand.faithful import SYSTEM_HEADS, Expander
from jobs.expand.matching import Pattern, matches
from jobs.expand.messages import Findings, missing_key
from jobs.expand.parts import (
    HEADS,
    LISTS,
    NETWORK,
    Part,
    PartReader,
    as_mapping,
    heads,
    merge,
    nest,
)
from jobs.expand.yaml_scalars import describe
from jobs.expand.yaml_text import Mark, Node

MAX_CELLS = 100_000
_RANGE = re.compile(r"range\( *(?:([0-9]{1,10}) *, *)?([0-9]{1,10}) *\)", re.ASCII)

Index = tuple[int, ...]


class Draft(NamedTuple):
    """A cell before its parents are known.

    Attributes:
        parts: in the order of `HEADS`.
        origin: where its missing keys would have to stand.
    """

    parts: tuple[Part, ...]
    origin: Mark

    def part(self, head: str) -> Part:
        """One key of the cell."""
        return self.parts[_PLACE[head]]


_PLACE = {head: place for place, head in enumerate(HEADS)}


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One factor of the product.

    Attributes:
        layers: for each value, what it sets: {head: node}.
        depth: {head: dots in the key}; deeper keys are laid over others.
    """

    layers: list[dict[str, Node]]
    depth: dict[str, int]


def expand(root: Node, defaults: dict[str, Node], findings: Findings) -> "Expansion":
    """All cells of a manifest, in the order of its text.

    Args:
        root: the manifest.
        defaults: its `defaults` by head.
        findings: takes problems; the cells are of use only if there are none.
    """
    expansion = Expansion(defaults, findings)
    expansion.add_product(root)
    expansion.add_cells(root.get("cells"))
    expansion.exclude(root.get("exclude"))
    expansion.include(root.get("include"))
    expansion.check_keys()
    expansion.expand_faithful()
    return expansion


class Expansion:
    """The cells while the blocks of a manifest are read one after the other.

    Attributes:
        drafts: the cells so far.
        reader: validates parts.
        systems: writes out the options of faithful cells.
        definitions: regimes that the text defines beside its defaults, {name: nodes}.
    """

    def __init__(self, defaults: dict[str, Node], findings: Findings) -> None:
        self.defaults, self.findings = defaults, findings
        self.reader = PartReader(findings)
        self.systems = Expander(self.reader, findings)
        self.drafts: list[Draft] = []
        self.definitions: dict[str, list[Node]] = {}

    def _define(self, regime: Node | None) -> None:
        """Remember a regime by its name, if it is not known already."""
        regime = merge(self.defaults.get("regime"), regime)
        name = None if regime is None else as_mapping(regime).get("name")
        if regime is not None and name is not None and isinstance(name.value, str):
            known = self.definitions.setdefault(name.value, [])
            if all(as_mapping(regime).plain() != node.plain() for node in known):
                known.append(as_mapping(regime))

    def refer(self, word: Node) -> Node:
        """The regime that a bare name means: the one of that name in the manifest, if any."""
        known = self.definitions.get(str(word.value), [])
        if len(known) > 1:
            self.findings.add(word.mark, several(str(word.value), [node.mark for node in known]))
        return known[0] if known else word

    # the product

    def add_product(self, root: Node) -> None:
        """Read `grid` and `zip`."""
        blocks = {key: root.get(key) for key in ("grid", "zip")}
        lists: dict[str, dict[str, Sequence[Node]]] = {}
        for block, node in blocks.items():
            lists[block] = {} if node is None else self._lists(node)
        lengths = [len(values) for values in lists["grid"].values()]
        zipped = lists["zip"]
        if zipped and blocks["zip"] is not None:
            lengths.append(self._zip_length(blocks["zip"], zipped))
        origin = next((node for node in blocks.values() if node is not None), root)
        for key in zipped.keys() & lists["grid"].keys():
            assert blocks["zip"] is not None
            self.findings.add(blocks["zip"].keys[key], "stands in 'grid' too; remove one")
        if not lengths or not self._fits(math.prod(lengths), origin.mark):
            return
        axes = [self._axis(blocks["grid"], {key: v}) for key, v in lists["grid"].items()]
        if zipped:
            axes.append(self._axis(blocks["zip"], zipped))
        lookups = [self._lookup(head, axes) for head in HEADS]
        for index in itertools.product(*(range(length) for length in lengths)):
            self.drafts.append(Draft(tuple([look(index) for look in lookups]), origin.mark))

    def _lists(self, node: Node) -> dict[str, Sequence[Node]]:
        """The values of each key of `grid` or `zip`, those with problems left out."""
        heads(node, self.findings)
        found: dict[str, Sequence[Node]] = {}
        for key, value in node.value.items() if isinstance(node.value, dict) else ():
            head = key.split(".")[0]
            if head not in HEADS:
                continue
            values: Sequence[Node] = value.value if isinstance(value.value, tuple) else (value,)
            if key in LISTS and any(not isinstance(v.value, tuple) for v in values):
                message = "each value here is the whole list of a cell; write a list of lists"
                self.findings.add(value.mark, f"{message}, or one list under 'defaults'")
                continue
            if isinstance(value.value, str) and value.value.startswith("range("):
                values = self._range(value)
            if not values:
                self.findings.add(value.mark, "empty, so there are no cells; write a value")
                continue
            if key == "regime":
                for regime in values:
                    self._define(regime)
            found[key] = values
        if not found and not self.findings:
            self.findings.add(node.mark, "empty; write at least one key, e.g. seed: [0, 1, 2]")
        return found

    def _range(self, node: Node) -> Sequence[Node]:
        match = _RANGE.fullmatch(str(node.value))
        if match is None:
            message = 'expected range(0, 5); in braces quote it: "range(0, 5)"'
            self.findings.add(node.mark, message)
            return (Node(node.mark, 0),)
        return _Range(node.mark, range(int(match[1] or 0), int(match[2])))

    def _zip_length(self, node: Node, lists: dict[str, Sequence[Node]]) -> int:
        (first, values), *others = lists.items()
        for key, other in others:
            if len(other) != len(values):
                message = f"has {len(other)} values but '{first}' has {len(values)}"
                self.findings.add(node.keys[key], f"{message}; a zip pairs lists of one length")
        return min(len(values) for values in lists.values())

    def _fits(self, count: int, mark: Mark) -> bool:
        if count > MAX_CELLS:
            self.findings.add(mark, f"{count:,} cells; at most {MAX_CELLS:,} are allowed")
        return count <= MAX_CELLS

    @staticmethod
    def _axis(block: Node | None, lists: dict[str, Sequence[Node]]) -> _Axis:
        assert block is not None
        layers: list[dict[str, Node]] = []
        ordered = sorted(lists, key=lambda key: key.count("."))
        for values in zip(*(lists[key] for key in ordered), strict=False):
            layer: dict[str, Node] = {}
            for key, value in zip(ordered, values, strict=True):
                head, nested = nest(key, block.keys[key], value)
                merged = merge(layer.get(head), nested)
                assert merged is not None
                layer[head] = merged
            layers.append(layer)
        return _Axis(layers, {key.split(".")[0]: key.count(".") for key in ordered})

    def _lookup(self, head: str, axes: list[_Axis]) -> Callable[[Index], Part]:
        """From the position in the product to the part, made when first needed."""
        touching = [place for place, axis in enumerate(axes) if head in axis.depth]
        touching.sort(key=lambda place: axes[place].depth[head])
        known: dict[Index, Part] = {}

        def make(key: Index) -> Part:
            own = None
            node = self.defaults.get(head)
            for place, value in zip(touching, key, strict=True):
                layer = axes[place].layers[value][head]
                own, node = merge(own, layer), merge(node, layer)
            known[key] = self.reader.read(head, node, own)
            return known[key]

        if not touching:
            constant = make(())
            return lambda _: constant
        if len(touching) == 1:
            (place,) = touching
            parts = [make((value,)) for value in range(len(axes[place].layers))]
            return lambda index: parts[index[place]]

        def look(index: Index) -> Part:
            key = tuple([index[place] for place in touching])
            return known.get(key) or make(key)

        return look

    # explicit cells

    def entries(self, node: Node | None) -> list[tuple[Node, dict[str, Node]]]:
        """The mappings of a list such as `cells`, each with its parts."""
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, tuple):
            self.findings.add(node.mark, f"expected a list of mappings, got {describe(node.value)}")
            return []
        return [(entry, heads(entry, self.findings)) for entry in node.value]

    def add_cells(self, node: Node | None) -> None:
        """Read `cells`."""
        entries = self.entries(node)
        for _, parts in entries:
            regime = parts.get("regime")
            if regime is not None and isinstance(regime.value, dict):
                self._define(regime)
        if self._fits(len(self.drafts) + len(entries), node.mark if node else Mark(0, 0, "")):
            self.drafts += [self._single(entry, parts) for entry, parts in entries]

    def _single(self, entry: Node, parts: dict[str, Node]) -> Draft:
        """One cell of its own."""
        regime = parts.get("regime")
        if regime is not None and isinstance(regime.value, str):
            parts = {**parts, "regime": self.refer(regime)}
        read = self.reader.read
        made = (read(h, merge(self.defaults.get(h), parts.get(h)), parts.get(h)) for h in HEADS)
        return Draft(tuple(made), entry.mark)

    # exclude and include

    def exclude(self, node: Node | None) -> None:
        """Drop the cells that an entry matches in part."""
        for entry, parts in self.entries(node):
            pattern = Pattern(parts)
            kept = [draft for draft in self.drafts if not pattern.matches(draft.part)]
            if parts and len(kept) == len(self.drafts):
                self.refuse_unmatched(entry)
            self.drafts = kept if parts else self.drafts

    def refuse_unmatched(self, pattern: Node) -> None:
        """Note a pattern that selects nothing, unless a part with a problem may be the reason."""
        if all(part.valid for draft in self.drafts for part in draft.parts):
            self.findings.add(pattern.mark, "matches no cell; correct or remove it")

    def include(self, node: Node | None) -> None:
        """Add keys to matching cells, or add a cell."""
        for entry, parts in self.entries(node):
            addition = _Addition(self.reader, parts)
            changed = [addition.apply(draft) for draft in self.drafts]
            if not addition.matched:
                self.drafts.append(self._single(entry, parts))
            elif not addition.changed and parts:
                self.findings.add(entry.mark, "adds nothing to the cells it matches; remove it")
            else:
                self.drafts = changed

    def expand_faithful(self) -> None:
        """Write out the options of cells that repeat a published system."""
        self.drafts = [self._faithful(draft) for draft in self.drafts]

    def _faithful(self, draft: Draft) -> Draft:
        system = draft.part("faithful").value
        if system is None:
            return draft
        dataset, model, regime, attacks = (draft.part(head) for head in SYSTEM_HEADS)
        filled = self.systems.filled(system, (dataset, model, regime, attacks), draft.origin)
        made = list(draft.parts)
        for head, part in zip(SYSTEM_HEADS, filled, strict=True):
            made[_PLACE[head]] = part
        return Draft(tuple(made), draft.origin)

    def check_keys(self) -> None:
        """Every cell needs a dataset, a model and a regime."""
        networks = {draft.parts[: len(NETWORK)] for draft in self.drafts}
        if all(part.node is not None for parts in networks for part in parts):
            return
        seen = {(draft.origin, head) for draft in self.drafts for head in _missing(draft)}
        for origin, head in seen:
            if head not in self.findings.meant:
                self.findings.add(origin, f"{missing_key(head)} (or under 'defaults')")


def _missing(draft: Draft) -> list[str]:
    return [head for head in NETWORK if draft.part(head).node is None]


def several(name: str, marks: list[Mark]) -> str:
    """What to say about a regime's name that fits more than one."""
    lines = " and ".join(str(line) for line in sorted({mark.line for mark in marks}))
    return f"'{name}' names {len(marks)} regimes of this manifest (lines {lines}); write it out"


@dataclasses.dataclass(frozen=True)
class _Range(Sequence[Node]):
    """Seeds of a range, made one by one: its length may be far beyond any limit."""

    mark: Mark
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Node:  # type: ignore[override]
        return Node(self.mark, self.numbers[index])


class _Addition:
    """An entry of `include` on its way through the cells."""

    def __init__(self, reader: PartReader, parts: dict[str, Node]) -> None:
        self.reader, self.parts = reader, parts
        self.matched = self.changed = False
        self._known: dict[Part, Part | None] = {}

    def apply(self, draft: Draft) -> Draft:
        """The cell with the entry's new keys; the cell itself where the entry disagrees."""
        made = list(draft.parts)
        for head, node in self.parts.items():
            part = self._extend(head, draft.part(head), node)
            if part is None:
                return draft
            made[_PLACE[head]] = part
        self.matched = True
        self.changed |= any(a is not b for a, b in zip(made, draft.parts, strict=True))
        return Draft(tuple(made), draft.origin)

    def _extend(self, head: str, part: Part, node: Node) -> Part | None:
        """The part with the keys that it does not set itself; None if the entry disagrees."""
        if part not in self._known:
            condition, addition = _split(node, part.own)
            agrees = condition is None or (part.valid and matches(part.value, condition))
            extended = part if addition is None else None
            if agrees and addition is not None:
                extended = self.reader.read(head, merge(part.node, addition), part.own)
            self._known[part] = extended if agrees else None
        return self._known[part]


def _split(node: Node, own: Node | None) -> tuple[Node | None, Node | None]:
    """An entry's value as (what the cell sets itself, what is new)."""
    if own is None:
        return None, node
    mine = as_mapping(own)
    if not (isinstance(node.value, dict) and isinstance(mine.value, dict)):
        return node, None
    sides: tuple[dict[str, Node], dict[str, Node]] = ({}, {})
    for key, value in node.value.items():
        for side, half in zip(sides, _split(value, mine.value.get(key)), strict=True):
            if half is not None:
                side[key] = half
    condition, addition = (dataclasses.replace(node, value=s) if s else None for s in sides)
    return condition, addition
