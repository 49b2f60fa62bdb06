"""What a report needs to know besides the tables: a study as its manifest and run root tell it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.collecting import parquet
from analysis.selection import MASKS
from analysis.tables import frame, load
from jobs.errors import UsageError
from jobs.schema import TABLES


@dataclass(frozen=True, kw_only=True)
class CellState:
    """One cell and how it stands.

    Attributes:
        training_id: its network.
        label: name for people.
        state: completed, running, failed, …
        attacks: id of each attack that it wants → norm, space and clip, None for clean.
        gpus: GPUs that its job holds; 0 for CPU jobs.
        processes: processes of its job.
        own: a cell of the manifest, not merely the parent of one.
    """

    training_id: str
    label: str
    state: str
    attacks: Mapping[str, tuple[str, str, bool] | None] = field(default_factory=dict)
    gpus: int = 0
    processes: int = 1
    own: bool = True


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """Cells of one state for one reason."""

    state: str
    reason: str
    count: int
    labels: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Unfinished cells whose last attempts failed alike, and the log of one that stands for all.

    Attributes:
        signature: what the failures have in common.
        count: cells.
        labels: their names, drawn together.
        nodes: machines, with how many failed on each.
        example: name of the cell whose log is shown.
        attempt: number of its attempt.
        state: how that ended.
        reason: why, in its own words.
        tail: last lines of the log.
    """

    signature: str
    count: int
    labels: str
    nodes: str
    example: str
    attempt: int
    state: str
    reason: str
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number of the manifest's `reference:` block.

    Attributes:
        where: the cells it speaks of, as written.
        attack: name of the attack, or clean.
        epsilon: radius as numerator and denominator; 0/1 for clean.
        value: accuracy in percent.
        source: the paper, with table or figure.
        trainings: ids of the networks that it speaks of.
    """

    where: str
    attack: str
    epsilon: tuple[int, int]
    value: float
    source: str
    trainings: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study at one moment.

    Attributes:
        name: of the manifest.
        source: path of the manifest.
        manifest: its text.
        root: run root.
        at: when the page is made, in seconds since 1970 UTC.
        cells: all that are planned, parents among them.
        unfinished: what is not done yet, and why.
        failures: by cause.
        references: published numbers.
        commits: hash of a code → commit that it was copied from.
        notes: what `collect` left out, and why.
    """

    name: str
    source: str
    manifest: str
    root: str
    at: float
    cells: tuple[CellState, ...]
    unfinished: tuple[Unfinished, ...] = ()
    failures: tuple[Failure, ...] = ()
    references: tuple[Published, ...] = ()
    commits: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> list[CellState]:
        """The cells of the manifest itself."""
        return [cell for cell in self.cells if cell.own]

    @property
    def states(self) -> Counter[str]:
        """How many of the manifest's cells are in each state."""
        return Counter(cell.state for cell in self.own)


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Collected tables, cut to one study by `of_study`.

    Attributes:
        audits: one row for each item of the audit of a network.
        others: rows of these networks that were left out: attacks that only other studies want.
    """

    results: pd.DataFrame
    samples: pd.DataFrame
    trainings: pd.DataFrame
    attempts: pd.DataFrame
    audits: pd.DataFrame
    others: int = 0


def read(root: Path) -> Tables:
    """The collected tables of a run root; audits are empty where they were never collected.

    Raises:
        SpikegridError: as `analysis.load`.
    """
    try:
        audits = load("audits", root)
    except UsageError:
        audits = frame("audits", parquet.schema(TABLES["audits"]).empty_table())
    return Tables(
        results=load("results", root),
        samples=load("samples", root, MASKS),
        trainings=load("trainings", root),
        attempts=load("attempts", root),
        audits=audits,
    )


def of_study(tables: Tables, study: Study) -> Tables:
    """The rows of a study's networks, under the attacks that its manifest asks for."""
    wanted = {(cell.training_id, attack) for cell in study.own for attack in cell.attacks}
    every = {cell.training_id for cell in study.cells}
    own = {cell.training_id for cell in study.own}
    results = tables.results
    pairs = zip(results["training_id"], results["attack_id"], strict=True)
    kept = pd.Series([pair in wanted for pair in pairs], index=results.index, dtype=bool)
    return Tables(
        results=results[kept],
        samples=tables.samples[tables.samples["training_id"].isin(own)],
        trainings=tables.trainings[tables.trainings["training_id"].isin(own)],
        attempts=tables.attempts[tables.attempts["training_id"].isin(every)],
        audits=tables.audits[tables.audits["training_id"].isin(own)],
        others=int((results["training_id"].isin(own) & ~kept).sum()),
    )
