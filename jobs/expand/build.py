"""From drafts to cells: numbers, labels, training specs, and parents before their children."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from jobs import identity
from jobs.expand.blocks import Resources
from jobs.expand.cell import Cell, Parent
from jobs.expand.grid import Draft, Expansion
from jobs.expand.labels import Recipe, stems
from jobs.expand.messages import Findings
from jobs.expand.parents import Family, Network, Source
from jobs.expand.parts import NETWORK, Part
from snnlib.spec.attack import Attack, Climbing
from snnlib.spec.stage import Stage
from snnlib.spec.training import TrainingSpec

_WHITE_BOX = (
    "source and target are one network, which is a white-box attack: write the inner attack alone, "
    "or replace a key here; to pair seeds (this cell has {seed}), put seed and attacks into 'zip'"
)
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
        self._patterns: dict[tuple[tuple[Part, ...], int], dict[str, Any]] = {}
        self._cells: dict[int, Cell] = {}
        self._orphans: dict[tuple[Network, int], Cell] = {}
        self._stages: dict[Network, list[Stage]] = {}
        self._sources: dict[tuple[Part, ...], dict[int, Source]] = {}
        self._sources_made: dict[tuple[Network, int], Cell] = {}
        self._made: dict[tuple[Attack, ...], tuple[Attack, ...]] = {}

    def build(self) -> tuple[Cell, ...]:
        """All cells; empty after a problem."""
        for draft in self.drafts:
            key = draft.parts[:-1]
            if key not in self._recipes:
                network = self.family.network(draft)
                if network is not None:
                    self._recipes[key] = self._recipe(network, draft)
                    self._sources[key] = self._climbed(draft)
            if self._sources.get(key):
                self._check_sources(draft)
        if self.findings:
            return ()
        self._name()
        return tuple([self._cell(number) for number in range(len(self.drafts))])

    @cached_property
    def _first(self) -> dict[tuple[Network, int], int]:
        """The first cell of each training."""
        found: dict[tuple[Network, int], int] = {}
        for number, draft in enumerate(self.drafts):
            network = self._recipes[draft.parts[:-1]].network
            found.setdefault((network, draft.parts[-1].value), number)
        return found

    def _climbed(self, draft: Draft) -> dict[int, Source]:
        """What the transfer attacks of a cell climb on, by their places in the list."""
        attacks = draft.part("attacks").value
        places = [
            place
            for place, attack in enumerate(attacks)
            if isinstance(attack, Climbing) and attack.source is not None
        ]
        found = {place: self.family.source(draft, place) for place in places}
        return {place: source for place, source in found.items() if source is not None}

    def _check_sources(self, draft: Draft) -> None:
        """A network attacked by way of itself is no transfer."""
        key = draft.parts[:-1]
        for source in self._sources[key].values():
            seed = draft.parts[-1].value if source.seed is None else source.seed.value
            same = source.network is self._recipes[key].network and seed == draft.parts[-1].value
            if same and source.file is None:
                self.findings.add(source.mark, _WHITE_BOX.format(seed=seed))

    def _recipe(self, network: Network, draft: Draft) -> Recipe:
        heads = ("attacks", "epsilons", "evaluation", "stages")
        parts: Any = [draft.part(head).value for head in heads]
        key = (network, *(id(part) for part in parts))
        return self._same.setdefault(key, Recipe(network, *parts))

    def _name(self) -> None:
        """Labels without the seed, for cells and for parents that are none."""
        recipes = list(self._same.values())
        trained = {recipe.network: None for recipe in recipes}
        climbed = [s.network for sources in self._sources.values() for s in sources.values()]
        for network in [*trained, *climbed]:
            for ancestor in (*_ancestors(network), network):
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
        key, seed = draft.parts[:-1], draft.parts[-1]
        shape, recipe = self.resources_of(draft.part), self._recipes[key]
        label = f"{self._stems[recipe]}/s{seed.value}"
        pattern = self._patterns.get((key, id(shape)))
        if pattern is not None:
            training = _training(recipe.network, seed.value, ())
            cell = Cell.of_pattern(pattern, number, label, training)
        else:
            cell = self._new(number, label, shape)
            if not (cell.parents or cell.sources):  # nothing but the network depends on the seed
                self._patterns[key, id(shape)] = cell.pattern()
        self._cells[number] = cell
        return cell

    def _new(self, number: int, label: str, shape: Resources) -> Cell:
        draft = self.drafts[number]
        recipe, seed = self._recipes[draft.parts[:-1]], draft.parts[-1]
        parents = self._parents(recipe.network, seed)
        return Cell(
            number=number,
            label=label,
            training=_training(recipe.network, seed.value, parents),
            attacks=self._attacks(draft),
            epsilons=recipe.epsilons,
            evaluation=recipe.evaluation,
            resources=shape,
            parents=parents,
            stages=self._wanted(recipe),
            sources=self._source_cells(draft),
            files=(*_files(recipe.network), *self._source_files(draft)),
        )

    def _attacks(self, draft: Draft) -> tuple[Attack, ...]:
        """Attacks, each transfer with the training id or the hash of what it climbs on."""
        attacks: tuple[Attack, ...] = draft.part("attacks").value
        sources = self._sources[draft.parts[:-1]]
        if not sources:
            return attacks
        made = list(attacks)
        for place, source in sources.items():
            if source.file is None:
                named = self._bare(source.network, source.seed or draft.parts[-1]).training_id
            else:
                named = f"sha256:{source.file.sha256}"
            attack = made[place]
            assert isinstance(attack, Climbing)
            made[place] = replace(attack, source=named)
        # cells that climb on the same networks share the object, and with it the ids
        return self._made.setdefault(tuple(made), tuple(made))

    def _source_cells(self, draft: Draft) -> tuple[Cell, ...]:
        """The trainings that its transfer attacks climb on."""
        sources = self._sources[draft.parts[:-1]].values()
        own = draft.parts[-1]
        found = [self._bare(s.network, s.seed or own) for s in sources if s.file is None]
        return tuple({cell.training_id: cell for cell in found}.values())

    def _source_files(self, draft: Draft) -> tuple[tuple[str, str], ...]:
        files = [s.file for s in self._sources[draft.parts[:-1]].values() if s.file is not None]
        return tuple((file.sha256, file.path) for file in files)

    def _bare(self, network: Network, seed: Part) -> Cell:
        """A training as what transfer attacks climb on: neither it nor its parents know attacks.

        Two cells may climb on each other, so none holds the other.
        """
        key = network, seed.value
        if key not in self._sources_made:
            parents = tuple(
                Parent(cell=self._bare(p.network, seed), stage=p.stage) for p in _needs(network)
            )
            self._sources_made[key] = self._training_alone(network, seed, parents)
        return self._sources_made[key]

    def _wanted(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Stages: those that children need, then its own."""
        needed = self._stages.get(recipe.network, [])
        return (*needed, *(stage for stage in recipe.stages if stage not in needed))

    def _parents(self, network: Network, seed: Part) -> tuple[Parent, ...]:
        needs = _needs(network)
        return tuple([Parent(cell=self._ancestor(n.network, seed), stage=n.stage) for n in needs])

    def _ancestor(self, network: Network, seed: Part) -> Cell:
        key = network, seed.value
        if key in self._first:
            return self._cell(self._first[key])
        if key not in self._orphans:
            self._orphans[key] = self._training_alone(network, seed, self._parents(network, seed))
        return self._orphans[key]

    def _training_alone(self, network: Network, seed: Part, parents: tuple[Parent, ...]) -> Cell:
        """A training that is computed and not evaluated."""
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


class _Need(NamedTuple):
    network: Network
    stage: Stage | None


def _needs(network: Network) -> list[_Need]:
    """What a training needs of others."""
    found = [] if network.parent is None else [_Need(network.parent, None)]
    if network.source is not None:
        found += [_Need(network.source, stage) for stage in network.stages]
    return found


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
