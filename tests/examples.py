"""Small cells, submissions and records for tests."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from jobs import identity, records
from jobs.dispatch import ledger
from jobs.dispatch.ledger import Cluster
from jobs.expand.blocks import Resources
from jobs.expand.cell import Cell, Parent
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning.request import requests, tasks, work_order
from jobs.records import Record, Row
from snnlib.spec.attack import FGSM
from snnlib.spec.data import Dataset
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF
from snnlib.spec.training import CleanRegime, TrainingSpec

TINY = """\
version: 1
name: tiny
defaults:
  dataset: digits
  model: {name: small, neuron: if}
  epsilons: ["8/255"]
  attacks: [fgsm]
  regime: {name: clean, epochs: 1}
grid: {seed: [0, 1]}
"""
"""A manifest of two short trainings."""
EPSILONS = (Fraction(2, 255), Fraction(8, 255))


def cell(
    seed: int = 0, *, parent: Cell | None = None, number: int | None = None, **more: Any
) -> Cell:
    """A cell of a small LIF network; seeds make different trainings."""
    training = TrainingSpec(
        dataset=Dataset(name="digits"),
        model=Small(neuron=LIF()),
        regime=CleanRegime(epochs=2),
        seed=seed,
        start=parent.training_id if parent else None,
    )
    kind = "child" if parent else "clean"
    return Cell(
        number=seed if number is None else number,
        label=f"digits/small-lif/{kind}/s{seed}",
        training=training,
        attacks=(FGSM(),),
        epsilons=EPSILONS,
        parents=() if parent is None else (Parent(cell=parent),),
        **more,
    )


def record(one: Cell, attack_id: str, epsilons: tuple[Fraction, ...] = EPSILONS) -> Record:
    """What an evaluation of ten samples found."""
    mask = (True, False, True, True, False, True, True, True, False, True)
    rows = tuple(
        Row(epsilon=e, correct=sum(mask), total=len(mask), mask=mask, zero_gradient=0)
        for e in epsilons
    )
    return Record(
        training_id=one.training_id,
        attack_id=attack_id,
        attack=identity.plain(one.attack_ids[attack_id]),
        evaluation={"dataset": "digits", "split": "test", "samples": 10, "seed": 0},
        model_sha256="0" * 64,
        samples_sha256="1" * 64,
        rows=rows,
        measured={"attempt": 1, "promise": "bitwise"},
    )


def finish(root: RunRoot, one: Cell, attacks: int | None = None) -> None:
    """Put a finished training and the records of its first attacks on disk."""
    paths = root.cell(one.training_id)
    paths.folder.mkdir(parents=True, exist_ok=True)
    paths.training.write_text(json.dumps({"model_sha256": "0" * 64}))
    for attack_id in list(one.attack_ids)[:attacks]:
        clean = attack_id == next(iter(one.attack_ids))
        records.write(paths, record(one, attack_id, (Fraction(0),) if clean else EPSILONS))


def submission(
    root: RunRoot,
    cells: list[Cell],
    cluster: Cluster = "slurm",
    max_array: int = 1000,
    **header: Any,
) -> SubmissionFiles:
    """A published submission of cells, one task each, not sent."""
    made = tasks([(one, work_order(one, one.rows)) for one in cells])
    about = {"manifest": "example", "cluster": cluster, "at": 100.0, "code": "c0de", "data": ""}
    return ledger.publish(
        root,
        "version: 1\n",
        {**about, **header},
        made,
        lambda n: requests(made, name=f"job-{n}", max_array=max_array, profile={}),
    )


def run_root(folder: Path) -> RunRoot:
    """An empty run root."""
    root = RunRoot(folder / "runs")
    for path in (root.cells, root.submissions, root.cache):
        path.mkdir(parents=True)
    return root


SMALL = Resources()
