"""From the JSON of specifications and records to values of columns.

Every function raises KeyError, TypeError, ValueError or AttributeError for JSON of another shape.
"""

import json
import math
from functools import cache
from typing import Any

from analysis.collecting.sources import Source
from analysis.collecting.specifications import Specification, canonical
from jobs.expand import systems
from jobs.schema import CURVES

_EPOCHS = {
    column.name: column.name.removeprefix("epoch_")
    for column in CURVES
    if column.name != "epoch_firing_rate"
}
"""Column → key of a line of the history."""


def setting(spec: Specification) -> dict[str, Any]:
    """What a specification says: `faithful`, and the columns of `jobs.schema.SETTING`."""
    return {**_of_setting(spec.bare), "seed": spec.value["seed"]}


@cache
def _of_setting(bare: str) -> dict[str, Any]:
    """What is the same for all seeds; few settings differ."""
    spec = json.loads(bare)
    model, regime = spec["model"], spec["regime"]
    epsilon = regime.get("epsilon")
    return {
        "faithful": systems.of_training(spec),
        "dataset": spec["dataset"]["name"],
        "model": model["name"],
        "neuron": model["neuron"]["name"],
        "training_gradient": model["neuron"].get("gradient"),
        "encoder": model["encoder"]["name"],
        "time_steps": model["time_steps"],
        "regime": regime["name"],
        "train_attack": (regime.get("attack") or {}).get("name"),
        "train_epsilon": epsilon,
        "train_epsilon_value": None if epsilon is None else _ratio(epsilon),
    }


def faithful(spec: Specification | None) -> str | None:
    """The system that an attempt's training repeats; None where its specification is unreadable."""
    return None if spec is None else _faithful(spec.bare)


@cache
def _faithful(bare: str) -> str | None:
    try:
        return systems.of_training(json.loads(bare))
    except (KeyError, TypeError, AttributeError):
        return None


def _ratio(text: str) -> float:
    numerator, _, denominator = text.partition("/")
    return int(numerator) / int(denominator or 1)


def machine(measured: dict[str, Any]) -> dict[str, Any]:
    """Where and how something was computed."""
    keys = ("attempt", "seconds", "host", "device", "threads", "world_size", "promise")
    versions = measured.get("versions") or {}
    return {**{key: measured.get(key) for key in keys}, "torch": versions.get("torch")}


def curves(training: dict[str, Any]) -> dict[str, list[Any] | None]:
    """One list for each column of `jobs.schema.CURVES`; null without a history."""
    history = training.get("history")
    if not history:
        return {column.name: None for column in CURVES}
    rates = [[*(line.get("firing_rates") or {}).values()] for line in history]
    return {
        **{name: [line[key] for line in history] for name, key in _EPOCHS.items()},
        "epoch_firing_rate": [sum(one) / len(one) if one else math.nan for one in rates],
    }


def of_attack(attack: dict[str, Any], evaluation: dict[str, Any], bare: str) -> dict[str, Any]:
    """What all records of one attack share that was made on the networks of one setting.

    Args:
        attack: as in the records.
        evaluation: likewise.
        bare: the setting (`analysis.collecting.specifications`).
    """
    climbing = _climbing(attack)
    threat = ("norm", "space", "clip", "loss", "gradient")
    options = ("steps", "step_size", "restarts", "random_start", "alpha")
    return {
        "faithful": systems.of_result(json.loads(bare), attack),
        "attack": attack["name"],
        **{key: climbing.get(key) for key in (*options, *threat)},
        "surrogate": surrogate(climbing.get("surrogate")),
        "draws": climbing.get("draws", 1) if "loss" in climbing else None,
        **_transferred(attack, evaluation),
        "split": evaluation["split"],
        "samples": evaluation["samples"],
        "evaluation_seed": evaluation["seed"],
        "evaluation_draws": evaluation.get("draws", 1),
    }


def climb(attack: dict[str, Any], evaluation: dict[str, Any]) -> tuple[str, str] | None:
    """What an attack is besides the network that it climbs on, and the training id of that network.

    Args:
        attack: as in the records.
        evaluation: likewise.

    Returns:
        None for an attack that climbs on no other network, or on that of a file.
    """
    source = _source(attack)
    if source is None:
        return None
    asked = {key: value for key, value in evaluation.items() if key != "source_sha256"}
    return canonical([{**attack, "source": None}, asked]), source


def of_record(source: Source) -> dict[str, Any]:
    """What all rows of one record share, besides what `of_attack` says."""
    return {
        "model_sha256": source.model_sha256,
        "samples_sha256": source.samples_sha256,
        **machine(source.measured),
        "batch": source.measured.get("batch"),
        "code": " ".join(source.measured.get("codes") or []),
        "record": source.name,
        "root": source.root,
    }


def _climbing(attack: dict[str, Any]) -> dict[str, Any]:
    """The attack that looks at a network: of a transfer, the one on its source."""
    return attack["attack"] if attack["name"] == "transfer" else attack


def _transferred(attack: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
    """What a transfer, or a suite with a source, climbs on; and a transfer, with what."""
    return {
        "source_attack": attack["attack"]["name"] if attack["name"] == "transfer" else None,
        "source_training_id": _source(attack),
        "source_sha256": evaluation.get("source_sha256"),
    }


def _source(attack: dict[str, Any]) -> str | None:
    """Training id of the network that an attack climbs on; None for its target, or that of a file."""
    named: str | None = attack.get("source")
    return None if named is None or ":" in named else named


def surrogate(value: object) -> object:
    """`own`, or e.g. `assg(beta=0.9 gamma=1.5 half_area=0.42)`; lists of attacks have the commas."""
    if not isinstance(value, dict):
        return value
    options = " ".join(f"{key}={value[key]}" for key in sorted(value) if key != "name")
    return f"{value['name']}({options})"
