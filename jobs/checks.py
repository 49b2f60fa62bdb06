"""What no single key shows: settings that do not go together, refused before submission."""

from typing import TYPE_CHECKING

from jobs.messages import Findings
from jobs.parts import NETWORK, Part
from jobs.yaml_text import Mark
from snnlib.spec.data import SIZES
from snnlib.spec.training import AdversarialRegime

if TYPE_CHECKING:
    from jobs.grid import Draft

_ENCODED = (
    "space 'encoded' perturbs the encoder's output, which with encoder 'direct' is the image; "
    "write pixel, or another encoder"
)


def check_drafts(drafts: "list[Draft]", findings: Findings) -> None:
    """Check each distinct combination once, seeds aside."""
    distinct = {draft.parts[:-1]: draft for draft in drafts}
    for draft in distinct.values():
        check_network(draft.parts[: len(NETWORK)], draft.origin, findings)
        _check_evaluation(draft, findings)


def check_network(network: tuple[Part, ...], origin: Mark, findings: Findings) -> None:
    """What training settings may not do together; parts with problems are passed over.

    Args:
        network: dataset, model and regime.
        origin: place of what is written nowhere.
        findings: takes problems.
    """
    dataset, model, regime = network
    if not regime.valid:
        return
    spec = regime.value
    if dataset.valid:
        size = SIZES[dataset.value.name]["train"]
        if spec.batch_size > size:
            message = f"{spec.batch_size} is more than the {size} training samples"
            findings.add(regime.mark("batch_size", origin), f"{message} of '{dataset.value.name}'")
    if not isinstance(spec, AdversarialRegime):
        return
    if spec.epsilon == 0:
        message = "an adversarial regime with epsilon 0 is clean training; write regime: clean"
        findings.add(regime.mark("epsilon", origin), message)
    if model.valid and spec.attack.space == "encoded" and model.value.encoder.name == "direct":
        findings.add(regime.mark("attack.space", origin), _ENCODED)


def _check_evaluation(draft: "Draft", findings: Findings) -> None:
    heads = ("dataset", "model", "evaluation", "attacks", "epsilons")
    dataset, model, evaluation, attacks, epsilons = (draft.part(head) for head in heads)
    origin = draft.origin
    if dataset.valid and evaluation.valid and evaluation.value.samples is not None:
        split = evaluation.value.split
        size = SIZES[dataset.value.name][split]
        if evaluation.value.samples > size:
            message = f"{evaluation.value.samples} is more than the {size} samples of '{split}'"
            findings.add(evaluation.mark("samples", origin), message)
    if attacks.valid and model.valid and model.value.encoder.name == "direct":
        for place, attack in enumerate(attacks.value):
            if attack.space == "encoded":
                findings.add(attacks.item_mark(place, "space", origin), _ENCODED)
    if epsilons.node is not None and attacks.valid and not attacks.value:
        mark = epsilons.mark("", origin)
        findings.add(mark, "epsilons without attacks; write e.g. attacks: [fgsm, pgd]")
    if attacks.value and epsilons.node is None:
        mark = attacks.mark("", origin)
        findings.add(mark, 'attacks without epsilons; write e.g. epsilons: ["2/255", "8/255"]')
