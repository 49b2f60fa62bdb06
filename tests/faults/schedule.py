"""A seeded schedule of faults over small studies, each compared with a quiet one."""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import files
from jobs.dispatch import local
from tests.faults import harm
from tests.faults.live import Phase, Worker, frozen_in
from tests.faults.toy import PATIENCE_S, Tables, Toy, compared
from tests.system.conftest import until

PHASES: tuple[Phase, ...] = ("train", "save", "evaluate", "record", "collect")
TRIES = 12
"""Collectors that may be missed before one is hit."""
_RESTARTS = 12
"""Times that one study may be resumed while faults come."""

Pair = tuple[str, Phase]


@dataclass
class Tally:
    """What a schedule did.

    Attributes:
        hits: faults that hit a live process in its phase.
        missed: those that did not, and were drawn again.
        rows: rows lost, doubled, and tables different from a quiet run's.
        rounds: studies run.
        attempts: attempts at their cells.
        unseen: damaged checkpoints that nobody refused.
    """

    hits: Counter[Pair] = field(default_factory=Counter)
    missed: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    attempts: int = 0
    unseen: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def text(self, seed: str) -> str:
        """The matrix and the sums, for people."""
        names = list(dict.fromkeys([*harm.ON_JOBS, *harm.ON_COLLECTORS]))
        possible = harm.pairs()
        lines = [f"{'':16}" + "".join(f"{phase:>10}" for phase in PHASES)]
        for name in names:
            cells = (self.hits[name, p] if (name, p) in possible else "-" for p in PHASES)
            lines.append(f"{name:16}" + "".join(f"{cell:>10}" for cell in cells))
        none = {harm.why_not(n, p) for n in names for p in PHASES if (n, p) not in possible}
        lines += [f"-: {why}" for why in sorted(none)]
        sums = {key: self.rows[key] for key in ("lost", "doubled", "different")}
        told = ", ".join(f"{key} {number}" for key, number in sums.items())
        return "\n".join([
            *lines,
            f"seed {seed}: {self.hits.total()} faults hit, {self.missed} missed and drawn again, "
            f"{self.rounds} studies, {self.attempts} attempts; {told}",
        ])  # fmt: skip

    def save(self, path: Path, seed: str) -> None:
        """As JSON, so that a long schedule can go on."""
        hits = [[*pair, number] for pair, number in self.hits.items()]
        about = {**vars(self), "hits": hits, "seed": seed}
        files.replace(path, (json.dumps(about, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path, seed: str) -> "Tally":
        """What a schedule of this seed did before; nothing if there is none."""
        if not path.exists():
            return cls()
        about: dict[str, Any] = json.loads(path.read_text())
        if about.pop("seed") != seed:
            return cls()
        hits = Counter({(fault, phase): number for fault, phase, number in about.pop("hits")})
        return cls(**{**about, "hits": hits, "rows": Counter(about["rows"])})


@dataclass
class Schedule:
    """Draws faults until enough have hit.

    Attributes:
        folder: for the studies.
        code: checkout that they run.
        quiet: tables of an undisturbed study.
        seed: of all draws.
        most: faults wanted; None wants each fault and each phase once.
        tally: what was done.
    """

    folder: Path
    code: Path
    quiet: Tables
    seed: str
    most: int | None
    tally: Tally

    def over(self) -> bool:
        """Whether nothing more is wanted."""
        return not self.wanted()

    def wanted(self) -> list[Pair]:
        """Pairs that may be drawn next."""
        if self.most is None:
            met = {name for pair in self.tally.hits for name in pair}
            return [pair for pair in harm.pairs() if not met.issuperset(pair)]
        return harm.pairs() if self.tally.hits.total() < self.most else []

    def study(self) -> None:
        """One study under faults, from its submission to its tables."""
        rng = random.Random(f"{self.seed}/{self.tally.rounds}")
        toy = Toy(self.folder / f"{self.seed}-{self.tally.rounds}", self.code)
        try:
            toy.submit()
            self._disturb(toy, rng)
            toy.finish()
            self._disturb_collectors(toy, rng)
            self._judge(toy)
        finally:
            toy.stop()
        self.tally.rounds += 1

    def _disturb(self, toy: Toy, rng: random.Random) -> None:
        restarts = 0
        while pending := [pair for pair in self.wanted() if pair[1] != "collect"]:
            phases = sorted({phase for _, phase in pending})
            chosen = rng.sample(phases, rng.randint(1, len(phases)))
            found = frozen_in(toy.root, chosen, rng.randint(0, 5), 90)
            if found is not None:
                self._strike(toy, *found, rng)
            elif not local.is_running(toy.root):
                if toy.finished() or restarts == _RESTARTS:
                    return
                restarts += 1
                toy.resume()

    def _strike(self, toy: Toy, worker: Worker, phase: Phase, rng: random.Random) -> None:
        faults = [fault for fault, wanted in self.wanted() if wanted == phase]
        if worker.checkpoint() is None:
            faults = [fault for fault in faults if fault not in harm.OF_CHECKPOINTS]
        if not faults:
            worker.thaw()
            return
        fault = rng.choice(faults)
        self._count(fault, phase, hit=harm.ON_JOBS[fault](toy, worker, rng))

    def _count(self, fault: str, phase: Phase, *, hit: bool) -> None:
        print(f"{fault} in {phase}{'' if hit else ': missed'}", flush=True)
        if hit:
            self.tally.hits[fault, phase] += 1
        else:
            self.tally.missed += 1

    def _disturb_collectors(self, toy: Toy, rng: random.Random) -> None:
        faults = [fault for fault, phase in self.wanted() if phase == "collect"]
        if self.most is not None:
            faults = rng.sample(faults, min(2, len(faults)))
        for fault in faults:
            for _ in range(TRIES):
                collector = _at_its_tables(toy)
                hit = collector is not None and harm.ON_COLLECTORS[fault](toy, collector)
                self._count(fault, "collect", hit=hit)
                if hit:
                    break

    def _judge(self, toy: Toy) -> None:
        """Compare the tables with a quiet run's."""
        until(lambda: not local.is_running(toy.root), "the end of the queue", PATIENCE_S)
        told = json.loads(toy.bench("collect", "--json"))
        self.tally.warnings += told["warnings"]
        self.tally.rows.update(compared(toy.tables(), self.quiet))
        self.tally.attempts += len(list(toy.root.cells.glob("*/*/attempts/*")))
        spoilt = toy.root.path / "spoilt"
        for line in spoilt.read_text().splitlines() if spoilt.exists() else ():
            if not _refused(Path(line)):
                self.tally.unseen.append(line)


def _refused(checkpoint: Path) -> bool:
    """Whether a later attempt said that it did not take a checkpoint."""
    events = checkpoint.parents[1].glob("attempts/*/events.jsonl")
    lines = (line for path in events for line in files.read_lines(path))
    return any(line.get("checkpoint") == checkpoint.name and line["event"] == "refused"
               for line in lines)  # fmt: skip


def _at_its_tables(toy: Toy) -> subprocess.Popen[str] | None:
    """A collector, frozen while it writes; None if it was too fast."""
    began = time.time()
    collector = toy.begin("collect")
    while collector.poll() is None:
        made = toy.root.tables.glob("*") if toy.root.tables.exists() else ()
        for path in made:
            try:
                young = path.stat().st_ctime > began
            except FileNotFoundError:
                continue
            if young:
                collector.send_signal(signal.SIGSTOP)
                return collector
        time.sleep(0.001)
    collector.communicate()
    return None
