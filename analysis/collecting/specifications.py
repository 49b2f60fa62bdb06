"""What a network was trained to be: its specification, and the setting that it shares with seeds."""

import hashlib
import json
import sys
from dataclasses import dataclass
from typing import Any

canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Compact JSON with sorted keys."""


@dataclass(frozen=True)
class Specification:
    """One of a training.

    Attributes:
        value: content of spec.json.
        text: the same in canonical form.
        bare: canonical form without seed and parents: the setting.
        origins: its parents, by training id, stage id or file; null for none.
    """

    value: dict[str, Any]
    text: str
    bare: str
    origins: list[str | None]


def of_value(value: dict[str, Any], text: str | None = None) -> Specification:
    """What the content of spec.json says.

    Args:
        value: the content.
        text: its canonical form, where that is known already.
    """
    bare = {key: item for key, item in value.items() if key not in ("seed", "start")}
    origins: list[str | None] = [value.get("start")]
    if isinstance(nds := value.get("nds"), str) and "/" in nds:
        del bare["nds"]
        origins += nds.split("/")
    # few of these texts differ: one object for equal ones goes to another process once
    return Specification(value, text or canonical(value), sys.intern(canonical(bare)), origins)


class Families:
    """Which trainings differ in nothing but their seeds, those of their parents included.

    Attributes:
        own: of each training, its setting and its parents.
        climbs: of each attack that climbs on another network, what it is besides, and the
            training id of that network.
    """

    def __init__(self) -> None:
        self.own: dict[str, tuple[str, list[str | None]]] = {}
        self.climbs: dict[str, tuple[str, str]] = {}
        self._known: dict[str, str] = {}
        self._hashes: dict[tuple[str | None, ...], str] = {}

    def configuration(self, training_id: str) -> str:
        """16 hex characters, equal for the seeds of one setting."""
        if training_id not in self._known:
            bare, origins = self.own[training_id]
            self._known[training_id] = training_id  # ends a circle of forged parents
            settled = [self.configuration(o) if o in self.own else o for o in origins]
            self._known[training_id] = self._hash(bare, *settled)
        return self._known[training_id]

    def attack_settings(self) -> dict[str, str]:
        """Attack id → 16 hex characters, equal for attacks that climb on the seeds of one setting.

        Of attacks on networks that are known.
        """
        return {
            attack_id: self._hash(what, self.configuration(source))
            for attack_id, (what, source) in self.climbs.items()
            if source in self.own
        }

    def _hash(self, *parts: str | None) -> str:
        if parts not in self._hashes:
            digest = hashlib.sha256(canonical([*parts]).encode())
            self._hashes[parts] = digest.hexdigest()[:16]
        return self._hashes[parts]
