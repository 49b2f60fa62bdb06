"""What the doctor finds."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: ok, warn (works, but read this) or fail (something will not work).
        found: in words for people.
        way_out: what to do; empty if nothing has to be done.
    """

    name: str
    status: Status
    found: str
    way_out: str = ""
