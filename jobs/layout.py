"""Where things lie under a run root: path arithmetic, nothing else."""

from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
"""Version of this layout, written to format.json."""


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

    @property
    def attempts(self) -> Path:
        """One numbered folder for each attempt."""
        return self.folder / "attempts"

    @property
    def checkpoints(self) -> Path:
        """One folder for each saved step, named step-SSSSSSSS.aAAAA."""
        return self.folder / "checkpoints"

    @property
    def evaluations(self) -> Path:
        """Write-once records, named <attack id>-<content hash>.json."""
        return self.folder / "evaluations"

    @property
    def stages(self) -> Path:
        """What was computed once of the trained network, besides evaluations."""
        return self.folder / "stages"

    def stage(self, stage_id: str) -> Path:
        """Record of a stage; write-once; present once the stage is done."""
        return self.stages / f"{stage_id}.json"

    def stage_tensors(self, stage_id: str) -> Path:
        """What a stage found, written before its record."""
        return self.stages / f"{stage_id}.safetensors"

    def attempt(self, number: int) -> "AttemptFiles":
        """Files of one attempt, from 1."""
        return AttemptFiles(self.attempts / f"{number:04d}")

    def checkpoint(self, step: int, attempt: int) -> Path:
        """Folder of the checkpoint that an attempt saved after a step."""
        return self.checkpoints / f"step-{step:08d}.a{attempt:04d}"

    def partial(self, attack_id: str) -> Path:
        """Folder of the finished batches of an evaluation that still runs."""
        return self.evaluations / f"{attack_id}.partial"


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

    def intent(self, chunk: int) -> Path:
        """Written before sbatch."""
        return self.folder / f"chunk-{chunk:03d}.intent.json"

    def refused(self, chunk: int) -> Path:
        """Written if sbatch refused, with its words."""
        return self.folder / f"chunk-{chunk:03d}.refused.json"

    def sent(self, chunk: int) -> Path:
        """Written after sbatch, with the job id."""
        return self.folder / f"chunk-{chunk:03d}.sent.json"


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
    def invalidated(self) -> Path:
        """Tombstones: <training id>.json or <training id>-<attack id>.json."""
        return self.path / "invalidated"

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
