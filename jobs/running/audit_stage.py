"""The masking audit as a stage: what `snnlib.audit` measures and its verdict, as a record's JSON."""

from collections.abc import Iterator
from typing import Any

from jobs.running.agreement import Agreement
from jobs.running.cell_run import CellRun
from snnlib import audit, evaluate
from snnlib.audit import Audit
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch, Split
from snnlib.spec.audit import EPSILONS, Figures, Finding, Judgement, Pair, judge
from snnlib.spec.audit_attacks import attacks
from snnlib.spec.stage import AuditStage


def examine(
    run: CellRun, model: SpikingClassifier, stage: AuditStage, split: Split, size: int
) -> dict[str, Any]:
    """Audit this rank's share of the samples and merge what all ranks measured.

    Ranks may be minutes apart, so they end together as in an evaluation.

    Args:
        run: the attempt.
        model: the trained network.
        stage: what is asked for.
        split: the samples.
        size: of a batch.

    Returns:
        What its record says: samples, figures, and the verdict with all items.

    Raises:
        Stopped: a signal came.
        EnvironmentFault: another rank has died.
        SnnlibError: an attack broke a guard, or something is not finite.
    """
    world, agreement = run.job.world, Agreement.of(run.job)
    epsilons = sorted(stage.epsilons or EPSILONS)

    def mine() -> Iterator[Batch]:
        everyone = evaluate.batches(len(split), size)
        for chosen in evaluate.shard(everyone, world.rank, world.size):
            agreement.look()
            yield split.batch(chosen, size)

    what = Audit(
        attacks=attacks(stage, run.spec.model), epsilons=epsilons, before_pass=agreement.look
    )
    seen = audit.collect(model, mine(), what)
    agreement.end_together(meanwhile=_nothing)
    figures = audit.figures(audit.merged(world, seen), epsilons)
    judgement = judge(figures)
    run.say(f"{stage.kind}: {judgement.verdict} · {judgement.findings[0].text}")
    return record(figures, judgement)


def _nothing() -> None:
    """While others still work."""


def record(figures: Figures, judgement: Judgement) -> dict[str, Any]:
    """Figures and verdict, JSON-ready."""
    pairs = {item: [_pair(pair) for pair in found] for item, found in figures.pairs.items()}
    return {
        "count": figures.total,
        "figures": {**vars(figures), "pairs": pairs},
        "verdict": judgement.verdict,
        "items": [_item(finding) for finding in judgement.findings],
    }


def _item(finding: Finding) -> dict[str, Any]:
    pair = None if finding.pair is None else _pair(finding.pair)
    return {**vars(finding), "limit": vars(finding.limit), "pair": pair}


def _pair(pair: Pair) -> dict[str, Any]:
    return {**vars(pair), "epsilon": str(pair.epsilon)}
