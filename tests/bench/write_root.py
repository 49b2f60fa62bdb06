"""Write a run root whose cells are all trained, with half of their rows recorded.

    python -m tests.bench.write_root MANIFEST FOLDER [MISSING]

With MISSING all rows are recorded instead, but for the last so many cells, which were never begun.
The project's own modules write it, but nobody waits for the disk.
"""

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

from jobs import attempts, files, identity, processes, records
from jobs.dispatch import ledger, sending
from jobs.expand.cell import Cell, Manifest
from jobs.layout import CellFiles, RunRoot
from jobs.planning import finding, request

SAMPLES = 1000
EPOCHS = 20
STEPS = 460
RECORDED = (1, 6, 3, 0)
"""Recorded rows of each attack, clean first: 10 of 19."""

MASK = tuple(i % 7 != 0 for i in range(SAMPLES))
HISTORY = [
    {
        "epoch": epoch,
        "loss": 1 / epoch,
        "train_accuracy": (1000 + epoch) / 1437,
        "lr": 0.02,
        "firing_rates": {"1": 0.1, "3": 0.2},
        "validation_correct": 300 + epoch,
        "validation_total": 360,
        "seconds": 1.25,
    }
    for epoch in range(1, EPOCHS + 1)
]
MEASURED = {
    "attempt": 1,
    "seconds": 1.5,
    "host": "n1",
    "device": "cpu",
    "threads": 1,
    "world_size": 1,
    "versions": {"torch": "2.13.0"},
    "promise": "bitwise",
    "codes": ["c0de" * 4],
}


def write(manifest: Manifest, root: RunRoot, missing: int | None = None) -> None:
    """Every cell trained by the first attempt of one submission that is over."""
    with mock.patch("os.fsync"):
        sending.prepare(root)
        for cell in manifest.cells[: len(manifest.cells) - (missing or 0)]:
            counts = RECORDED if missing is None else [len(cell.epsilons)] * len(cell.attack_ids)
            _write_cell(cell, root.cell(cell.training_id), counts)
        _write_submission(manifest, root)


def _write_cell(cell: Cell, paths: CellFiles, counts: Sequence[int]) -> None:
    paths.folder.mkdir(parents=True)
    details = {"job_id": "", "submission": 1, "task": cell.number, "label": cell.label}
    number = attempts.claim(paths, details, identity.canonical(cell.training).encode())
    attempt = paths.attempt(number)
    attempt.metrics.write_bytes(b"".join(map(files.dumps, HISTORY)))
    attempt.environment.write_bytes(files.dumps({"schema_version": 1, "python": sys.version}))
    summary = {
        "schema_version": 1,
        "training_id": cell.training_id,
        "label": cell.label,
        "model_sha256": "0" * 64,
        "checkpoint": paths.checkpoint(STEPS, number).name,
        "epochs": EPOCHS,
        "steps": STEPS,
        "best_epoch": EPOCHS,
        "validation_correct": 320,
        "validation_total": 360,
        "history": HISTORY,
        "measured": MEASURED,
    }
    files.create(paths.training, files.dumps(summary))
    for (attack_id, attack), count in zip(cell.attack_ids.items(), counts, strict=True):
        radii = cell.epsilons[:count] if attack.name != "clean" else (Fraction(0),)
        if radii:
            found = _record(cell.training_id, attack_id, identity.plain(attack), radii)
            records.write(paths, found)
    attempts.end(attempt, "completed", "", seconds=25.0, advanced=True, step=STEPS)


def _record(
    training_id: str, attack_id: str, attack: dict[str, object], radii: tuple[Fraction, ...]
) -> records.Record:
    counts: Any = {"correct": sum(MASK), "total": SAMPLES, "zero_gradient": 0}
    return records.Record(
        training_id=training_id,
        attack_id=attack_id,
        attack=attack,
        evaluation={"dataset": "digits", "split": "test", "samples": None, "seed": 0},
        model_sha256="0" * 64,
        samples_sha256="1" * 64,
        rows=tuple(records.Row(epsilon=radius, mask=MASK, **counts) for radius in radii),
        measured={**MEASURED, "batch": 100},
    )


def _write_submission(manifest: Manifest, root: RunRoot) -> None:
    """The submission to this machine's queue that ran the cells, all of them ended."""
    made = request.tasks([(cell, request.work_order(cell, cell.rows)) for cell in manifest.cells])
    labels = {cell.training_id: cell.label for cell in manifest.cells}
    header = {"manifest": manifest.name, "cluster": "local", "at": 1.0, "code": "c0de" * 4}
    paths = ledger.publish(
        root,
        manifest.text,
        {**header, "data": "", "labels": labels},
        made,
        lambda number: request.requests(made, name=f"bench-{number}", max_array=1000, profile={}),
    )
    who = {"process": processes.this().data(), "devices": ""}
    events = [
        files.dumps({"event": event, "task": task.index, "at": 1.0, **who})
        for task in made
        for event in ("start", "end")
    ]
    paths.local.write_bytes(b"".join(events))


if __name__ == "__main__":
    absent = int(sys.argv[3]) if len(sys.argv) > 3 else None
    write(finding.manifest(sys.argv[1]), RunRoot(Path(sys.argv[2])), absent)
