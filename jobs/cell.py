"""What a manifest becomes: cells, with what each needs to run."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from jobs import identity
from snnlib.spec.attack import AnyAttack, Attack, AttackName, Clean
from snnlib.spec.data import Evaluation
from snnlib.spec.stage import Stage
from snnlib.spec.training import TrainingSpec
from snnlib.spec.values import Epsilon, PositiveInt, PositiveReal, Real, Spec


@dataclass(frozen=True, kw_only=True)
class Resources(Spec):
    """The shape of a job; where it runs is the site's business (site.yaml).

    Attributes:
        nodes: machines of one job.
        gpus_per_node: 0 for CPU jobs.
        processes_per_node: ranks on each node; one per GPU, or one on a CPU node, when unset.
        cpus_per_gpu: CPU cores, and threads, of each process (of each rank without GPUs).
        mem_gb: memory per node.
        timeout_min: wall time of the job.
        cells_per_job: cells that one job runs one after the other.
        profile: name of a profile of site.yaml.
    """

    nodes: PositiveInt = 1
    gpus_per_node: Annotated[int, Field(strict=True, ge=0)] = 0
    processes_per_node: PositiveInt | None = None
    cpus_per_gpu: PositiveInt = 1
    mem_gb: PositiveReal = Decimal(4)
    timeout_min: PositiveInt = 60
    cells_per_job: PositiveInt = 1
    profile: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None

    @property
    def processes(self) -> int:
        """Ranks on each node."""
        return self.processes_per_node or max(1, self.gpus_per_node)


@dataclass(frozen=True, kw_only=True)
class Parent:
    """What a training needs of another.

    Attributes:
        cell: the other.
        stage: what was computed of its network; None means the network itself.
    """

    cell: "Cell"
    stage: Stage | None = None


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
        files: own files it starts from, {sha256: path}.
    """

    number: int
    label: str
    training: TrainingSpec
    attacks: tuple[Attack, ...] = ()
    epsilons: tuple[Fraction, ...] = ()
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    parents: tuple[Parent, ...] = ()
    stages: tuple[Stage, ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    @cached_property
    def training_id(self) -> str:
        """16 hex characters that name the trained network."""
        return identity.training_id(self.training)

    @property
    def parent(self) -> "Cell | None":
        """The cell whose network the training starts from."""
        return next((parent.cell for parent in self.parents if parent.stage is None), None)

    @cached_property
    def stage_ids(self) -> dict[str, Stage]:
        """Stage id → stage."""
        return {identity.stage_id(stage): stage for stage in self.stages}

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """Keys of all that this cell wants recorded: rows, then stages."""
        return (*self.rows, *map(stage_key, self.stage_ids)) if self.stages else self.rows

    @property
    def attack_ids(self) -> dict[str, AnyAttack]:
        """Attack id → attack, `clean` first; empty for a parent that is no cell itself."""
        return self._wanted[0]

    @property
    def rows(self) -> tuple[str, ...]:
        """Keys of all rows this cell wants (`row_key`); one object where cells want the same."""
        return self._wanted[1]

    @cached_property
    def _wanted(self) -> "_Wanted":
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


_Wanted = tuple[dict[str, AnyAttack], tuple[str, ...]]
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
        ids = {identity.attack_id(a, evaluation, dataset): a for a in (Clean(), *attacks)}
        clean, *others = ids
        grid = (row_key(a, e) for a in others for e in epsilons)
        rows = (row_key(clean, Fraction(0)), *grid)
        _known[key] = (attacks, epsilons, evaluation), (ids, rows)
    return _known[key][1]


@dataclass(frozen=True, kw_only=True)
class Reference(Spec):
    """A number from a paper that results are shown beside.

    Attributes:
        where: the cells it speaks of, e.g. {model.neuron: lif, regime: clean}.
        attack: name of the attack, or `clean`.
        epsilon: its radius; 0 for `clean`.
        value: accuracy in percent.
        source: the paper, with table or figure.
    """

    where: dict[str, Any]
    attack: AttackName | Literal["clean"]
    epsilon: Epsilon
    value: Real
    source: str


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
