"""One rank's share of an attack, at its own speed and kept as it goes.

An attack is cut into turns: a batch, at one radius or several. A rank takes its part of those that
no earlier attempt has finished, and each is in its file (`jobs.running.partial`) within seconds.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from jobs.planning import views
from jobs.running import examples, outcomes, partial, transfer_source
from jobs.running.agreement import Agreement
from jobs.running.cell_run import CellRun
from jobs.running.partial import Found, Parts, Subject, Writer
from snnlib import evaluate
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Split
from snnlib.spec.attack import AnyAttack

REPORT_S = 60.0
"""Seconds between two words on how far an evaluation is."""

SHARING = frozenset({"fgsm", "fab"})
"""Attacks that share most of their work over all radii; the others start anew at each."""

Turn = tuple[range, tuple[Fraction, ...]]
"""What is computed in one go: positions of a batch, and radii."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One pass of one attack over the evaluation set, as far as it is not recorded.

    Attributes:
        model: the network.
        attack: what to do.
        split: the evaluation set.
        subject: all of that in hashes.
        epsilons: radii, ascending.
        found: what earlier attempts finished of it.
    """

    model: SpikingClassifier
    attack: AnyAttack
    split: Split
    subject: Subject
    epsilons: Sequence[Fraction]
    found: Found

    @cached_property
    def turns(self) -> int:
        """Turns of the whole pass."""
        return len(self._turns({}))

    @cached_property
    def left(self) -> list[Turn]:
        """Turns that no earlier attempt has finished, in the order of the samples."""
        return self._turns(self.found.parts)

    def _turns(self, done: Parts) -> list[Turn]:
        found: list[Turn] = []
        for batch in evaluate.batches(self.subject.total, self.subject.batch):
            left = [epsilon for epsilon in self.epsilons if (batch.start, epsilon) not in done]
            found += [(batch, radii) for radii in _radii(self.attack, left)]
        return found


def _radii(attack: AnyAttack, epsilons: Sequence[Fraction]) -> list[tuple[Fraction, ...]]:
    """Radii that are computed in one go.

    The shorter a turn is, the less is lost with it.
    """
    if attack.name in SHARING:
        return [tuple(epsilons)] if epsilons else []
    return [(epsilon,) for epsilon in epsilons]


def attack_share(run: CellRun, work: Work) -> Parts:
    """Do this rank's part of what is left; returns when every rank has done its own.

    Raises:
        Stopped: a signal came; what is finished is kept.
        EnvironmentFault: another rank has died; what is finished is kept.
        SnnlibError: the attack broke a guard.
    """
    world, subject = run.job.world, work.subject
    agreement = Agreement.of(run.job)
    path = run.cell.finished_batches(subject.attack_id, run.number, world.rank)
    writer = Writer(path, partial.header(subject, made_by(run)))
    report = _Report(run, work, agreement)
    attack = transfer_source.watched(work.attack, agreement.look)
    found: Parts = {}

    def keep() -> None:
        writer.save_if_due()
        if writer.saved:
            report.progress()

    try:
        for chosen, radii in evaluate.shard(work.left, world.rank, world.size):
            agreement.look()
            began = time.monotonic()
            batch, asked = work.split.batch(chosen, subject.batch), run.evaluation.save_examples
            outcome = evaluate.attack_batch(
                work.model,
                attack,
                radii,
                batch,
                seed=run.evaluation.seed,
                before_pass=agreement.look,
                save_examples=examples.wanted(attack, asked, chosen.start, len(chosen)),
            )
            seed = run.evaluation.seed
            points = [*examples.taken(work.model, attack, outcome, batch, seed=seed)]
            seconds = time.monotonic() - began
            parts = outcomes.parts(attack, radii, outcome, points, seconds)
            found |= {(chosen.start, part.epsilon): part for part in parts}
            writer.add(partial.batch(chosen.start, parts, seconds))
            agreement.count(1)
            keep()
        agreement.end_together(meanwhile=keep)
    except BaseException:
        writer.save()
        report.interrupted()
        raise
    return found


def made_by(run: CellRun) -> dict[str, Any]:
    """What the outcome of a batch may rest on besides its subject."""
    facts: Mapping[str, Any] = run.measured()
    kept = ("device", "threads", "versions", "world_size", "codes")
    return {key: facts[key] for key in kept}


class _Report:
    """Says how far an attack is: in the log, and as events that `show` and retries go by."""

    def __init__(self, run: CellRun, work: Work, agreement: Agreement) -> None:
        self._run, self._work, self._agreement = run, work, agreement
        self._earlier = work.turns - len(work.left)
        self._began = self._due = time.monotonic()
        if self._earlier:
            run.event("resumed", attack=work.subject.attack_id, done=self._earlier, of=work.turns)
            self._say("go on after", 0, "")

    def progress(self) -> None:
        """Say it unless that was done a moment ago."""
        now = time.monotonic()
        if self._run.leads and now >= self._due:
            self._due = now + REPORT_S
            done = self._agreement.count()
            self._event(done)
            left_s = (now - self._began) / done * (len(self._work.left) - done)
            self._say("", done, f" · about {views.duration(left_s)} left")

    def interrupted(self) -> None:
        """Put on record that a part is kept, if any was done."""
        if done := self._agreement.count():
            self._run.advanced = True
            self._event(done)
            self._say("left with", done, "")

    def _event(self, done: int) -> None:
        self._run.event(
            "partial",
            attack=self._work.subject.attack_id,
            name=self._work.attack.name,
            done=self._earlier + done,
            of=self._work.turns,
        )

    def _say(self, before: str, done: int, after: str) -> None:
        name, turns = f"{self._work.attack.name} {before}".rstrip(), self._work.turns
        self._run.say(f"{name}: {self._earlier + done:,} of {turns:,} batches{after}")
