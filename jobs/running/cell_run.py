"""One attempt at one cell, as the ranks see it: what they share, and who may write."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs import attempts, files, identity, processes
from jobs.layout import AttemptFiles, CellFiles, RunRoot, SubmissionFiles
from jobs.processes import Process, StopFlag
from jobs.upkeep import tombstones
from snnlib import datasets, distributed, repeatable
from snnlib.datasets import Data
from snnlib.distributed import World
from snnlib.spec.data import Evaluation
from snnlib.spec.training import TrainingSpec


class Stopped(Exception):
    """All ranks agreed to stop after a signal; everything is saved."""


class Fenced(Exception):
    """The attempt must write no more; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One start of the ranks.

    Attributes:
        root: the run root.
        paths: the submission that it belongs to.
        index: its task there.
        world: the ranks.
        device: name of the device, for the record.
        stop: whether a signal came.
        threads: CPU threads of each rank.
        peers: processes of all ranks, by rank.
        pieces: numbers of what they agree on (`jobs.running.agreement`).
    """

    root: RunRoot
    paths: SubmissionFiles
    index: int
    world: World
    device: str
    stop: StopFlag
    threads: int
    peers: Sequence[Process] = ()
    loaded: dict[str, Data] = field(default_factory=dict)
    pieces: Iterator[int] = field(default_factory=itertools.count)

    def stopping(self) -> bool:
        """Whether any rank was told to stop; every rank must ask."""
        return distributed.any_of(self.world, self.stop.up)[0]

    def dataset(self, spec: TrainingSpec) -> Data:
        """The data set of a training, read once for all cells of the job."""
        key = identity.canonical(spec.dataset)
        if key not in self.loaded:
            folder = os.environ.get("SPIKEGRID_DATA")
            self.loaded[key] = datasets.load(spec.dataset, Path(folder) if folder else None)
        return self.loaded[key]


@dataclass
class CellRun:
    """One attempt at one cell.

    Attributes:
        job: the start of the ranks that makes it.
        order: the work order (`jobs.planning.request.work_order`).
        number: of the attempt.
        advanced: whether it saved or recorded something.
        step: optimiser step of the training that it has reached.
        resumed_from: name of the checkpoint that it went on from.
    """

    job: Job
    order: Mapping[str, Any]
    number: int
    advanced: bool = False
    step: int | None = None
    resumed_from: str | None = None
    began: float = field(default_factory=time.time)

    @property
    def leads(self) -> bool:
        """Whether this rank writes."""
        return self.job.world.rank == 0

    @property
    def label(self) -> str:
        """The cell's name for people."""
        return str(self.order["label"])

    @cached_property
    def cell(self) -> CellFiles:
        """Files of the training."""
        return self.job.root.cell(self.order["training_id"])

    @cached_property
    def files(self) -> AttemptFiles:
        """Files of this attempt."""
        return self.cell.attempt(self.number)

    @cached_property
    def spec(self) -> TrainingSpec:
        """What is trained."""
        return identity.restore(self.order["spec"])

    @cached_property
    def evaluation(self) -> Evaluation:
        """On what it is attacked."""
        return identity.restore_as(Evaluation, self.order["evaluation"])

    def event(self, what: str, **details: Any) -> None:
        """Put something that happened on record."""
        if self.leads:
            files.append(self.files.events, {"at": time.time(), "event": what, **details})

    def say(self, text: str) -> None:
        """One line for the log of the leading rank."""
        if self.leads:
            with contextlib.suppress(OSError):  # a full disk must not hide what is to be said next
                os.write(1, f"{time.strftime('%H:%M:%S')} {self.label}: {text}\n".encode())

    def guard(self) -> None:
        """Stop if a younger attempt has taken over.

        Raises:
            Fenced: on all ranks.
        """
        fenced = self.leads and attempts.fenced(self.cell, self.number)
        if distributed.broadcast_object(self.job.world, fenced):
            raise Fenced("a younger attempt has taken over")

    def invalidated(self, attack_id: str) -> int | None:
        """How often an attack on this network has been; None for never. Every rank must ask."""
        found = self._grave.times(attack_id) if self.leads else 0
        return distributed.broadcast_object(self.job.world, found) or None

    def guard_attack(self, attack_id: str, invalidated: int | None) -> None:
        """Stop if an attack was invalidated while it ran.

        Args:
            attack_id: of the attack.
            invalidated: as of the method of this name, before it ran.

        Raises:
            Fenced: on all ranks.
        """
        if self.invalidated(attack_id) != invalidated:
            raise Fenced("the attack was invalidated meanwhile")

    def guard_network(self, sha256: str) -> None:
        """Stop if the trained network that was examined counts no more.

        Attempts at one network may live side by side, so a younger one is no reason to stop.

        Args:
            sha256: of its weights.

        Raises:
            Fenced: on all ranks.
        """
        why = self._gone(sha256) if self.leads else ""
        if why := distributed.broadcast_object(self.job.world, why):
            raise Fenced(why)

    @property
    def _grave(self) -> tombstones.Grave:
        """What has been invalidated of the training by now."""
        return tombstones.graves(self.job.root).get(self.order["training_id"], tombstones.Grave())

    def _gone(self, sha256: str) -> str:
        """Why a network counts no more, or nothing."""
        if self._grave.fence > self.number:
            return "its network was invalidated meanwhile"
        standing = next(files.read_lines(self.cell.training), {}).get("model_sha256")
        return "" if standing == sha256 else "its network was taken away or replaced meanwhile"

    def measured(self, **details: Any) -> dict[str, Any]:
        """What may differ between two runs that give equal results."""
        return {
            "attempt": self.number,
            "seconds": round(time.time() - self.began, 3),
            "host": processes.host(),
            "device": self.job.device,
            "threads": self.job.threads,
            "world_size": self.job.world.size,
            "codes": [os.environ["SPIKEGRID_CODE"]],
            "versions": repeatable.versions(),
            "promise": repeatable.promise(self.job.world.device),
            **details,
        }
