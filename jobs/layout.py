"""Where things lie under a run root: path arithmetic, nothing else."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FORMAT = 1
"""Version of this layout, written to format.json."""
EXAMPLES = ".examples.safetensors"
"""End of the name of a record's adversarial examples, in place of its ".json"."""
SAVED_STEP = re.compile(r"step-(\d{8,})\.a(\d{4,})(?:\.(\d+))?")
"""Name of a saved step: optimiser step, attempt, how often that had saved there before."""


@dataclass(frozen=True)
class CellFiles:
    """Files of one training and of everything made from it."""

    folder: Path

    @property
    def spec(self) -> Path:
        """The TrainingSpec in canonical form; write-once."""
        return self.folder / "spec.json"

    @property
    def training(self) -> Path:
        """Present once the training is done; write-once."""
        return self.folder / "training.json"

    @cached_property
    def attempts(self) -> Path:
        """One numbered folder for each attempt."""
        return self.folder / "attempts"

    @property
    def checkpoints(self) -> Path:
        """One folder for each saved step, named step-SSSSSSSS.aAAAA[.N] (`SAVED_STEP`)."""
        return self.folder / "checkpoints"

    @cached_property
    def evaluations(self) -> Path:
        """Write-once records, named <attack id>-<content hash>.json."""
        return self.folder / "evaluations"

    @property
    def stages(self) -> Path:
        """What was computed once of the trained network, besides evaluations."""
        return self.folder / "stages"

    @property
    def invalidated(self) -> Path:
        """What was invalidated, moved here; one folder for each tombstone."""
        return self.folder / "invalidated"

    def stage(self, stage_id: str) -> Path:
        """Record of a stage; write-once; present once the stage is done."""
        return self.stages / f"{stage_id}.json"

    def stage_tensors(self, stage_id: str) -> Path:
        """What a stage found, written before its record."""
        return self.stages / f"{stage_id}.safetensors"

    def attempt(self, number: int) -> "AttemptFiles":
        """Files of one attempt, from 1."""
        return AttemptFiles(self.attempts / f"{number:04d}")

    def checkpoint(self, step: int, attempt: int, again: int = 0) -> Path:
        """Folder of the checkpoint that an attempt saved after a step.

        Args:
            step: optimiser steps behind it.
            attempt: number of the attempt.
            again: how often it had saved at this step before, as around a validation.
        """
        name = f"step-{step:08d}.a{attempt:04d}"
        return self.checkpoints / (f"{name}.{again}" if again else name)

    def examples(self, record: str) -> Path:
        """Adversarial examples of a record of this name, where some were asked for; write-once."""
        return self.evaluations / f"{record.removesuffix('.json')}{EXAMPLES}"

    def partial(self, attack_id: str) -> Path:
        """Folder of the finished batches of an evaluation that still runs."""
        return self.evaluations / f"{attack_id}.partial"

    def finished_batches(self, attack_id: str, attempt: int, rank: int) -> Path:
        """What one rank of one attempt finished of an evaluation, one JSON line each."""
        return self.partial(attack_id) / f"a{attempt:04d}.r{rank}.jsonl"


@dataclass(frozen=True)
class AttemptFiles:
    """Files that one attempt writes."""

    folder: Path

    @property
    def claim(self) -> Path:
        """Who tries: job, host, process, code; write-once."""
        return self.folder / "claim.json"

    @property
    def end(self) -> Path:
        """How it ended, in its own words; write-once; absent after a kill."""
        return self.folder / "end.json"

    @property
    def events(self) -> Path:
        """What happened, one JSON line each."""
        return self.folder / "events.jsonl"

    @property
    def metrics(self) -> Path:
        """One JSON line for each epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def environment(self) -> Path:
        """Versions, host, device, packages."""
        return self.folder / "env.json"

    def log(self, rank: int) -> Path:
        """Standard output and error of one rank."""
        return self.folder / f"rank{rank}.log"


@dataclass(frozen=True)
class SubmissionFiles:
    """Files of one submission."""

    folder: Path

    @property
    def number(self) -> int:
        """Its number."""
        return int(self.folder.name)

    @property
    def manifest(self) -> Path:
        """The manifest as it was submitted."""
        return self.folder / "manifest.yaml"

    @property
    def plan(self) -> Path:
        """What was decided for each cell, and the requests made of it."""
        return self.folder / "plan.json"

    @property
    def array(self) -> Path:
        """One JSON line for each task: the cells it runs."""
        return self.folder / "array.jsonl"

    def cancel(self, task: int | None = None) -> Path:
        """Present once the user cancelled a task, or the whole submission; write-once."""
        name = "cancel.json" if task is None else f"cancel-{task}.json"
        return self.folder / name

    def cancelled(self, task: int) -> bool:
        """Whether a task was cancelled, by itself or with its submission."""
        return self.cancel().exists() or self.cancel(task).exists()

    @property
    def skipped(self) -> Path:
        """Folder of <task>.json: tasks that found nothing to do or could not start."""
        return self.folder / "skipped"

    def choice(self, start: str) -> Path:
        """What the first node of a job runs in a start of this name, for its other nodes."""
        return self.folder / "choices" / f"{start}.json"

    def held(self, number: int) -> Path:
        """Keeps waiting tasks from starting until its release stands; from 1; write-once."""
        return self.folder / f"held-{number}.json"

    def released(self, number: int) -> Path:
        """Ends the hold of this number; write-once."""
        return self.folder / f"released-{number}.json"

    @property
    def failures(self) -> Path:
        """Folder of failed cells by cause (`jobs.dispatch.breaker`); absent while nothing failed."""
        return self.folder / "failures"

    def unclaimed(self, number: int) -> Path:
        """Tasks whose jobs ended before they claimed a cell; numbered from 1; write-once."""
        return self.folder / f"unclaimed-{number}.json"

    @property
    def local(self) -> Path:
        """Events of the local queue about this submission, one JSON line each."""
        return self.folder / "local.jsonl"

    @property
    def ended(self) -> Path:
        """The scheduler's last word on each of its jobs, once none is live; write-once."""
        return self.folder / "ended.json"

    @property
    def submitit(self) -> Path:
        """submitit's own folder."""
        return self.folder / "submitit"

    def intent(self, chunk: int, number: int = 0) -> Path:
        """Written before a try to send a chunk; write-once, as all files of a try."""
        return self.of_try(chunk, "intent", number)

    def decision(self, chunk: int, number: int = 0) -> Path:
        """Written just before sbatch, or by others so that this try never comes to it."""
        return self.of_try(chunk, "decision", number)

    def refused(self, chunk: int, number: int = 0) -> Path:
        """Written if nothing was sent, with sbatch's words."""
        return self.of_try(chunk, "refused", number)

    def sent(self, chunk: int, number: int = 0) -> Path:
        """Written after sbatch, with the job id."""
        return self.of_try(chunk, "sent", number)

    def of_try(self, chunk: int, kind: str, number: int) -> Path:
        """One file of a try: its intent, decision, refusal (refused) or id (sent)."""
        again = f"-{number}" if number else ""
        return self.folder / f"chunk-{chunk:03d}.{kind}{again}.json"

    def array_folder(self, chunk: int, number: int = 0) -> Path:
        """submitit's folder of one try; private."""
        again = f"-{number}" if number else ""
        return self.submitit / f"chunk-{chunk:03d}{again}"

    def leaving(self, task: int) -> Path:
        """Present once a task that found chunks waiting is about to end."""
        return self.folder / "leaving" / str(task)

    @property
    def onward(self) -> Path:
        """Touched whenever an ending task looks for cells that are due again."""
        return self.folder / "onward"

    def staying(self, task: int) -> Path:
        """Present once such a task found itself the last, and stays to send them."""
        return self.folder / "leaving" / f"{task}.stays"


@dataclass(frozen=True)
class RunRoot:
    """One run root."""

    path: Path

    @property
    def format(self) -> Path:
        """Version of the layout."""
        return self.path / "format.json"

    @property
    def cells(self) -> Path:
        """All trainings, in folders of two hex characters."""
        return self.path / "cells"

    @property
    def imports(self) -> Path:
        """What `import` brought in, each file under the hash of its content; not derived."""
        return self.path / "imports"

    @property
    def submissions(self) -> Path:
        """Numbered submissions."""
        return self.path / "submissions"

    @property
    def code(self) -> Path:
        """Snapshots of the code, by content."""
        return self.path / "code"

    @property
    def cache(self) -> Path:
        """Derived files that may be deleted at any time."""
        return self.path / "cache"

    @property
    def tables(self) -> Path:
        """Derived parquet tables."""
        return self.path / "tables"

    @property
    def tensorboard(self) -> Path:
        """Event files of trainings, a folder each, for those who chose that sink."""
        return self.path / "tensorboard"

    @property
    def wandb(self) -> Path:
        """Offline runs of Weights & Biases, for those who chose that sink."""
        return self.path / "wandb"

    @property
    def invalidated(self) -> Path:
        """Tombstones (`tombstone`)."""
        return self.path / "invalidated"

    def tombstone(self, name: str) -> Path:
        """Says what is invalid, who said so and why; write-once.

        Args:
            name: <training id>-<attempt>, or <training id>-<attack id>-<number>.
        """
        return self.invalidated / f"{name}.json"

    def moved(self, name: str) -> Path:
        """Present once all that a tombstone names lies in the cell's folder `invalidated`."""
        return self.invalidated / f"{name}.moved"

    @property
    def index(self) -> Path:
        """Names of records that were validated."""
        return self.cache / "index.jsonl"

    @property
    def closed(self) -> Path:
        """Numbers of submissions that hold nothing any more."""
        return self.cache / "closed.json"

    def cell(self, training_id: str) -> CellFiles:
        """Files of one training."""
        return CellFiles(self.cells / training_id[:2] / training_id)

    def submission(self, number: int) -> SubmissionFiles:
        """Files of one submission, from 1."""
        return SubmissionFiles(self.submissions / f"{number:06d}")
