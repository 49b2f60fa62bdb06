"""What a manifest becomes: cells, with what each needs to run."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from jobs import identity
from snnlib.spec.attack import FGSM, PGD, Clean
from snnlib.spec.data import Evaluation
from snnlib.spec.training import TrainingSpec
from snnlib.spec.values import PositiveInt, PositiveReal, Spec


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
        parent: the cell whose network the training starts from.
        files: own files it starts from, {sha256: path}.
    """

    number: int
    label: str
    training: TrainingSpec
    attacks: tuple[FGSM | PGD, ...] = ()
    epsilons: tuple[Fraction, ...] = ()
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    parent: "Cell | None" = None
    files: tuple[tuple[str, str], ...] = ()

    @cached_property
    def training_id(self) -> str:
        """16 hex characters that name the trained network."""
        return identity.training_id(self.training)

    @cached_property
    def attack_ids(self) -> dict[str, FGSM | PGD | Clean]:
        """Attack id → attack, `clean` first; empty for a parent that is no cell itself."""
        if self.number < 0:
            return {}
        dataset = self.training.dataset.name
        attacks = (Clean(), *self.attacks)
        return {identity.attack_id(a, self.evaluation, dataset): a for a in attacks}

    @cached_property
    def rows(self) -> tuple[tuple[str, Fraction], ...]:
        """All (attack id, epsilon) this cell wants."""
        clean, *attacks = self.attack_ids or (None,)
        if clean is None:
            return ()
        return ((clean, Fraction(0)), *((a, e) for a in attacks for e in self.epsilons))


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A number from a paper that results are shown beside."""

    where: dict[str, Any]
    attack: str
    epsilon: Fraction
    value: Decimal
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
