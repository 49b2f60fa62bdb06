"""Partial matching of cells: a pattern holds where everything it says is so."""

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from jobs.expand.parts import Part
from jobs.expand.yaml_text import Node
from snnlib.spec.values import parse_fraction


class Pattern:
    """What `exclude`, `when` and `where` select; each distinct part is compared once.

    Args:
        parts: patterns by head.
    """

    def __init__(self, parts: dict[str, Node]) -> None:
        self._parts = parts
        self._known: dict[tuple[str, Part], bool] = {}

    def matches(self, part_of: Callable[[str], Part]) -> bool:
        """Whether a cell agrees with everything that the pattern says.

        Args:
            part_of: from a head to the part of the cell.
        """
        return all(self._agrees(head, part_of(head)) for head in self._parts)

    def _agrees(self, head: str, part: Part) -> bool:
        key = head, part
        if key not in self._known:
            self._known[key] = part.valid and matches(part.whole, self._parts[head])
        return self._known[key]


def matches(value: object, pattern: Node) -> bool:
    """Whether a validated value agrees with a pattern.

    A mapping agrees if each of its keys does, a word if it is the name, a list if it is the whole
    list, and anything else with a list if it agrees with one of its items.
    """
    wanted = pattern.value
    if isinstance(value, tuple):
        if not isinstance(wanted, tuple):
            return any(matches(item, pattern) for item in value)
        pairs = zip(value, wanted, strict=False)
        return len(value) == len(wanted) and all(matches(item, node) for item, node in pairs)
    if isinstance(wanted, dict):
        if isinstance(value, dict):
            return all(k in value and matches(value[k], node) for k, node in wanted.items())
        return all(hasattr(value, k) and matches(getattr(value, k), n) for k, n in wanted.items())
    if dataclasses.is_dataclass(value):
        named = getattr(value, "name", None) or getattr(value, "kind", None)
        return isinstance(wanted, str) and named == wanted
    return _equal(value, wanted)


def _equal(value: object, wanted: object) -> bool:
    if isinstance(value, Fraction):
        try:
            return value == parse_fraction(wanted)
        except ValueError:
            return False
    if isinstance(value, Decimal):
        return isinstance(wanted, int | Decimal) and value == wanted
    return type(value) is type(wanted) and value == wanted
