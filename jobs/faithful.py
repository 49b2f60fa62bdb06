"""`faithful: A` or `faithful: B`: the options under which a published system is repeated.

A is grad-obf-snn (commit 11989ad), B is HoSNN (commits 110eeca, 3bfc69f). A cell that is faithful gets
their options where it says nothing; where it says something else, that is a problem: either the
cell is faithful or it is not. What follows, identity included, sees explicit options only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import cast

from jobs.messages import Findings
from jobs.parts import Part, PartReader, System, merge, nest
from jobs.yaml_text import Mark, Node
from snnlib.spec.attack import Attack
from snnlib.spec.model import HoSNN, LayerTable, Model, SEWResNet, SpikingResNet
from snnlib.spec.neuron import TALIF
from snnlib.spec.training import AdversarialRegime, Regime

SYSTEM_HEADS = ("model", "regime", "attacks")
"""Keys of a cell that hold options of a system."""
Scalar = str | int | bool | Decimal


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


def options(
    system: System, model: Model, regime: Regime, attacks: tuple[Attack, ...]
) -> Iterator[Option]:
    """The options of a system for a network, its training and its attacks."""
    yield from (_options_a if system == "A" else _options_b)(model)
    if isinstance(regime, AdversarialRegime):
        if system == "B":
            yield Option("regime", "attack_mode", "train")
        yield Option("regime", "attack.name", regime.attack.name)
        for path, value in _attack(system, model, regime.attack):
            yield Option("regime", f"attack.{path}", value)
    for place, attack in enumerate(attacks):
        for path, value in _attack(system, model, attack):
            yield Option("attacks", f"{place}.{path}", value)


def _options_a(model: Model) -> Iterator[Option]:
    yield Option("model", "encoder.name", "phase", fixed=False)
    yield Option("model", "time_steps", 10)
    yield Option("model", "surrogate.name", "atan")
    yield Option("model", "surrogate.alpha", Decimal(2))
    yield Option("model", "neuron.detach_reset", isinstance(model, SEWResNet))
    yield Option("regime", "loss", "cross_entropy")
    yield Option("regime", "precision", "fp32")
    yield Option("regime", "optimiser", "adam")
    yield Option("regime", "schedule", "constant")
    yield Option("regime", "select", "best_test")
    yield Option("regime", "weight_decay", Decimal("0.001"))
    yield Option("regime", "lr", Decimal("0.001"), fixed=False)
    yield Option("regime", "batch_size", 16, fixed=False)
    yield Option("regime", "epochs", 100, fixed=False)


def _options_b(model: Model) -> Iterator[Option]:
    hundred = model.name == "hosnn_cifar100"
    yield Option("model", "ties", "first")
    yield Option("model", "neuron.name", model.neuron.name)
    yield Option("model", "neuron.gradient", "tsslbp")
    if isinstance(model.neuron, TALIF):
        yield Option("model", "neuron.theta_gradient", "batch")
        yield Option("model", "neuron.nds_decay", not hundred)
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
    yield Option("regime", "batch_size", 64, fixed=False)
    yield Option("regime", "epochs", 101 if model.name == "hosnn_mnist" else 201, fixed=False)


def _attack(system: System, model: Model, attack: Attack) -> Iterator[tuple[str, Scalar]]:
    if system == "A":
        yield "space", "encoded"
        if attack.name == "pgd":
            yield from (("steps", 7), ("step_size", "0.01"), ("random_start", True))
        return
    hundred = model.name == "hosnn_cifar100"
    yield "space", "repeated"
    yield "clip", hundred
    yield "loss", "cross_entropy" if hundred else "trace_cross_entropy"
    if attack.name == "pgd":
        yield from (("steps", 7), ("step_size", "eps/3"), ("random_start", False))
    if attack.name == "bim":
        yield "steps", 7
    if attack.name == "rfgsm":
        yield "alpha", "eps/2"


def stranger(system: System, regime: Regime) -> str:
    """Why a regime is none of the system's, or nothing."""
    if regime.name in ("clean", "adversarial"):
        return ""
    return f"faithful {system} trains clean or adversarially; {regime.name} is another's method"


def misfit(system: System, model: Model) -> tuple[str, str] | None:
    """Why a network is none of the system's: (dotted key, message)."""
    if system == "A":
        if not isinstance(model, SEWResNet | SpikingResNet):
            return "name", f"faithful A is about sew_resnet and spiking_resnet, not {model.name}"
        if model.neuron.name != "if":
            return "neuron", f"faithful A has neuron if, not {model.neuron.name}"
        return None
    if not isinstance(model, HoSNN | LayerTable) or model.neuron.name == "relu":
        return "name", f"faithful B is about hosnn networks, not {model.name}-{model.neuron.name}"
    steps = model.time_steps
    if model.name != "hosnn_cifar100" and steps != 5 and steps % 10:
        allowed = "for T = 5 and multiples of 10"
        message = f"the published target pattern is defined {allowed}, got {steps}"
        return "time_steps", f"{message}; change it, or leave 'faithful' out"
    return None


class Expander:
    """Fills the parts of faithful cells; equal parts are filled once.

    Args:
        reader: validates parts.
        findings: takes problems.
    """

    def __init__(self, reader: PartReader, findings: Findings) -> None:
        self.reader, self.findings = reader, findings
        self._known: dict[tuple[object, ...], tuple[Part, ...]] = {}
        self._systems: dict[Part, System] = {}

    def system_of(self, model: Part) -> System | None:
        """The system that a filled part belongs to."""
        return self._systems.get(model)

    def filled(
        self, system: System, model: Part, regime: Part, attacks: Part, origin: Mark
    ) -> tuple[Part, Part, Part]:
        """Model, regime and attacks with the options of a system.

        Args:
            system: which.
            model: as the cell says; so are the others.
            regime: its training.
            attacks: its attacks.
            origin: place of what is written nowhere.
        """
        key = (system, model, regime, attacks)
        if key not in self._known:
            self._known[key] = self._fill(system, (model, regime, attacks), origin)
        filled = self._known[key]
        self._systems[filled[0]] = system
        return cast(tuple[Part, Part, Part], filled)

    def _fill(self, system: System, parts: tuple[Part, ...], origin: Mark) -> tuple[Part, ...]:
        made = dict(zip(SYSTEM_HEADS, parts, strict=True))
        if not all(part.valid for part in parts):
            return parts
        wrong = misfit(system, made["model"].value)
        if wrong is not None:
            self.findings.add(made["model"].mark(wrong[0], origin), wrong[1])
            return parts
        strange = stranger(system, made["regime"].value)
        if strange:
            self.findings.add(made["regime"].mark("name", origin), strange)
            return parts
        nodes = {head: part.node for head, part in made.items()}
        values = [part.value for part in parts]
        for option in options(system, *values):
            nodes[option.head] = self._with(option, system, nodes[option.head])
        return tuple(
            part if nodes[head] is part.node else self.reader.read(head, nodes[head], part.own)
            for head, part in made.items()
        )

    def _with(self, option: Option, system: System, node: Node | None) -> Node | None:
        """The node of a part with one more option, unless the text says it already."""
        assert node is not None
        found = _at(node, option.path)
        if found is None:
            return _laid(node, option.path, option.value)
        if option.fixed and not _same(found.value, option.value):
            wanted = f"{option.path.rpartition('.')[2]}: {_shown(option.value)}"
            message = f"faithful {system} has {wanted}; remove this, or 'faithful'"
            self.findings.add(found.mark, message)
        return node


def _at(node: Node, path: str) -> Node | None:
    found: Node | None = node
    for step in path.split("."):
        if found is None:
            return None
        found = found.value[int(step)] if isinstance(found.value, tuple) else found.get(step)
    return found


def _laid(node: Node, path: str, value: Scalar) -> Node:
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
    if isinstance(wanted, Decimal):
        return isinstance(found, int | Decimal) and not isinstance(found, bool) and found == wanted
    if isinstance(wanted, str):
        return str(found).replace(" ", "") == wanted
    return type(found) is type(wanted) and found == wanted


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
