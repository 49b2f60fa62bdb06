"""How the samples fell that an attack broke: to which member of a suite, at which step, how far off.

Only broken samples have an entry, so a record grows by what happened. Whole numbers are narrow and
compressed, a single one stands for all where they are equal, as after a fixed number of steps.
"""

import base64
import binascii
import math
import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_WIDTHS = {1: "B", 2: "H", 4: "I"}
"""Bytes of a whole number → its code in `struct`."""


@dataclass(frozen=True, kw_only=True)
class Breaks:
    """How the broken samples of one radius fell, in the order of the evaluation set.

    Attributes:
        step: of each, gradient steps or queries made for the point that broke it.
        member: of each, position of the suite's member that broke it first; 0 for an attack that
            is no suite.
        linf: sum over them of the largest change of a value, in the units of epsilon.
        l2: sum over them of the Euclidean length of the change.
    """

    step: tuple[int, ...]
    member: tuple[int, ...]
    linf: float
    l2: float

    def figures(self, members: Sequence[str]) -> dict[str, Any]:
        """What people ask first, as columns of results are named; None where no sample fell.

        Args:
            members: names of a suite's members; empty for any other attack.
        """
        from statistics import median  # loads ten modules, of which reading a record needs none

        broken = len(self.step)
        counts = Counter(self.member) if members else {}
        by = {name: counts[n] for n, name in enumerate(members) if counts.get(n)}
        return {
            "broken_by": ",".join(f"{name}:{count}" for name, count in by.items()) or None,
            "mean_linf": self.linf / broken if broken else None,
            "mean_l2": self.l2 / broken if broken else None,
            "median_step": float(median(self.step)) if broken else None,
            "max_step": max(self.step, default=None),
        }


class Packed(NamedTuple):
    """The same in few bytes; numbers of one column are little-endian, of 1, 2 or 4 bytes each.

    Attributes:
        step: as of `Breaks`.
        member: as of `Breaks`; empty for an attack that is no suite.
        linf: as of `Breaks`.
        l2: as of `Breaks`.
    """

    step: bytes
    member: bytes
    linf: float
    l2: float


def encode(breaks: Breaks) -> dict[str, Any]:
    """JSON-ready; `member` is left out where all are 0."""
    data = {"step": _pack(breaks.step), "linf": breaks.linf, "l2": breaks.l2}
    return data | ({"member": _pack(breaks.member)} if any(breaks.member) else {})


def decode(data: Mapping[str, Any], broken: int) -> Breaks:
    """Undo `encode`.

    Args:
        data: what it gave.
        broken: how many samples fell.

    Raises:
        KeyError, TypeError, ValueError: if it tells of another number of samples, or makes no sense.
    """
    linf, l2 = _norms(data)
    step, member = (_unpack(told, broken) for told in (data["step"], data.get("member", 0)))
    return Breaks(step=step, member=member, linf=linf, l2=l2)


def packed(data: Mapping[str, Any], broken: int, members: int) -> Packed:
    """Undo `encode` but for the numbers of samples; without a suite's members, `member` is empty.

    Args:
        data: as of `decode`.
        broken: as of `decode`.
        members: of a suite; 0 for any other attack.

    Raises:
        KeyError, TypeError, ValueError: as of `decode` and `check_members`.
        OverflowError: one number that stands for all has more than 32 bits.
    """
    linf, l2 = _norms(data)
    step, member = (_bytes(told, broken) for told in (data["step"], data.get("member", 0)))
    # a byte each, as of fewer members than 256: none is left where all are of them
    if "member" in data and (
        len(member) > broken or member.translate(None, bytes(range(256))[:members])
    ):
        check_members(max(_unpack(data["member"], broken)), members)
    return Packed(step, member if members else b"", linf, l2)


def check_members(largest: int, members: int) -> None:
    """Refuse a member that a suite of so many does not have.

    Raises:
        ValueError: it has not.
    """
    if largest >= members:
        raise ValueError(f"member {largest} broke a sample, there are {members}")


def _norms(data: Mapping[str, Any]) -> tuple[float, float]:
    for key in ("linf", "l2"):
        if not 0 <= data[key] < math.inf:
            raise ValueError(f"the sum of {key} norms is {data[key]}")
    return float(data["linf"]), float(data["l2"])


def joined(parts: Sequence[Breaks | None]) -> Breaks | None:
    """Those of consecutive batches as one; None if one of them does not say.

    The sums are rounded once, so they do not depend on who added which of them first.
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Breaks(
        step=tuple(step for part in known for step in part.step),
        member=tuple(member for part in known for member in part.member),
        linf=math.fsum(part.linf for part in known),
        l2=math.fsum(part.l2 for part in known),
    )


def _pack(values: Sequence[int]) -> int | str:
    """One number if all are equal, else their width, and base64 of compressed little-endian bytes."""
    if len(set(values)) <= 1:
        return values[0] if values else 0
    width = next(width for width in _WIDTHS if max(values) < 256**width)
    data = struct.pack(f"<{len(values)}{_WIDTHS[width]}", *values)
    return f"{width}:{base64.b64encode(zlib.compress(data, 9)).decode()}"


def _unpack(data: object, count: int) -> tuple[int, ...]:
    """Undo `_pack`.

    Raises:
        KeyError, TypeError, ValueError: if it does not hold exactly `count` numbers.
    """
    if type(data) is int and data >= 0:
        return (data,) * count
    code, content = _numbers(data, count)
    return struct.unpack(f"<{count}{code}", content)


def _bytes(data: object, count: int) -> bytes:
    """Undo `_pack` but for the numbers themselves; errors as of `_unpack`."""
    if type(data) is int and data >= 0:
        width = next((width for width in _WIDTHS if data < 256**width), 0)
        return data.to_bytes(width, "little") * count if count else b""
    return _numbers(data, count)[1]


def _numbers(data: object, count: int) -> tuple[str, bytes]:
    """The code in `struct` of one number, and all of them; errors as of `_unpack`."""
    if not isinstance(data, str):
        raise TypeError(f"expected whole numbers of broken samples, found {data!r}")
    width, _, text = data.partition(":")
    code = _WIDTHS[int(width)]
    try:
        content = zlib.decompress(binascii.a2b_base64(text, strict_mode=True))
    except zlib.error as error:
        raise ValueError(f"numbers of broken samples are damaged ({error})") from error
    if len(content) != count * int(width):
        raise ValueError(f"{len(content) // int(width)} numbers for {count} broken samples")
    return code, content
