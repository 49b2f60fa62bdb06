"""What no single key shows: settings that do not go together, refused before submission."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.expand import fit, reach
from jobs.expand.messages import Findings
from jobs.expand.parts import NETWORK, Part
from jobs.expand.yaml_text import Mark
from snnlib.spec.data import Evaluation, sizes
from snnlib.spec.stage import AuditStage, GradientsStage
from snnlib.spec.values import parse_fraction

if TYPE_CHECKING:
    from jobs.expand.grid import Draft


def check_drafts(drafts: "list[Draft]", findings: Findings) -> None:
    """Check each distinct combination once, seeds aside."""
    distinct = {draft.parts[:-1]: draft for draft in drafts}
    for draft in distinct.values():
        check_network(draft.parts[: len(NETWORK)], draft.origin, findings)
        faithful = draft.part("faithful").value is not None
        check_selection(draft.part("regime"), draft.origin, findings, faithful=faithful)
        _check_evaluation(draft, findings)
        _check_stages(draft, findings)


def check_network(network: tuple[Part, ...], origin: Mark, findings: Findings) -> None:
    """What training settings may not do together; parts with problems are passed over.

    Args:
        network: dataset, model and regime.
        origin: place of what is written nowhere.
        findings: takes problems.
    """
    dataset, model, regime = network
    if dataset.valid:
        _check_sizes(dataset, origin, findings)
    if dataset.valid and model.valid:
        misfits = [
            *fit.network(model.value, dataset.value),
            *fit.signature(model.value, model.nds, dataset.value),
        ]
        for key, message in misfits:
            findings.add(model.mark(key, origin), message)
    if dataset.valid and regime.valid:
        _check_batch(dataset, regime, origin, findings)
        _check_split(dataset, regime, origin, findings)
    if model.valid and regime.valid:
        for key, message in fit.regime(regime.value, model.value):
            findings.add(regime.mark(key, origin), message)
        if dataset.valid and (adversary := regime.value.adversary) is not None:
            for key, message in reach.classes(adversary.attack, dataset.value):
                findings.add(regime.mark(f"attack.{key}", origin), message)
            limit = reach.reach(adversary.attack, model.value, dataset.value)
            if limit is not None and (message := limit.misfit(adversary.epsilon)):
                findings.add(regime.mark("epsilon", origin), message)


def _check_sizes(dataset: Part, origin: Mark, findings: Findings) -> None:
    try:
        sizes(dataset.value)
    except ValueError as error:
        findings.add(dataset.mark("validation", origin), str(error))


def _size(dataset: Part, split: str) -> float:
    """Samples of a split; endless where `_check_sizes` has said already that it cannot be had."""
    try:
        return sizes(dataset.value)[split]
    except ValueError:
        return math.inf


def _check_batch(dataset: Part, regime: Part, origin: Mark, findings: Findings) -> None:
    size, batch = _size(dataset, "train"), regime.value.batch_size
    if batch > size:
        message = f"{batch} is more than the {size} training samples of '{dataset.value.name}'"
        findings.add(regime.mark("batch_size", origin), message)


def _check_split(dataset: Part, regime: Part, origin: Mark, findings: Findings) -> None:
    if regime.value.select == "best_val" and not _size(dataset, "validation"):
        message = (
            "best_val chooses an epoch on validation images, and dataset.validation: 0 keeps none; "
            "write select: last, or keep some"
        )
        findings.add(regime.mark("select", origin), message)


def check_selection(regime: Part, origin: Mark, findings: Findings, *, faithful: bool) -> None:
    """Only faithful trainings may choose their network on test images."""
    on_test = regime.valid and regime.value is not None and regime.value.select == "best_test"
    if on_test and not faithful:
        message = (
            "best_test chooses the network on the images it is tested on, which only faithful "
            "cells repeat; write best_val"
        )
        findings.add(regime.mark("select", origin), message)


def _absent(
    dataset: Part, chosen: Evaluation | GradientsStage | AuditStage
) -> Iterator[fit.Misfit]:
    """What of a choice of samples a dataset does not have."""
    size = _size(dataset, chosen.split)
    if not size:
        yield "split", "dataset.validation: 0 keeps no image for validation; write split: test"
    elif chosen.samples is not None and chosen.samples > size:
        yield "samples", f"{chosen.samples} is more than the {size} samples of '{chosen.split}'"


def _check_stages(draft: "Draft", findings: Findings) -> None:
    dataset, model, stages = (draft.part(head) for head in ("dataset", "model", "stages"))
    for place, stage in enumerate(stages.value if stages.valid else ()):
        misfits = list(fit.stage(stage, model.value)) if model.valid else []
        if isinstance(stage, GradientsStage | AuditStage) and dataset.valid:
            misfits += _absent(dataset, stage)
        for key, message in misfits:
            findings.add(stages.item_mark(place, key, draft.origin), message)


def _check_evaluation(draft: "Draft", findings: Findings) -> None:
    heads = ("dataset", "model", "evaluation", "attacks", "epsilons")
    dataset, model, evaluation, attacks, epsilons = (draft.part(head) for head in heads)
    origin = draft.origin
    if dataset.valid and evaluation.valid:
        for key, message in _absent(dataset, evaluation.value):
            findings.add(evaluation.mark(key, origin), message)
    if model.valid:
        _check_fit(draft, findings)
    if attacks.valid and model.valid and dataset.valid:
        _check_reach(draft, findings)
    if epsilons.node is not None and attacks.valid and not attacks.value:
        mark = epsilons.mark("", origin)
        findings.add(mark, "epsilons without attacks; write e.g. attacks: [fgsm, pgd]")
    if attacks.value and epsilons.node is None:
        mark = attacks.mark("", origin)
        findings.add(mark, 'attacks without epsilons; write e.g. epsilons: ["2/255", "8/255"]')


def _check_fit(draft: "Draft", findings: Findings) -> None:
    """What of attacks and evaluation has no meaning for the network."""
    model, evaluation, attacks = (draft.part(h).value for h in ("model", "evaluation", "attacks"))
    if draft.part("evaluation").valid:
        for key, message in fit.draws(evaluation.draws, model):
            findings.add(draft.part("evaluation").mark(key, draft.origin), message)
    for place, attack in enumerate(attacks if draft.part("attacks").valid else ()):
        for key, message in fit.attack(attack, model):
            findings.add(draft.part("attacks").item_mark(place, key, draft.origin), message)


def _check_reach(draft: "Draft", findings: Findings) -> None:
    """Whether attacks find the classes they need, and radii within the range of their space."""
    dataset, model, attacks, epsilons = (
        draft.part(head) for head in ("dataset", "model", "attacks", "epsilons")
    )
    for place, attack in enumerate(attacks.value):
        for key, message in reach.classes(attack, dataset.value):
            findings.add(attacks.item_mark(place, key, draft.origin), message)
    limits = [reach.reach(attack, model.value, dataset.value) for attack in attacks.value]
    shortest = min(filter(None, limits), key=lambda limit: limit.square, default=None)
    written = None if epsilons.node is None else epsilons.node.value
    if shortest is None or not isinstance(written, tuple):
        return
    for place, item in enumerate(written):
        try:
            message = shortest.misfit(parse_fraction(item.value))
        except ValueError:
            continue  # said already
        if message and len({limit.norm for limit in filter(None, limits)}) > 1:
            message += "; give the attacks of the other norm cells and epsilons of their own"
        if message:
            findings.add(epsilons.item_mark(place, "", draft.origin), message)
