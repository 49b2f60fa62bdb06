"""Blocks of a manifest beside its cells: shapes of jobs, and published numbers."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from snnlib.spec.attack import AttackName, SuiteName
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
    attack: AttackName | SuiteName | Literal["clean"]
    epsilon: Epsilon
    value: Real
    source: str
