"""The exact scalar types of a specification: whole numbers, decimals, fractions, step sizes.

No float ever stands in a specification: reals are `Decimal` from the manifest's own text, and
perturbation sizes are `Fraction`. So two spellings of one number give one identity.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

MAX_DIGITS = 30
_FRACTION = re.compile(r"(?P<n>[0-9]{1,30})(?:/(?P<d>[0-9]{1,30}))?", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{0,30}\.?[0-9]{1,30}(?:e-?[0-9]{1,2})?", re.ASCII)
_CANONICAL_REAL = re.compile(r"-?[0-9]{1,99}(?:\.[0-9]{1,99})?", re.ASCII)
_STEP = re.compile(r"eps(?:\*(?P<num>[0-9]{1,9}))?(?:/(?P<den>[0-9]{1,9}))?", re.ASCII)

CANONICAL = "canonical"
"""Validation context under which decimals may be text, as they are in spec.json."""

_TOO_LONG = 'the number is too long; write a fraction such as "8/255"'
_LEVELS = 255  # of 8-bit images: what a decimal near k/255 was meant to be
_NEAR = Fraction(1, 10**6)


class Spec:
    """Base of all specifications: unknown keys are refused."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Spec):
    """A file of weights (safetensors), known by its content."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def parse_fraction(value: object) -> Fraction:
    """Read an exact non-negative fraction.

    Args:
        value: "8/255", "0.03", a whole number or a Decimal.

    Raises:
        ValueError: with the reason in words when the text is not one.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError('expected a fraction such as "8/255" or a decimal')
    text = str(value)
    for position, char in enumerate(text, start=1):
        if char.isdigit() and not char.isascii():
            raise ValueError(f"non-ASCII digit at character {position}; write 0-9")
    negative = text.startswith("-")
    body = text.removeprefix("-")
    if match := _FRACTION.fullmatch(body):
        if match["d"] is not None and int(match["d"]) == 0:
            raise ValueError("the denominator is 0")
        result = Fraction(int(match["n"]), int(match["d"] or 1))
    elif _DECIMAL.fullmatch(body.lower()):
        result = Fraction(Decimal(body))
    elif re.fullmatch(r"[0-9.]+[eE][+-]?[0-9]{3,}|[0-9]{31,}.*", body, re.ASCII):
        raise ValueError(_TOO_LONG)
    else:
        raise ValueError('not a fraction such as "8/255" nor a decimal such as 0.03')
    if result.denominator >= 10**MAX_DIGITS:
        raise ValueError(_TOO_LONG)
    return -result if negative else result


def _real(value: object, info: ValidationInfo) -> Decimal:
    if info.context == CANONICAL and isinstance(value, str):
        if not _CANONICAL_REAL.fullmatch(value):
            raise ValueError("not a canonical decimal")
        return Decimal(value)
    if isinstance(value, bool):
        raise ValueError("expected a number, got true or false")
    if isinstance(value, int | Decimal):
        number = Decimal(value)
        if not number.is_finite():
            raise ValueError("must be finite")
        if abs(number.adjusted()) > MAX_DIGITS:
            raise ValueError("the number is too large or too small")
        return abs(number) if number.is_zero() else number  # -0 and 0 are one identity
    if isinstance(value, str):
        if re.fullmatch(r"[0-9]+e[+-]?[0-9]+", value, re.IGNORECASE | re.ASCII):
            mantissa, exponent = re.split("e", value, flags=re.IGNORECASE)
            raise ValueError(f"YAML 1.1 reads this as text; write {mantissa}.0e{exponent}")
        if _DECIMAL.fullmatch(value):
            raise ValueError("expected a number, got text; remove the quotes")
    raise ValueError("expected a number")


def _step(value: object) -> str:
    if isinstance(value, str) and (match := _STEP.fullmatch(value.replace(" ", ""))):
        denominator = int(match["den"] or 1)
        if denominator == 0:
            raise ValueError("the denominator is 0")
        share = Fraction(int(match["num"] or 1), denominator)
        if share > 0:
            top = "eps" if share.numerator == 1 else f"eps*{share.numerator}"
            return top if share.denominator == 1 else f"{top}/{share.denominator}"
        raise ValueError("must be positive")
    try:
        absolute = parse_fraction(value)
    except ValueError as error:
        raise ValueError(f"expected eps/4, eps*2/5, 1/255 or a decimal: {error}") from None
    if not 0 < absolute <= 1:
        raise ValueError("must lie in (0, 1]")
    return str(absolute)


def step_length(step_size: str, epsilon: Fraction) -> Fraction:
    """Length of one attack step, in the units of epsilon.

    Args:
        step_size: validated text, relative ("eps/4") or absolute ("1/255").
        epsilon: radius of the ball.
    """
    if match := _STEP.fullmatch(step_size):
        return epsilon * Fraction(int(match["num"] or 1), int(match["den"] or 1))
    return Fraction(step_size)


def _epsilon(value: object) -> Fraction:
    epsilon = parse_fraction(value)
    if epsilon < 0:
        raise ValueError("a radius is not negative; write 0 or more")
    level = round(epsilon * _LEVELS)
    if 0 < abs(epsilon - Fraction(level, _LEVELS)) < _NEAR:
        near = f"{level}/{_LEVELS}" if level else "0"
        raise ValueError(f"{value} is not exactly {near} but closer than 1e-6; write one of them")
    return epsilon


PositiveInt = Annotated[int, Field(strict=True, ge=1)]
NaturalInt = Annotated[int, Field(strict=True, ge=0)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Bool = Annotated[bool, Field(strict=True)]
_REAL_SCHEMA = WithJsonSchema({"type": "number"})
Real = Annotated[Decimal, Field(ge=0), BeforeValidator(_real), _REAL_SCHEMA]
PositiveReal = Annotated[Decimal, Field(gt=0), BeforeValidator(_real), _REAL_SCHEMA]
Epsilon = Annotated[
    Fraction,
    BeforeValidator(_epsilon),
    WithJsonSchema({"type": ["string", "number"], "examples": ["8/255", 0.1]}),
]
StepSize = Annotated[
    str,
    BeforeValidator(_step),
    WithJsonSchema({"type": ["string", "number"], "examples": ["eps/4", "1/255"]}),
]
