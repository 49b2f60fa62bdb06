"""The parts of a cell: read from the text, merged over defaults, validated once each.

Merging keeps every value's own place, so a problem of a merged part still points into the text.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jobs.expand.messages import Findings, explain, suggestion, unknown_key
from jobs.expand.systems import System
from jobs.expand.yaml_scalars import describe
from jobs.expand.yaml_text import Mark, Node
from snnlib.spec.attack import Attack
from snnlib.spec.data import Dataset, Evaluation
from snnlib.spec.model import Model
from snnlib.spec.neuron import NDS, TALIF
from snnlib.spec.stage import Stage
from snnlib.spec.training import Regime, Start
from snnlib.spec.values import Epsilon, Seed

HEADS: dict[str, Any] = {
    "dataset": Dataset,
    "model": Model,
    "regime": Regime,
    "epsilons": tuple[Epsilon, ...],
    "attacks": tuple[Attack, ...],
    "evaluation": Evaluation,
    "stages": tuple[Stage, ...],
    "faithful": System | None,
    "seed": Seed,
}
"""Keys of a cell and their types; `seed` is last, so the rest of a cell is a prefix."""
ABSENT: dict[str, Any] = {
    "epsilons": (),
    "attacks": (),
    "evaluation": Evaluation(),
    "stages": (),
    "faithful": None,
    "seed": 0,
}
NETWORK = ("dataset", "model", "regime")
LISTS = {
    "epsilons": '["2/255", "8/255"]',
    "attacks": "[fgsm, pgd]",
    "stages": "[gradients]",
}
"""Keys whose value is a list, with an example."""

_ATTACK: dict[str, Any] = {"surrogate": {}}
_ATTACKS: dict[str, Any] = {**_ATTACK, "attack": _ATTACK}
_NAMED: dict[str, Any] = {
    "dataset": {},
    "model": {"neuron": {}, "encoder": {}, "surrogate": {}},
    "regime": {"attack": _ATTACK},
}
"""Where a word may stand for the mapping {name: word}."""
_NEAR = Fraction(1, 10**6)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One key of a cell.

    Attributes:
        node: as written, merged over defaults; None if written nowhere.
        own: as written in grid, zip or cells alone.
        value: validated, one object for equal values; a regime without its `start`, a model without
            its neuron's `nds`.
        start: of a regime, where its training starts.
        nds: of a model of TA-LIF neurons, their signature.
        valid: whether `value` can be used.
    """

    node: Node | None
    own: Node | None = None
    value: Any = None
    start: Start | None = None
    nds: NDS | None = None
    valid: bool = True

    @property
    def whole(self) -> Any:
        """The value with what was taken out of it."""
        if self.start is not None:
            return dataclasses.replace(self.value, start=self.start)
        return self.value if self.nds is None else with_nds(self.value, self.nds)

    def mark(self, path: str, otherwise: Mark) -> Mark:
        """Place of a key below this part, or of the nearest thing written."""
        return _nearest(self.node, path, otherwise)

    def item_mark(self, place: int, path: str, otherwise: Mark) -> Mark:
        """The same below one item of a list."""
        items = self.node.value if self.node is not None else None
        return _nearest(items[place] if isinstance(items, tuple) else None, path, otherwise)


def with_nds(model: Any, nds: NDS | None) -> Any:
    """A model of TA-LIF neurons with another signature."""
    return dataclasses.replace(model, neuron=dataclasses.replace(model.neuron, nds=nds))


def _nearest(node: Node | None, path: str, mark: Mark) -> Mark:
    mark = mark if node is None else node.mark
    for step in path.split("."):
        node = None if node is None else _below(node, step)
        mark = mark if node is None else node.mark
    return mark


def _below(node: Node, step: str) -> Node | None:
    if isinstance(node.value, tuple) and step.isdigit() and int(step) < len(node.value):
        return node.value[int(step)]
    return node.get(step)


def as_mapping(node: Node, key: str = "name") -> Node:
    """A word as {name: word}; anything else as it is."""
    if isinstance(node.value, str):
        return Node(node.mark, {key: node}, {key: node.mark})
    return node


def merge(base: Node | None, over: Node | None) -> Node | None:
    """One value over another; mappings key by key, unless their names differ."""
    if base is None or over is None:
        return over if base is None else base
    if isinstance(base.value, dict) or isinstance(over.value, dict):
        lower, upper = as_mapping(base), as_mapping(over)
        if isinstance(lower.value, dict) and isinstance(upper.value, dict):
            names = lower.get("name"), upper.get("name")
            if None in names or names[0].value == names[1].value:  # type: ignore[union-attr]
                return _merge_keys(lower, upper)
    return over


def _merge_keys(lower: Node, upper: Node) -> Node:
    assert isinstance(lower.value, dict)
    assert isinstance(upper.value, dict)
    value = dict(lower.value)
    for key, node in upper.value.items():
        merged = merge(value.get(key), node)
        assert merged is not None
        value[key] = merged
    return Node(upper.mark, value, {**lower.keys, **upper.keys})


def nest(key: str, mark: Mark, node: Node) -> tuple[str, Node]:
    """A dotted key as (head, value below it)."""
    head, *rest = key.split(".")
    for step in reversed(rest):
        node = Node(node.mark, {step: node}, {step: mark})
    return head, node


def heads(node: Node, findings: Findings, known: Iterable[str] = tuple(HEADS)) -> dict[str, Node]:
    """The parts that a mapping of cell keys sets; dotted keys go below plain ones.

    Args:
        node: a mapping such as one entry of `cells`; nothing counts as empty.
        findings: takes unknown keys and what is no mapping.
        known: keys that may stand here.
    """
    known = list(known)
    if not isinstance(node.value, dict):
        if node.value is not None:
            example = "{model.neuron: lif}"
            message = f"expected a mapping of cell keys such as {example}"
            findings.add(node.mark, f"{message}, got {describe(node.value)}")
        return {}
    found: dict[str, Node] = {}
    for key in sorted(node.value, key=lambda k: k.count(".")):
        if key.split(".")[0] not in known:
            findings.add(node.keys[key], unknown_key(key, known))
            findings.meant.add(suggestion(key, known) or "")
            continue
        head, value = nest(key, node.keys[key], node.value[key])
        merged = merge(found.get(head), value)
        assert merged is not None
        found[head] = merged
    return found


def spell(head: str, node: Node) -> Node:
    """Words written out as mappings, wherever a name may stand for one."""
    if head == "attacks" and isinstance(node.value, tuple):
        items = tuple(_spell(_ATTACKS, item) for item in node.value)
        return dataclasses.replace(node, value=items)
    if head == "stages" and isinstance(node.value, tuple):
        items = tuple(as_mapping(item, "kind") for item in node.value)
        return dataclasses.replace(node, value=items)
    return _spell(_NAMED[head], node) if head in _NAMED else node


def _spell(table: dict[str, Any], node: Node) -> Node:
    node = as_mapping(node)
    if not isinstance(node.value, dict) or not table:
        return node
    value = dict(node.value)
    for key in table.keys() & value.keys():
        if not (table in (_ATTACK, _ATTACKS) and value[key].value == "own"):
            value[key] = _spell(table[key], value[key])
    return dataclasses.replace(node, value=value)


@functools.cache
def adapter(head: str) -> TypeAdapter[Any]:
    """Validator of one key of a cell, built once."""
    return TypeAdapter(HEADS[head])


class PartReader:
    """Validates parts; equal values become one object, so their ids are computed once."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._same: dict[Any, Any] = {}

    def read(self, head: str, node: Node | None, own: Node | None = None) -> Part:
        """Validate one key of a cell.

        Args:
            head: the key.
            node: merged over the defaults; None if written nowhere.
            own: without the defaults.
        """
        if node is None:
            return Part(None, None, ABSENT.get(head), valid=head in ABSENT)
        node = spell(head, node)
        try:
            value = adapter(head).validate_python(node.plain())
        except ValidationError as error:
            self._refuse(error, head, node)
            return Part(node, own, valid=False)
        start = nds = None
        if head == "regime":
            start, value = value.start, dataclasses.replace(value, start=None)
        elif head == "model" and isinstance(value.neuron, TALIF):
            nds, value = value.neuron.nds, with_nds(value, None)
        check = _CHECKS.get(head)
        if check is not None:
            value = check(value, node, self.findings)
        return Part(node, own, self.same(value), start, nds)

    def same(self, value: Any) -> Any:
        """The first object that equals this one."""
        return self._same.setdefault((type(value), value), value)

    def _refuse(self, error: ValidationError, head: str, node: Node) -> None:
        if head in LISTS and not isinstance(node.value, tuple):
            message = f"expected the list of a cell, e.g. {LISTS[head]}"
            self.findings.add(node.mark, f"{message}; got {describe(node.value)}")
        elif head == "seed" and isinstance(node.value, str) and node.value.startswith("range("):
            message = 'a range of seeds stands in grid or zip, e.g. seed: "range(0, 5)"'
            self.findings.add(node.mark, message)
        else:
            explain(error, node, HEADS[head], head, self.findings)


def _check_epsilons(
    value: tuple[Fraction, ...], node: Node, findings: Findings
) -> tuple[Fraction, ...]:
    """Radii without 0, ascending; near misses and repetitions are problems."""
    assert isinstance(node.value, tuple)
    if not value:
        findings.add(node.mark, 'empty; write e.g. ["2/255", "8/255"]')
    order = sorted(range(len(value)), key=value.__getitem__)
    for one, two in itertools.pairwise(order):
        first, second = sorted((one, two))
        texts = node.value[first].value, node.value[second].value
        if value[one] == value[two]:
            findings.add(node.value[second].mark, f"{texts[1]} is the same epsilon as {texts[0]}")
        elif value[two] - value[one] < _NEAR:
            message = (
                f"{texts[1]} is not exactly {texts[0]} but closer than 1e-6; write one of them"
            )
            findings.add(node.value[second].mark, message)
    return tuple(sorted(set(value) - {0}))


def _check_repeated(
    what: str, value: tuple[Any, ...], node: Node, findings: Findings
) -> tuple[Any, ...]:
    assert isinstance(node.value, tuple)
    for position, item in enumerate(value):
        if item in value[:position]:
            first = value.index(item)
            message = f"the same {what} as number {first + 1} of the list; remove one"
            findings.add(node.value[position].mark, message)
    return value


_CHECKS: dict[str, Callable[[Any, Node, Findings], Any]] = {
    "epsilons": _check_epsilons,
    "attacks": functools.partial(_check_repeated, "attack"),
    "stages": functools.partial(_check_repeated, "stage"),
}
