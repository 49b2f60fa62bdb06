"""Problems in words: places, near misses, closed lists, and what pydantic found wrong."""

import dataclasses
import difflib
import functools
import types
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from jobs.errors import Problem
from jobs.expand.yaml_scalars import describe
from jobs.expand.yaml_text import Mark, Node
from snnlib.spec.attack import Member, Norm

SITE_KEYS = frozenset(
    ["partition", "account", "qos", "constraint", "mail", "preamble", "modules", "python"]
)
EXAMPLES = {
    "dataset": "digits",
    "model": "{name: small, neuron: lif}",
    "neuron": "lif",
    "regime": "clean",
    "epsilon": '"8/255"',
    "where": "{model.neuron: lif}",
    "attack": "pgd",
    "value": "61.0",
    "source": '"Table 2 of the paper"',
    "transfer.source": "{parent: {seed: 1}}",
}
_SINGULAR = {"attacks": "attack", "layers": "layer", "stages": "stage"}
_NAMED = frozenset(
    ["dataset", "model", "neuron", "encoder", "surrogate", "regime", "attack", "stage"]
)


class Findings:
    """Problems of one text, each place and message once.

    Args:
        problems: those of the text itself; what stands at their places is not judged again.

    Attributes:
        meant: keys that unknown ones were probably meant to be, so they are not missing.
    """

    def __init__(self, problems: Sequence[Problem] = ()) -> None:
        self.meant: set[str] = set()
        self._found = {(p.line, p.column, p.message): p for p in problems}
        self._unread = {(p.line, p.column) for p in problems}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, mark: Mark, message: str) -> None:
        """Note a problem at a place."""
        if (mark.line, mark.column) not in self._unread:
            problem = Problem(mark.line, mark.column, mark.path, message)
            self._found.setdefault((mark.line, mark.column, message), problem)

    def sorted(self) -> list[Problem]:
        """All problems in the order of the text."""
        return sorted(self._found.values(), key=lambda p: (p.line, p.column, p.message))


def shown(text: str) -> str:
    """Text in quotes, on one line, without control characters, not too long."""
    quoted = repr(text)
    return quoted if len(quoted) <= 60 else f"{quoted[:56]}...'"


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def unknown_key(key: str, known: Sequence[str], owner: str = "") -> str:
    """What to say about a key that nobody reads.

    Args:
        key: as written.
        known: all keys that may stand there.
        owner: what they are keys of, if that is not plain from the path.
    """
    if key.rpartition(".")[2] in SITE_KEYS:
        return "belongs to site.yaml; name a profile of it with resources.profile"
    if near := suggestion(key, known):
        return f"unknown key; did you mean '{near}'?"
    return f"unknown key{owner} (choose {', '.join(known)})"


def unknown_word(word: str, known: Sequence[str], kind: str) -> str:
    """What to say about a word outside a closed list."""
    near = suggestion(word, known)
    meant = f"; did you mean '{near}'?" if near else ""
    choices = f"choose {', '.join(known)}" if len(known) > 1 else f"the only one is {known[0]}"
    return f"{shown(word)} is not a known {kind} ({choices}){meant}"


def missing_key(key: str, owner: object = "") -> str:
    """What to say about a key that must be there, perhaps with an example of its owner's."""
    example = EXAMPLES.get(f"{owner}.{key}", EXAMPLES.get(key))
    return f"missing key '{key}'{f'; write e.g. {key}: {example}' if example else ''}"


def explain(error: ValidationError, node: Node, hint: Any, kind: str, findings: Findings) -> None:
    """Note what pydantic refused, in words and with places.

    Args:
        error: raised for `node.plain()`.
        node: what was validated.
        hint: the type it was validated against.
        kind: what the value is, e.g. "regime".
        findings: takes the problems.
    """
    unread: list[tuple[Node, str]] = []
    for found in sorted(error.errors(include_url=False), key=_missing_last):
        spot = _Spot(node, hint, kind)
        if not spot.follow(found["loc"]):
            continue
        if found["type"] == "missing":
            key = str(found["loc"][-1])
            if (spot.node, key) not in unread:
                findings.add(spot.node.mark, spot.missing(key))
        elif found["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            key = str(found["loc"][-1])
            known = spot.known_keys()
            findings.add(spot.node.keys[key], unknown_key(key, known, spot.owner()))
            unread.append((spot.node, suggestion(key, known) or ""))
        else:
            place, message = spot.judge(found)
            findings.add(place.mark, message)


def _missing_last(found: Any) -> bool:
    return bool(found["type"] == "missing")


class _Spot:
    """Walks values and types side by side to where an error is."""

    def __init__(self, node: Node, hint: Any, kind: str) -> None:
        self.node, self.hint, self.kind = node, hint, kind

    def follow(self, loc: Sequence[int | str]) -> bool:
        """Go as far as there are values; False for a branch of a union that was not meant."""
        for step in loc:
            members = union_members(self.hint)
            if len(members) > 1 and str(step).startswith("tagged-union["):
                if not isinstance(self.node.value, dict):
                    return False
                self.hint = Union[tuple(m for m in members if is_spec(m))]  # noqa: UP007
                continue
            if len(members) > 1:
                chosen = next((m for m in members if _is_branch(m, step)), None)
                if chosen is None or is_spec(chosen) is not isinstance(self.node.value, dict):
                    return False
                if is_spec(chosen):
                    self.hint = chosen
                continue
            self.hint = members[0]
            if not self._enter(step):
                break
        return True

    def _enter(self, step: int | str) -> bool:
        value = self.node.value
        if isinstance(value, tuple) and isinstance(step, int):
            self.node, self.hint = value[step], get_args(self.hint)[0]
        elif isinstance(value, dict) and step in value and is_spec(self.hint):
            field = hints(self.hint).get(str(step))
            if field is None:
                return False
            self.node, self.hint = value[str(step)], field
            self.kind = self.kind if step == "name" else str(step)
        else:
            return False
        return True

    def known_keys(self) -> list[str]:
        return list(hints(self.hint)) if is_spec(self.hint) else []

    def owner(self) -> str:
        name = self.node.get("name") or self.node.get("kind") or self.node.get("type")
        return f" of '{name.value}'" if name is not None and isinstance(name.value, str) else ""

    def missing(self, key: str) -> str:
        if key != "name":
            name = self.node.get("name")
            return missing_key(key, "" if name is None else name.value)
        known = get_args(hints(self.hint)["name"])
        return f"missing key 'name' of the {self.kind} (choose {', '.join(known)})"

    def judge(self, found: Any) -> tuple[Node, str]:
        kind = _SINGULAR.get(self.kind, self.kind)
        members = union_members(self.hint)
        match found["type"]:
            case "union_tag_not_found" if self.node.get(tag_key(members[0])) is None:
                known = ", ".join(tag for member in members for tag in tags_of(member))
                tag = tag_key(members[0])
                return self.node, f"missing key '{tag}' of the {kind} (choose {known})"
            case "union_tag_invalid" | "union_tag_not_found" | "literal_error":
                tag = tag_key(members[0]) if is_spec(members[0]) else "name"
                name = self.node.get(tag) or self.node
                if kind == "norm" and name.value in get_args(Norm):
                    return name, _norm_elsewhere(str(name.value), known=get_args(members[0]))
                return name, _wrong_word(name.value, members, kind)
            case _:
                return self.node, _plain_message(found, self.node.value, kind)


def _norm_elsewhere(norm: str, known: Sequence[str]) -> str:
    """What to say about a norm that other attacks have."""
    attacks = {cls.__name__: cls for cls in get_args(Member) if "norm" in hints(cls)}
    have = [tags_of(cls)[0] for cls in attacks.values() if norm in get_args(hints(cls)["norm"])]
    own = " or ".join(known)
    return f"this attack has no {norm}, only {own}; write {own}, or one of {', '.join(have)}"


def _wrong_word(value: object, members: list[Any], kind: str) -> str:
    known: list[str] = []
    for member in members:
        known += tags_of(member) if is_spec(member) else get_args(member)
    if isinstance(value, str):
        return unknown_word(value, known, kind)
    return f"expected one of {', '.join(known)}, got {describe(value)}"


_LIMITS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be greater than"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


def _plain_message(found: Any, value: object, kind: str) -> str:
    details = found.get("ctx", {})
    got = describe(value)
    if found["type"] in _LIMITS:
        limit, words = _LIMITS[found["type"]]
        return f"{words} {details[limit]}, got {got}"
    match found["type"]:
        case "value_error":
            return str(details["error"])
        case "int_type" | "int_from_float" | "int_parsing":
            quoted = isinstance(value, str) and value.lstrip("+-").isdecimal()
            return f"expected a whole number, got {got}{'; remove the quotes' * quoted}"
        case "bool_type":
            quoted = value in ("true", "false")
            return f"expected true or false, got {got}{'; remove the quotes' * quoted}"
        case "string_type":
            return f"expected text, got {got}{'; quote it' * isinstance(value, int | Decimal)}"
        case "string_pattern_mismatch":
            return _pattern_message(str(value), kind)
        case "tuple_type" | "list_type":
            return f"expected a list, got {got}"
        case "dataclass_type" | "model_attributes_type" | "dict_type":
            what = "a name or a mapping" if kind in _NAMED else "a mapping"
            return f"expected {what} for '{kind}', got {got}"
        case _:
            return f"{found['msg'].lower()}, got {got}"


def _pattern_message(value: str, kind: str) -> str:
    if kind == "sha256":
        return "expected the 64 lower-case hex digits that sha256sum prints"
    return name_message(value)


def name_message(value: str) -> str:
    """Why a text cannot be a name: letters, digits, ``. _ -``, at most 64, no line break."""
    if "\n" in value or "\r" in value:
        return "a line break is not allowed in a name; write letters, digits, . _ - only"
    for char in value:
        if not (char.isascii() and (char.isalnum() or char in "._-")):
            return f"character {shown(char)} not allowed; write letters, digits, . _ - only"
    if len(value) > 64:
        return f"a name of {len(value)} characters; at most 64 are allowed"
    return "a name starts with a letter or digit"


@functools.cache
def hints(spec: type) -> dict[str, Any]:
    """Keys of a specification with their types."""
    found = get_type_hints(spec, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(spec)}


def is_spec(hint: object) -> TypeGuard[type]:
    """Whether a type is a specification, a mapping in the text."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def union_members(hint: Any) -> list[Any]:
    """The alternatives of a type, without None and annotations; one if it is no union."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    return [m for part in get_args(hint) if part is not type(None) for m in union_members(part)]


def tag_key(spec: type) -> str:
    """The key that tells a specification from others of its union; empty if it stands alone."""
    return next((key for key in ("name", "kind", "type") if key in hints(spec)), "")


def tags_of(spec: type) -> tuple[str, ...]:
    """The words by which a specification is chosen."""
    return get_args(hints(spec)[tag_key(spec)])


def _is_branch(member: Any, step: int | str) -> bool:
    if not is_spec(member):
        return str(step).startswith("literal[")
    return step == member.__name__ or (tag_key(member) != "" and step in tags_of(member))
