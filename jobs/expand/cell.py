"""What a manifest becomes: cells, with what each needs to run.

Specifications are named for their types alone: who only looks need not wait for pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs import identity

if TYPE_CHECKING:
    from fractions import Fraction

    from jobs.expand.blocks import Reference, Resources
    from snnlib.spec.attack import AnyAttack, Attack
    from snnlib.spec.data import DatasetName, Evaluation
    from snnlib.spec.stage import Stage
    from snnlib.spec.training import TrainingSpec

    _Wanted = tuple[dict[str, AnyAttack], tuple[str, ...]]


@cache
def _evaluation() -> Evaluation:
    from snnlib.spec.data import Evaluation

    return Evaluation()


@cache
def _resources() -> Resources:
    from jobs.expand.blocks import Resources

    return Resources()


@dataclass(frozen=True, kw_only=True)
class Parent:
    """What a training needs of another.

    Attributes:
        cell: the other.
        stage: what was computed of its network; None means the network itself.
    """

    cell: Cell
    stage: Stage | None = None

    @cached_property
    def stage_id(self) -> str | None:
        """Id of the stage."""
        return None if self.stage is None else identity.stage_id(self.stage)


class Outline(NamedTuple):
    """What is told of a cell before it is sent, in a form that is cheap to remember.

    Attributes:
        dataset: what it learns.
        data: files that must be there for it, in the folder of data sets.
        select: what chooses the epoch whose network is kept.
        noise: name of an encoder that draws noise; empty if none does.
        decided: draws that a decision rests on.
        climbed: the fewest draws that a gradient of the cell's own network is the mean of; None
            without such an attack.
    """

    dataset: DatasetName
    data: tuple[str, ...]
    select: str
    noise: str
    decided: int
    climbed: int | None


_SHARED = ("_wanted", "wanted", "stage_ids", "hardware", "outline", "source_of")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (dataset, model, regime, epsilon grid) point with its seed.

    Attributes:
        number: position in the manifest, from 0; a parent that is no cell has -1.
        label: for people, e.g. "digits/small-lif/adversarial/s0".
        training: what determines its network.
        attacks: attacks that it is evaluated with; `clean` comes by itself.
        epsilons: radii of every attack, ascending, without 0.
        evaluation: samples and seed of the evaluations.
        resources: shape of its job.
        parents: what must be there before its training can start.
        stages: what is computed of its network besides evaluations.
        sources: trainings that its transfer attacks climb on; its own does not need them.
        files: own files it starts from or is attacked by, {sha256: path}.
    """

    number: int
    label: str
    training: TrainingSpec
    attacks: tuple[Attack, ...] = ()
    epsilons: tuple[Fraction, ...] = ()
    evaluation: Evaluation = field(default_factory=_evaluation)
    resources: Resources = field(default_factory=_resources)
    parents: tuple[Parent, ...] = ()
    stages: tuple[Stage, ...] = ()
    sources: tuple[Cell, ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    def as_ancestor(self) -> Cell:
        """The same training as what others start from: computed, with its stages, not evaluated."""
        return self if self.number < 0 else replace(self, number=-1)

    def pattern(self) -> dict[str, Any]:
        """What cells share with this one that differ in the seed alone (`of_pattern`)."""
        shared = {name: getattr(self, name) for name in _SHARED}
        return {**vars(self), **shared}

    @staticmethod
    def of_pattern(
        pattern: dict[str, Any], number: int, label: str, training: TrainingSpec
    ) -> Cell:
        """Another cell of a pattern; what follows from the pattern is not computed again."""
        # its constructor takes four times as long, and there are ten thousand
        found = object.__new__(Cell)
        own = found.__dict__
        own.update(pattern)
        own["number"], own["label"], own["training"] = number, label, training
        own["training_id"] = identity.training_id(training)
        return found

    @cached_property
    def training_id(self) -> str:
        """16 hex characters that name the trained network."""
        return identity.training_id(self.training)

    @property
    def parent(self) -> Cell | None:
        """The cell whose network the training starts from."""
        return next((parent.cell for parent in self.parents if parent.stage_id is None), None)

    @cached_property
    def hardware(self) -> tuple[int, str]:
        """Devices that a job of this cell holds, and their kind: "GPU" or "core"."""
        shape = self.resources
        return shape.nodes * shape.processes, "GPU" if shape.gpus_per_node else "core"

    @property
    def shape(self) -> Resources:
        """Shape of its job, for those who count and group jobs but send none."""
        return self.resources

    @property
    def seed(self) -> int:
        """Seed of its training."""
        return self.training.seed

    @cached_property
    def outline(self) -> Outline:
        """What is told of it before it is sent."""
        from snnlib.spec.attack import GradientAttack
        from snnlib.spec.data import FILES
        from snnlib.spec.encoder import Poisson

        training, encoder = self.training, self.training.model.encoder
        return Outline(
            dataset=training.dataset.name,
            data=FILES[training.dataset.name],
            select=training.regime.select,
            noise=encoder.name if isinstance(encoder, Poisson) else "",
            decided=self.evaluation.draws,
            climbed=min(
                (a.draws for a in self.attacks if isinstance(a, GradientAttack)), default=None
            ),
        )

    @cached_property
    def stage_ids(self) -> dict[str, Stage]:
        """Stage id → stage."""
        return {identity.stage_id(stage): stage for stage in self.stages}

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """Keys of all that this cell wants recorded: rows, then stages."""
        return (*self.rows, *map(stage_key, self.stage_ids)) if self.stage_ids else self.rows

    @cached_property
    def source_of(self) -> dict[str, str]:
        """Attack id → training id of the network it climbs on, for attacks that climb on one."""
        if not self.sources:
            return {}
        known = {source.training_id for source in self.sources}
        named = {key: getattr(attack, "source", "") for key, attack in self.attack_ids.items()}
        return {key: source for key, source in named.items() if source in known}

    @property
    def attack_ids(self) -> dict[str, AnyAttack]:
        """Attack id → attack, `clean` first; empty for a parent that is no cell itself."""
        return self._wanted[0]

    @property
    def rows(self) -> tuple[str, ...]:
        """Keys of all rows this cell wants (`row_key`); one object where cells want the same."""
        return self._wanted[1]

    @cached_property
    def _wanted(self) -> _Wanted:
        if self.number < 0:
            return {}, ()
        dataset = self.training.dataset
        named: str = dataset.name
        if self.evaluation.split == "validation" and dataset.validation is not None:
            named = f"{named}/{dataset.validation}"  # other samples than those of the usual split
        return _wanted(self.attacks, self.epsilons, self.evaluation, named)


def row_key(attack_id: str, epsilon: Fraction) -> str:
    """One row of a training as text, e.g. "0123456789abcdef@8/255"."""
    return f"{attack_id}@{epsilon.numerator}/{epsilon.denominator}"


def stage_key(stage_id: str) -> str:
    """A stage of a training as text, e.g. "0123456789abcdef@stage"."""
    return f"{stage_id}@stage"


_known: dict[tuple[int, int, int, str], tuple[object, _Wanted]] = {}


def _wanted(
    attacks: tuple[Attack, ...],
    epsilons: tuple[Fraction, ...],
    evaluation: Evaluation,
    dataset: str,
) -> _Wanted:
    """Attack ids and rows, remembered by object identity: cells of one manifest share parts."""
    key = id(attacks), id(epsilons), id(evaluation), dataset
    if key not in _known:
        from snnlib.spec.attack import Clean

        ids = {identity.attack_id(a, evaluation, dataset): a for a in (Clean(), *attacks)}
        clean, *others = ids
        grid = (row_key(a, e) for a in others for e in epsilons)
        rows = (f"{clean}@0/1", *grid)
        _known[key] = (attacks, epsilons, evaluation), (ids, rows)
    return _known[key][1]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One validated manifest.

    Attributes:
        name: its name, a file name too.
        cells: in the order of the text.
        references: published numbers.
        text: the YAML as written.
        source: path it came from, for messages.
    """

    name: str
    cells: tuple[Cell, ...]
    references: tuple[Reference, ...]
    text: str
    source: str
