"""From drafts to cells: numbers, labels, training specs, and parents before their children."""

from collections.abc import Callable
from typing import Any

from jobs.cell import Cell, Resources
from jobs.grid import Draft, Expansion
from jobs.labels import Recipe, stems
from jobs.messages import Findings
from jobs.parents import Family, Network
from jobs.parts import NETWORK, Part
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
        absent = ("epsilons", "attacks", "evaluation")
        self._absent = {head: expansion.reader.read(head, None) for head in absent}
        self._recipes: dict[tuple[Part, ...], Recipe] = {}
        self._same: dict[tuple[object, ...], Recipe] = {}
        self._stems: dict[Recipe | Network, str] = {}
        self._first: dict[tuple[Network, int], int] = {}
        self._cells: dict[int, Cell] = {}
        self._orphans: dict[tuple[Network, int], Cell] = {}

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
        parts: Any = [draft.part(head).value for head in ("attacks", "epsilons", "evaluation")]
        key = (network, *(id(part) for part in parts))
        return self._same.setdefault(key, Recipe(network, *parts))

    def _name(self) -> None:
        """Labels without the seed, for cells and for parents that are none."""
        recipes = list(self._same.values())
        trained = {recipe.network for recipe in recipes}
        for network in list(trained):
            parent = network.parent
            while parent is not None and parent not in trained:
                trained.add(parent)
                recipes.append(Recipe(parent))
                parent = parent.parent
        for recipe, stem in stems(recipes).items():
            self._stems[recipe] = stem
            self._stems.setdefault(recipe.network, stem)

    def _cell(self, number: int) -> Cell:
        known = self._cells.get(number)
        if known is not None:
            return known
        draft = self.drafts[number]
        recipe, seed = self._recipes[draft.parts[:-1]], draft.parts[-1]
        parent = self._parent(recipe.network, seed)
        cell = self._cells[number] = Cell(
            number=number,
            label=f"{self._stems[recipe]}/s{seed.value}",
            training=_training(recipe.network, seed.value, parent),
            attacks=recipe.attacks,
            epsilons=recipe.epsilons,
            evaluation=recipe.evaluation,
            resources=self.resources_of(draft.part),
            parent=parent,
            files=_files(recipe.network),
        )
        return cell

    def _parent(self, network: Network, seed: Part) -> Cell | None:
        if network.parent is None:
            return None
        key = network.parent, seed.value
        if key in self._first:
            return self._cell(self._first[key])
        if key not in self._orphans:
            self._orphans[key] = self._orphan(network.parent, seed)
        return self._orphans[key]

    def _orphan(self, network: Network, seed: Part) -> Cell:
        """A parent that no cell of the manifest trains."""
        parent = self._parent(network, seed)
        parts = dict(zip(NETWORK, network.parts, strict=True), seed=seed, **self._absent)
        return Cell(
            number=-1,
            label=f"{self._stems[network]}/s{seed.value}",
            training=_training(network, seed.value, parent),
            resources=self.resources_of(parts.__getitem__),
            parent=parent,
            files=_files(network),
        )


def _training(network: Network, seed: int, parent: Cell | None) -> TrainingSpec:
    start = parent.training_id if parent is not None else None
    if network.file is not None:
        start = f"sha256:{network.file.sha256}"
    return TrainingSpec(
        dataset=network.dataset,
        model=network.model,
        regime=network.regime,
        seed=seed,
        start=start,
        nds=None if network.nds is None else network.nds.text,
    )


def _files(network: Network) -> tuple[tuple[str, str], ...]:
    own = (network.file, None if network.nds is None else network.nds.checkpoint)
    return tuple((file.sha256, file.path) for file in own if file is not None)
