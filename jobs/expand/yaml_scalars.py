"""What a plain YAML scalar means, and where YAML 1.1 would silently read something else."""

import re
from decimal import Decimal

MAX_NUMBER = 40
"""Characters of a number."""

Scalar = str | int | bool | Decimal | None


def describe(value: object) -> str:
    """A value in a few words, for messages."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return "text"
        case int() | Decimal():
            return str(value)
        case dict():
            return "a mapping"
        case _:
            return "a list"


_WORDS: dict[str, Scalar] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_SWITCHES = {"y": "true", "yes": "true", "on": "true", "n": "false", "no": "false", "off": "false"}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_ZERO = re.compile(r"[-+]?0[0-9]+")
_BASED = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|b[01_]+|o[0-7_]+)")
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?")
_CLOCK = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?")
_NOT_FINITE = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)


def resolve(text: str) -> tuple[Scalar, str | None]:
    """What a plain scalar means, and what is wrong with writing it so.

    Args:
        text: the scalar as written, without quotes.
    """
    if text in _WORDS:
        return _WORDS[text], None
    if text.lower() in _SWITCHES:
        return text, f'read as {_SWITCHES[text.lower()]}; quote it: "{text}"'
    if text[0] not in "+-.0123456789":
        return text, None
    if _INT.fullmatch(text) or _REAL.fullmatch(text):
        if len(text) > MAX_NUMBER:
            return None, f"a number of {len(text)} characters; at most {MAX_NUMBER} are read"
        return (int(text) if _INT.fullmatch(text) else Decimal(text)), None
    return _surprise(text)


def _surprise(text: str) -> tuple[Scalar, str | None]:
    if _NOT_FINITE.fullmatch(text):
        return None, f"must be finite, found {text}"
    if _DATE.fullmatch(text):
        return text, f"YAML 1.1 reads {text} as a date; quote it"
    if len(text) > MAX_NUMBER:
        return text, None
    digits = text.replace("_", "")
    if _OCTAL.fullmatch(text):
        shown = int(digits, 10)
        return shown, f"YAML 1.1 reads {text} as octal {int(digits, 8)}; write {shown}"
    if _ZERO.fullmatch(text):
        return int(digits), f"{text} starts with a zero; write {int(digits)}"
    if _BASED.fullmatch(text):
        number = int(digits, 0)
        return number, f"{text} is another base; write {number}"
    if _GROUPED.fullmatch(text):
        return None, f"{text} has underscores; write {digits}"
    if _CLOCK.fullmatch(text):
        read = _sixtieths(digits)
        return None, f"YAML 1.1 reads {text} as {read} (base 60); write {read}"
    return text, None


def _sixtieths(text: str) -> Decimal:
    total = Decimal(0)
    for part in text.lstrip("+-").split(":"):
        total = total * 60 + Decimal(part)
    return -total if text.startswith("-") else total
