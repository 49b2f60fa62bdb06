"""`faithful: A` or `faithful: B`: the options under which a published system is repeated.

A cell that is faithful gets the options of `jobs.expand.systems` where it says nothing; where it says
something else, that is a problem: either the cell is faithful or it is not. What follows, identity
included, sees explicit options only.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

from jobs import identity
from jobs.expand.messages import Findings
from jobs.expand.parts import NETWORK, Part, PartReader, merge, nest
from jobs.expand.systems import ATTACKS, Option, System, misfit, options, stranger
from jobs.expand.yaml_text import Mark, Node
from snnlib.spec.values import parse_fraction

SYSTEM_HEADS = (*NETWORK, "attacks")
"""Keys of a cell that hold options of a system."""
Parts = tuple[Part, Part, Part, Part]


class Expander:
    """Fills the parts of faithful cells; equal parts are filled once.

    Args:
        reader: validates parts.
        findings: takes problems.
    """

    def __init__(self, reader: PartReader, findings: Findings) -> None:
        self.reader, self.findings = reader, findings
        self._known: dict[tuple[object, ...], Parts] = {}
        self._systems: dict[Part, System] = {}

    def system_of(self, model: Part) -> System | None:
        """The system that a filled part belongs to."""
        return self._systems.get(model)

    def filled(self, system: System, parts: Parts, origin: Mark) -> Parts:
        """Parts of a cell with the options of a system.

        Args:
            system: which.
            parts: dataset, model, regime and attacks, as the cell says.
            origin: place of what is written nowhere.
        """
        key = (system, *parts)
        if key not in self._known:
            self._known[key] = cast(Parts, self._fill(system, parts, origin))
        filled = self._known[key]
        self._systems[filled[NETWORK.index("model")]] = system
        return filled

    def _fill(self, system: System, parts: Parts, origin: Mark) -> tuple[Part, ...]:
        made = dict(zip(SYSTEM_HEADS, parts, strict=True))
        if not all(part.valid for part in parts):
            return parts
        values = {head: identity.plain(part.value) for head, part in made.items()}
        if self._refused(system, made, values, origin):
            return parts
        nodes = {head: part.node for head, part in made.items()}
        wrong: set[str] = set()
        for option in options(system, values, values["attacks"]):
            head, node = option.head, nodes[option.head]
            assert node is not None
            found = _at(node, option.path)
            if found is None:
                value = option.value
                text = str(value) if isinstance(value, Fraction) else value
                nodes[head] = _laid(node, option.path, text)
            elif option.fixed and not _same(found.value, option.value):
                self._contradicted(system, option, found.mark)
                wrong.add(head)
        for head, part in made.items():
            if nodes[head] is not part.node:
                made[head] = self.reader.read(head, nodes[head], part.own)
            if head in wrong:  # what was said of it is enough
                made[head] = replace(made[head], valid=False)
        return tuple(made.values())

    def _refused(
        self, system: System, made: Mapping[str, Part], values: Mapping[str, Any], origin: Mark
    ) -> bool:
        """Whether a cell is none of the system's; notes it if so."""
        wrong = misfit(system, values["model"])
        if wrong is not None:
            self.findings.add(made["model"].mark(wrong[0], origin), wrong[1])
        strange = stranger(system, values["regime"])
        if strange:
            self.findings.add(made["regime"].mark("name", origin), strange)
        unknown = [n for n, a in enumerate(values["attacks"]) if a["name"] not in ATTACKS[system]]
        for place in unknown:
            message = f"faithful {system} attacks with {' and '.join(ATTACKS[system])}"
            self.findings.add(made["attacks"].item_mark(place, "name", origin), message)
        return wrong is not None or bool(strange or unknown)

    def _contradicted(self, system: System, option: Option, mark: Mark) -> None:
        wanted = f"{option.path.rpartition('.')[2]}: {_shown(option.value)}"
        self.findings.add(mark, f"faithful {system} has {wanted}; remove this, or 'faithful'")


def _at(node: Node, path: str) -> Node | None:
    found: Node | None = node
    for step in path.split("."):
        if found is None:
            return None
        found = found.value[int(step)] if isinstance(found.value, tuple) else found.get(step)
    return found


def _laid(node: Node, path: str, value: str | int | Decimal) -> Node:
    """The node with a value below it, at the node's own place."""
    if isinstance(node.value, tuple):
        place, _, rest = path.partition(".")
        items = list(node.value)
        items[int(place)] = _laid(items[int(place)], rest, value)
        return replace(node, value=tuple(items))
    _, below = nest(f"_.{path}", node.mark, Node(node.mark, value))
    merged = merge(below, node)
    assert merged is not None
    return merged


def _same(found: object, wanted: object) -> bool:
    if isinstance(wanted, Fraction):
        return _fraction(found) == wanted
    if isinstance(wanted, Decimal):
        return isinstance(found, int | Decimal) and not isinstance(found, bool) and found == wanted
    if isinstance(wanted, str):
        return str(found).replace(" ", "") == wanted
    return type(found) is type(wanted) and found == wanted


def _fraction(value: object) -> Fraction | None:
    try:
        return parse_fraction(value)
    except ValueError:
        return None


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
