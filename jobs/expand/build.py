"""From drafts to cells: numbers, labels, training specs, and parents before their children."""

from collections.abc import Callable, Iterator
from typing import Any

from jobs import identity
from jobs.expand.blocks import Resources
from jobs.expand.cell import Cell, Parent
from jobs.expand.grid import Draft, Expansion
from jobs.expand.labels import Recipe, stems
from jobs.expand.messages import Findings
from jobs.expand.parents import Family, Network
from jobs.expand.parts import NETWORK, Part
from snnlib.spec.stage import Stage
from snnlib.spec.training import TrainingSpec

ResourcesOf = Callable[[Callable[[str], Part]], Resources]


class Builder:
    """Makes cells of drafts, parents first.

    Args:
        expansion: the drafts.
        findings: takes problems.
        resources_of: from the parts of a cell to the shape of its job.
    """

    def __init__(self, expansion: Expansion, findings: Findings, resources_of: ResourcesOf) -> None:
        self.findings, self.resources_of = findings, resources_of
        self.family = Family(expansion, findings)
        self.drafts = expansion.drafts
        absent = ("epsilons", "attacks", "evaluation", "stages")
        self._absent = {head: expansion.reader.read(head, None) for head in absent}
        self._recipes: dict[tuple[Part, ...], Recipe] = {}
        self._same: dict[tuple[object, ...], Recipe] = {}
        self._stems: dict[Recipe | Network, str] = {}
        self._first: dict[tuple[Network, int], int] = {}
        self._cells: dict[int, Cell] = {}
        self._orphans: dict[tuple[Network, int], Cell] = {}
        self._stages: dict[Network, list[Stage]] = {}

    def build(self) -> tuple[Cell, ...]:
        """All cells; empty after a problem."""
        for draft in self.drafts:
            key = draft.parts[:-1]
            if key not in self._recipes:
                network = self.family.network(draft)
                if network is not None:
                    self._recipes[key] = self._recipe(network, draft)
        if self.findings:
            return ()
        for number, draft in enumerate(self.drafts):
            network = self._recipes[draft.parts[:-1]].network
            self._first.setdefault((network, draft.parts[-1].value), number)
        self._name()
        return tuple([self._cell(number) for number in range(len(self.drafts))])

    def _recipe(self, network: Network, draft: Draft) -> Recipe:
        heads = ("attacks", "epsilons", "evaluation", "stages")
        parts: Any = [draft.part(head).value for head in heads]
        key = (network, *(id(part) for part in parts))
        return self._same.setdefault(key, Recipe(network, *parts))

    def _name(self) -> None:
        """Labels without the seed, for cells and for parents that are none."""
        recipes = list(self._same.values())
        trained = {recipe.network: None for recipe in recipes}
        for network in list(trained):
            for ancestor in _ancestors(network):
                if ancestor not in trained:
                    trained[ancestor] = None
                    recipes.append(Recipe(ancestor))
        for network in trained:
            if network.source is not None:
                wanted = self._stages.setdefault(network.source, [])
                wanted += [stage for stage in network.stages if stage not in wanted]
        for recipe, stem in stems(recipes).items():
            self._stems[recipe] = stem
            self._stems.setdefault(recipe.network, stem)

    def _cell(self, number: int) -> Cell:
        known = self._cells.get(number)
        if known is not None:
            return known
        draft = self.drafts[number]
        recipe, seed = self._recipes[draft.parts[:-1]], draft.parts[-1]
        parents = self._parents(recipe.network, seed)
        cell = self._cells[number] = Cell(
            number=number,
            label=f"{self._stems[recipe]}/s{seed.value}",
            training=_training(recipe.network, seed.value, parents),
            attacks=recipe.attacks,
            epsilons=recipe.epsilons,
            evaluation=recipe.evaluation,
            resources=self.resources_of(draft.part),
            parents=parents,
            stages=self._wanted(recipe),
            files=_files(recipe.network),
        )
        return cell

    def _wanted(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Stages: those that children need, then its own."""
        needed = self._stages.get(recipe.network, [])
        return (*needed, *(stage for stage in recipe.stages if stage not in needed))

    def _parents(self, network: Network, seed: Part) -> tuple[Parent, ...]:
        found: list[Parent] = []
        if network.parent is not None:
            found.append(Parent(cell=self._ancestor(network.parent, seed)))
        if network.source is not None:
            source = self._ancestor(network.source, seed)
            found += [Parent(cell=source, stage=stage) for stage in network.stages]
        return tuple(found)

    def _ancestor(self, network: Network, seed: Part) -> Cell:
        key = network, seed.value
        if key in self._first:
            return self._cell(self._first[key])
        if key not in self._orphans:
            self._orphans[key] = self._orphan(network, seed)
        return self._orphans[key]

    def _orphan(self, network: Network, seed: Part) -> Cell:
        """A parent that no cell of the manifest trains."""
        parents = self._parents(network, seed)
        parts = dict(zip(NETWORK, network.parts, strict=True), seed=seed, **self._absent)
        return Cell(
            number=-1,
            label=f"{self._stems[network]}/s{seed.value}",
            training=_training(network, seed.value, parents),
            resources=self.resources_of(parts.__getitem__),
            parents=parents,
            stages=tuple(self._stages.get(network, ())),
            files=_files(network),
        )


def _ancestors(network: Network) -> Iterator[Network]:
    for parent in (network.parent, network.source):
        if parent is not None:
            yield from _ancestors(parent)
            yield parent


def _training(network: Network, seed: int, parents: tuple[Parent, ...]) -> TrainingSpec:
    start = None if network.file is None else f"sha256:{network.file.sha256}"
    nds = None if network.nds is None else network.nds.own
    for parent in parents:
        if parent.stage is None:
            start = parent.cell.training_id
        else:
            nds = f"{parent.cell.training_id}/{identity.stage_id(parent.stage)}"
    return TrainingSpec(
        dataset=network.dataset,
        model=network.model,
        regime=network.regime,
        seed=seed,
        start=start,
        nds=nds,
    )


def _files(network: Network) -> tuple[tuple[str, str], ...]:
    own = (network.file, None if network.nds is None else network.nds.checkpoint)
    return tuple((file.sha256, file.path) for file in own if file is not None)
