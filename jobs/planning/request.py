"""From planned cells to job requests: what will be sent, as data, before anything is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobs import identity
from jobs.expand.cell import Cell, stage_key

if TYPE_CHECKING:
    from jobs.expand.blocks import Resources
    from snnlib.spec.training import TrainingSpec

T = TypeVar("T")

CHUNK = 1000
"""Tasks of one array at most, where the site's own limit is not known."""

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2"
"""Signals that torchrun hands on instead of dying of them; USR1 belongs to NCCL."""

SHUTDOWN_S = 60
"""Seconds that torchrun gives its ranks to save after a signal."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one job does: some cells, one after the other.

    Attributes:
        index: line of array.jsonl.
        cells: JSON-ready work orders (`work_order`).
        resources: shape of the job.
        generation: tasks of lower generations hold parents of its cells.
    """

    index: int
    cells: tuple[dict[str, Any], ...]
    resources: Resources
    generation: int = 0


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """One array of tasks of equal shape.

    Attributes:
        chunk: its number in the submission.
        name: the scheduler's job name, unique for each submission and chunk.
        tasks: lines of array.jsonl.
        parameters: for submitit's executor.
        generation: of its tasks.
        after: chunks that hold parents of its cells; it starts when they have ended.
    """

    chunk: int
    name: str
    tasks: tuple[int, ...]
    resources: Resources
    parameters: dict[str, Any] = field(default_factory=dict)
    generation: int = 0
    after: tuple[int, ...] = ()


def work_order(cell: Cell, rows: Iterable[str]) -> dict[str, Any]:
    """All that a worker needs to know of a cell.

    Args:
        cell: what to train and evaluate.
        rows: keys of the rows and stages that are missing (`Cell.wanted`).
    """
    keys = tuple(rows)
    return {
        "training_id": cell.training_id,
        "label": cell.label,
        "spec": _spec(cell.training),
        "evaluation": _plain(cell.evaluation, [cell.evaluation]),
        "attacks": _attacks(cell, keys),
        "stages": _stages(cell, keys) if cell.stages else [],
        # ranks work in the snapshot of the code, so a path of the user's must not be relative
        "files": {sha256: str(Path(path).absolute()) for sha256, path in cell.files},
    }


def files_read(cell: Cell, rows: Iterable[str], *, trains: bool) -> list[str]:
    """Paths, as the manifest names them, of own files that the job of a cell reads.

    Args:
        cell: what is sent.
        rows: keys of the rows and stages that are missing.
        trains: it is not trained yet.
    """
    if not cell.files:
        return []
    order = work_order(cell, rows)
    named = [one["attack"].get("source") for one in order["attacks"]]
    if trains:
        named += [order["spec"]["start"], order["spec"].get("nds")]
    return [path for sha256, path in cell.files if f"sha256:{sha256}" in named]


def parents(spec: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """What a training needs of others, from its plain specification.

    Returns:
        Training ids, each with the stage that is needed of it; None for the network itself.
    """
    found: list[tuple[str, str | None]] = []
    start, nds = spec["start"], spec.get("nds")
    if start is not None and ":" not in start:
        found.append((start, None))
    if nds is not None and "/" in nds:
        training_id, _, stage = nds.partition("/")
        found.append((training_id, stage))
    return found


def sources(order: Mapping[str, Any]) -> dict[str, str]:
    """Attack id → training id of the network it climbs on, for the transfer attacks of an order."""
    named = {one["id"]: one["attack"].get("source") or "" for one in order["attacks"]}
    return {key: source for key, source in named.items() if source and ":" not in source}


@lru_cache(maxsize=4096)
def _epsilons(rows: tuple[str, ...]) -> dict[str, list[str]]:
    """Row keys as {attack id: epsilons}."""
    found: dict[str, list[str]] = {}
    for row in rows:
        attack_id, _, epsilon = row.partition("@")
        found.setdefault(attack_id, []).append(epsilon)
    return found


def _attacks(cell: Cell, rows: tuple[str, ...]) -> list[dict[str, Any]]:
    missing = _epsilons(rows)
    return [
        {"id": key, "attack": _plain(attack, [attack]), "epsilons": missing[key]}
        for key, attack in cell.attack_ids.items()
        if key in missing
    ]


def _stages(cell: Cell, keys: Iterable[str]) -> list[dict[str, Any]]:
    missing = set(keys)
    return [
        {"id": key, "stage": identity.plain(stage)}
        for key, stage in cell.stage_ids.items()
        if stage_key(key) in missing
    ]


_known: dict[tuple[int, ...], tuple[object, Any]] = {}


def _plain(value: object, parts: Sequence[object]) -> Any:
    """`identity.plain`, remembered by what determines it: cells of one manifest share their parts.

    Args:
        value: what to make plain; kept, so that the ids of its parts stay theirs.
        parts: the objects in it that matter.
    """
    key = tuple(map(id, parts))
    if key not in _known:
        _known[key] = value, identity.plain(value)
    return _known[key][1]


def _spec(training: TrainingSpec) -> dict[str, Any]:
    own = {"seed": training.seed, "start": training.start}
    if training.nds is not None:
        own["nds"] = training.nds
    shared = [v for name, v in vars(training).items() if name not in ("seed", "start", "nds")]
    return {**{k: v for k, v in _plain(training, shared).items() if k != "nds"}, **own}


def tasks(
    work: Sequence[tuple[Cell, dict[str, Any]]],
    *,
    first: int = 0,
    generation: int = 0,
    shape_of: Callable[[Cell], Resources] = attrgetter("resources"),
) -> list[Task]:
    """Pack work orders into tasks: cells of one shape and code together, `cells_per_job` each.

    Args:
        work: cells and their orders, none of them a parent of another.
        first: index of the first task.
        generation: of all of them.
        shape_of: a cell's job.
    """
    shapes: dict[Resources, dict[str, list[dict[str, Any]]]] = {}
    for shape, group in itertools.groupby(work, key=lambda one: shape_of(one[0])):
        of_code = shapes.setdefault(shape, {})
        for _, order in group:
            of_code.setdefault(order.get("code", ""), []).append(order)
    packed = [
        (resources, batch)
        for resources, of_code in shapes.items()
        for orders in of_code.values()
        for batch in _batched(orders, resources.cells_per_job)
    ]
    return [
        Task(index=i, cells=tuple(batch), resources=resources, generation=generation)
        for i, (resources, batch) in enumerate(packed, start=first)
    ]


def _batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def requests(
    made: Sequence[Task],
    *,
    name: str,
    max_array: int,
    profile: Mapping[Resources, dict[str, Any]],
    canary: bool = False,
) -> list[JobRequest]:
    """Group tasks into arrays of equal shape, none longer than the site allows.

    Args:
        made: tasks, grouped by generation and shape.
        name: prefix of the job names.
        max_array: MaxArraySize of the site: as many tasks fit into one array.
        profile: executor parameters of the site for each shape.
        canary: the first task is an array by itself, and all others come after it.
    """
    size = max(1, max_array)
    found: list[JobRequest] = []
    chunks: dict[int, list[int]] = {}
    for (generation, resources, _), group in itertools.groupby(
        made, key=lambda task: (task.generation, task.resources, canary and task is made[0])
    ):
        for batch in _batched([task.index for task in group], size):
            chunk = len(found)
            chunks.setdefault(generation, []).append(chunk)
            found.append(
                JobRequest(
                    chunk=chunk,
                    name=f"{name}-{chunk:03d}",
                    tasks=tuple(batch),
                    resources=resources,
                    parameters=sbatch_parameters(resources, profile.get(resources, {})),
                    generation=generation,
                    after=tuple(chunks.get(generation - 1, (0,) if canary and chunk else ())),
                )
            )
    return found


def sbatch_parameters(resources: Resources, site: Mapping[str, Any]) -> dict[str, Any]:
    """submitit's parameters for SLURM: one task per node, torchrun starts the ranks."""
    gpus = {"gpus_per_node": resources.gpus_per_node} if resources.gpus_per_node else {}
    return {
        "nodes": resources.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": resources.cpus_per_gpu * resources.processes,
        "mem_gb": float(resources.mem_gb),
        "timeout_min": resources.timeout_min,
        "stderr_to_stdout": True,
        **gpus,
        **site,
    }


@dataclass(frozen=True, kw_only=True)
class Rendezvous:
    """Where the ranks of one start of one job meet.

    Attributes:
        endpoint: host:port; "localhost:0" on one node.
        job: names this start alone, so that a requeued job cannot join its predecessor's store.
    """

    endpoint: str
    job: str


def torchrun(resources: Resources, meeting: Rendezvous, *, python: str) -> list[str]:
    """The command that starts the ranks of a job on one node."""
    return [
        python,
        "-m",
        "torch.distributed.run",
        f"--nnodes={resources.nodes}",
        f"--nproc-per-node={resources.processes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={meeting.endpoint}",
        f"--rdzv-id={meeting.job}",
        "--max-restarts=0",
        f"--signals-to-handle={SIGNALS}",
        f"--shutdown-timeout={SHUTDOWN_S}",
        "--module",
        "jobs.worker",
    ]


def longest_hours(resources: Resources) -> float:
    """GPU hours (core hours of a CPU job) that one job can take at most."""
    units = resources.gpus_per_node or resources.processes * resources.cpus_per_gpu
    return resources.nodes * units * resources.timeout_min / 60
