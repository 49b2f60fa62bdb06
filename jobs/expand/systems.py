"""What the two published systems do, option by option, and which specifications do the same.

A is grad-obf-snn (commit 11989ad), B is HoSNN (commits 110eeca, 3bfc69f). A specification belongs
to a system if it has every fixed option of it, whoever wrote them: nothing else marks it, so two
manifests that share a training agree. Specifications are plain data here, as in spec.json. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, get_args

from jobs import identity

System = Literal["A", "B"]
"""Published systems that a cell may repeat exactly: grad-obf-snn and HoSNN."""
Scalar = str | int | bool | Decimal | Fraction
Plain = Mapping[str, Any]

ATTACKS: dict[System, tuple[str, ...]] = {
    "A": ("fgsm", "pgd"),
    "B": ("fgsm", "rfgsm", "pgd", "bim"),
}
"""Attacks that they evaluate their networks with."""
_AUGMENTED: dict[System, dict[str, str]] = {
    "A": {"cifar10": "flip", "cifar100": "flip"},
    "B": {"mnist": "none", "cifar10": "crop_flip", "cifar100": "crop_flip_trivial"},
}
"""What their loaders do to training images; other data sets they have no loader for."""
_LEFT_OUT = {field: value for (_, field), value in identity.NEUTRAL.items()}
"""What a field means that a specification does not show."""


@dataclass(frozen=True)
class Option:
    """One option of a published system.

    Attributes:
        head: key of a cell.
        path: dotted key below it.
        value: as a manifest would say it.
        fixed: whether another value would be another system; else it is a default.
    """

    head: str
    path: str
    value: Scalar
    fixed: bool = True


def options(system: System, spec: Plain, attacks: Sequence[Plain]) -> Iterator[Option]:
    """The options of a system for a network, its training and its attacks.

    Args:
        system: which.
        spec: has the keys dataset, model and regime, as in spec.json.
        attacks: as in records.
    """
    model, regime = spec["model"], spec["regime"]
    yield Option("dataset", "validation", 0)
    augment = _AUGMENTED[system].get(spec["dataset"]["name"])
    if augment is not None:
        yield Option("dataset", "augment", augment)
    yield from (_options_a if system == "A" else _options_b)(model)
    yield from _batches(system, model, regime)
    if regime["name"] == "adversarial":
        if system == "B":
            yield Option("regime", "attack_mode", "train")
        yield Option("regime", "attack.name", regime["attack"]["name"])
        for path, value in _attack(system, model, regime["attack"]):
            yield Option("regime", f"attack.{path}", value)
    for place, attack in enumerate(attacks):
        for path, value in _attack(system, model, attack):
            yield Option("attacks", f"{place}.{path}", value)


def _options_a(model: Plain) -> Iterator[Option]:
    yield Option("model", "encoder.name", "phase", fixed=False)
    yield Option("model", "time_steps", 10)
    yield Option("model", "surrogate.name", "atan")
    yield Option("model", "surrogate.alpha", Decimal(2))
    yield Option("model", "neuron.detach_reset", model["name"].startswith("sew_"))
    yield Option("regime", "loss", "cross_entropy")
    yield Option("regime", "precision", "fp32")
    yield Option("regime", "optimiser", "adam")
    yield Option("regime", "schedule", "constant")
    yield Option("regime", "select", "best_test")
    yield Option("regime", "weight_decay", Decimal("0.001"))
    yield Option("regime", "lr", Decimal("0.001"), fixed=False)
    yield Option("regime", "epochs", 100, fixed=False)


def _options_b(model: Plain) -> Iterator[Option]:
    hundred = model["name"] == "hosnn_cifar100"
    yield Option("model", "ties", "first")
    yield Option("model", "neuron.name", model["neuron"]["name"])
    yield Option("model", "neuron.tau_m", Decimal(5))
    yield Option("model", "neuron.tau_s", Decimal(3))
    yield Option("model", "neuron.v_threshold", Decimal(1))
    yield Option("model", "neuron.gradient", "tsslbp")
    if model["neuron"]["name"] == "ta_lif":
        yield Option("model", "neuron.theta_gradient", "batch")
        yield Option("model", "neuron.nds_decay", not hundred)
    yield Option("model", "surrogate.name", "sigmoid")
    yield Option("model", "surrogate.alpha", Decimal(5))
    yield Option("model", "surrogate.clip", Decimal(8))
    yield Option("regime", "loss", "cross_entropy" if hundred else "kernel")
    yield Option("regime", "optimiser", "adamw")
    yield Option("regime", "weight_decay", Decimal("0.01"))
    yield Option("regime", "clip_grad_norm", Decimal(1))
    yield Option("regime", "weight_clip", Decimal(4))
    yield Option("regime", "schedule", "cosine_epochs")
    yield Option("regime", "t_max", 200)
    yield Option("regime", "precision", "fp32")
    yield Option("regime", "select", "best_test")
    yield Option("regime", "lr", Decimal("0.0002" if hundred else "0.0005"), fixed=False)
    yield Option("regime", "epochs", 101 if model["name"] == "hosnn_mnist" else 201, fixed=False)


def _batches(system: System, model: Plain, regime: Plain) -> Iterator[Option]:
    """Batches of each process: those of B share no statistics, but for the CIFAR-100 network."""
    if system == "A" or model["name"] == "hosnn_cifar100":
        yield Option("regime", "batch_norm", "sync")
    chosen = regime.get("batch_norm", "sync")
    processes = 1 if chosen == "sync" else chosen["local"]
    size = 16 if system == "A" else 64 * processes
    yield Option("regime", "batch_size", size, fixed=False)


def _attack(system: System, model: Plain, attack: Plain) -> Iterator[tuple[str, Scalar]]:
    if attack["name"] == "clean":
        return
    hundred = model["name"] == "hosnn_cifar100"
    yield from (("surrogate", "own"), ("gradient", "own"), ("draws", 1))
    yield "space", "encoded" if system == "A" else "repeated"
    yield "clip", system == "A" or hundred
    yield "loss", "cross_entropy" if system == "A" or hundred else "trace_cross_entropy"
    if attack["name"] == "pgd":
        yield from (("steps", 7), ("restarts", 1), ("random_start", system == "A"))
        yield "step_size", Fraction(1, 100) if system == "A" else "eps/3"
    if attack["name"] == "bim":
        yield "steps", 7
    if attack["name"] == "rfgsm":
        yield "alpha", "eps/2"


def stranger(system: System, regime: Plain) -> str:
    """Why a regime is none of the system's, or nothing."""
    if regime["name"] in ("clean", "adversarial"):
        return ""
    return f"faithful {system} trains clean or adversarially; {regime['name']} is another's method"


def misfit(system: System, model: Plain) -> tuple[str, str] | None:
    """Why a network is none of the system's: (dotted key, message)."""
    name, neuron = model["name"], model["neuron"]["name"]
    if system == "A":
        if not name.startswith(("sew_", "spiking_resnet")):
            return "name", f"faithful A is about sew_resnet and spiking_resnet, not {name}"
        if neuron != "if":
            return "neuron", f"faithful A has neuron if, not {neuron}"
        return None
    if not (name.startswith("hosnn_") or name == "layers") or neuron == "relu":
        return "name", f"faithful B is about hosnn networks, not {name}-{neuron}"
    steps = model["time_steps"]
    if name != "hosnn_cifar100" and steps != 5 and steps % 10:
        allowed = "for T = 5 and multiples of 10"
        message = f"the published target pattern is defined {allowed}, got {steps}"
        return "time_steps", f"{message}; change it, or leave 'faithful' out"
    return None


def of_training(spec: Plain) -> System | None:
    """The system that a training repeats, faults included; None if it is ours.

    Args:
        spec: as in spec.json.

    Raises:
        KeyError: it is no specification of a training; so TypeError and AttributeError.
    """
    systems: tuple[System, ...] = get_args(System)
    return next((system for system in systems if _repeats(system, spec)), None)


def of_result(spec: Plain, attack: Plain) -> System | None:
    """The system that both a training and the attack on its network repeat; None if ours.

    Args:
        spec: as in spec.json.
        attack: as in a record.
    """
    system = of_training(spec)
    if system is None or not _published(system, spec, attack):
        return None
    return system


def _repeats(system: System, spec: Plain) -> bool:
    if misfit(system, spec["model"]) is not None or stranger(system, spec["regime"]):
        return False
    return all(_holds(option, spec) for option in options(system, spec, ()))


def _published(system: System, spec: Plain, attack: Plain) -> bool:
    if attack["name"] not in ("clean", *ATTACKS[system]):
        return False
    wanted = (o for o in options(system, spec, (attack,)) if o.head == "attacks")
    return all(_holds(option, {"attacks": (attack,)}) for option in wanted)


def _holds(option: Option, parts: Plain) -> bool:
    """Whether a specification has an option; a default may be anything."""
    found: Any = parts[option.head]
    for step in option.path.split("."):
        if isinstance(found, tuple):
            found = found[int(step)]
        elif isinstance(found, Mapping):
            found = found.get(step, _LEFT_OUT.get(step))
        else:
            return False
    wanted = identity.plain(option.value)
    return not option.fixed or (type(found) is type(wanted) and found == wanted)
