"""What no single key shows: settings that do not go together, refused before submission."""

import math
from typing import TYPE_CHECKING

from jobs import fit
from jobs.messages import Findings
from jobs.parts import NETWORK, Part
from jobs.yaml_text import Mark
from snnlib.spec.data import sizes

if TYPE_CHECKING:
    from jobs.grid import Draft


def check_drafts(drafts: "list[Draft]", findings: Findings) -> None:
    """Check each distinct combination once, seeds aside."""
    distinct = {draft.parts[:-1]: draft for draft in drafts}
    for draft in distinct.values():
        check_network(draft.parts[: len(NETWORK)], draft.origin, findings)
        faithful = draft.part("faithful").value is not None
        check_selection(draft.part("regime"), draft.origin, findings, faithful=faithful)
        _check_evaluation(draft, findings)


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
    if model.valid and regime.valid:
        for key, message in fit.regime(regime.value, model.value):
            findings.add(regime.mark(key, origin), message)


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


def check_selection(regime: Part, origin: Mark, findings: Findings, *, faithful: bool) -> None:
    """Only faithful trainings may choose their network on test images."""
    on_test = regime.valid and regime.value is not None and regime.value.select == "best_test"
    if on_test and not faithful:
        message = (
            "best_test chooses the network on the images it is tested on, which only faithful "
            "cells repeat; write best_val"
        )
        findings.add(regime.mark("select", origin), message)


def _check_evaluation(draft: "Draft", findings: Findings) -> None:
    heads = ("dataset", "model", "evaluation", "attacks", "epsilons")
    dataset, model, evaluation, attacks, epsilons = (draft.part(head) for head in heads)
    origin = draft.origin
    if dataset.valid and evaluation.valid and evaluation.value.samples is not None:
        split = evaluation.value.split
        size = _size(dataset, split)
        if evaluation.value.samples > size:
            message = f"{evaluation.value.samples} is more than the {size} samples of '{split}'"
            findings.add(evaluation.mark("samples", origin), message)
    if attacks.valid and model.valid:
        for place, attack in enumerate(attacks.value):
            for key, message in fit.attack(attack, model.value):
                findings.add(attacks.item_mark(place, key, origin), message)
    if epsilons.node is not None and attacks.valid and not attacks.value:
        mark = epsilons.mark("", origin)
        findings.add(mark, "epsilons without attacks; write e.g. attacks: [fgsm, pgd]")
    if attacks.value and epsilons.node is None:
        mark = attacks.mark("", origin)
        findings.add(mark, 'attacks without epsilons; write e.g. epsilons: ["2/255", "8/255"]')
