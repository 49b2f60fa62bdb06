"""Labels of cells for people: what they are, and as little more as tells them apart."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from jobs.expand.parents import Network
from jobs.identity import plain
from snnlib.spec.attack import Attack
from snnlib.spec.data import Evaluation
from snnlib.spec.stage import Stage

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._/-]+")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """A cell without its seed."""

    network: Network
    attacks: tuple[Attack, ...] = ()
    epsilons: tuple[Fraction, ...] = ()
    evaluation: Evaluation = Evaluation()
    stages: tuple[Stage, ...] = ()


def stems(recipes: Sequence[Recipe]) -> dict[Recipe, str]:
    """A label for each recipe, unique among them, such as "digits/small-lif/clean/tau=3".

    Args:
        recipes: all of a manifest, each once.
    """
    groups: dict[str, list[Recipe]] = defaultdict(list)
    for recipe in recipes:
        network = recipe.network
        model = f"{network.model.name}-{network.model.neuron.name}"
        groups[f"{network.dataset.name}/{model}/{network.regime.name}"].append(recipe)
    named: dict[Recipe, str] = {}
    for base, group in groups.items():
        additions = _additions(group) if len(group) > 1 else [""]
        named |= {r: base + more for r, more in zip(group, additions, strict=True)}
    return named


def _additions(group: Sequence[Recipe]) -> list[str]:
    """What tells the recipes of a group apart, as "/key=value" for the fewest keys found."""
    leaves = [_leaves(recipe) for recipe in group]
    keys = list(dict.fromkeys(key for leaf in leaves for key in leaf))
    columns = {key: [leaf.get(key, "none") for leaf in leaves] for key in keys}
    kinds = {key: len(set(column)) for key, column in columns.items()}
    varying = [key for key in keys if kinds[key] > 1]
    chosen: list[str] = []
    rows: list[tuple[str, ...]] = [() for _ in group]
    while varying and len(set(rows)) < len(group):
        gains = {k: len(set(zip(rows, columns[k], strict=True))) for k in varying}
        best = max(varying, key=gains.__getitem__)
        if gains[best] == len(set(rows)):
            break
        chosen.append(best)
        varying.remove(best)
        rows = [(*row, value) for row, value in zip(rows, columns[best], strict=True)]
    names = _short(chosen)
    additions = ["".join(f"/{n}={v}" for n, v in zip(names, row, strict=True)) for row in rows]
    counted = {more: additions.count(more) for more in set(additions)}
    return [
        more if counted[more] == 1 else f"{more}/n={number}"
        for number, more in enumerate(additions)
    ]


def _short(keys: list[str]) -> list[str]:
    """Keys without what is plain from the rest: the last word, or two where one is ambiguous."""
    bare = [key.removesuffix(".name") for key in keys]
    last = [key.rpartition(".")[2] for key in bare]
    return [
        word if last.count(word) == 1 else ".".join(key.split(".")[-2:])
        for key, word in zip(bare, last, strict=True)
    ]


def _leaves(recipe: Recipe) -> dict[str, str]:
    """All that may tell a recipe from another, the most telling first."""
    network = recipe.network
    found: dict[str, str] = {}
    for part in (network.model, network.regime, network.dataset):
        _flatten(part, "", found)
    found |= network.leaves()
    found["attacks"] = "-".join(attack.name for attack in recipe.attacks)
    found["epsilons"] = "_".join(str(epsilon) for epsilon in recipe.epsilons)
    for place, attack in enumerate(recipe.attacks):
        _flatten(attack, f"attacks.{place}.", found)
    _flatten(recipe.evaluation, "evaluation.", found)
    found["stages"] = "-".join(stage.kind for stage in recipe.stages)
    for place, stage in enumerate(recipe.stages):
        _flatten(stage, f"stages.{place}.", found)
    return {key: _NOT_ALLOWED.sub("-", value) or "none" for key, value in found.items()}


def _flatten(value: object, path: str, found: dict[str, str]) -> None:
    """Every field of a specification, those too that its canonical form leaves out."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _flatten(getattr(value, field.name), f"{path}{field.name}.", found)
    else:
        text = "none" if value is None else str(plain(value))
        found.setdefault(path.removesuffix("."), text.lower() if isinstance(value, bool) else text)
