"""`audit` in a manifest: one word, or the attacker that is judged."""

from fractions import Fraction

import pytest

from jobs import identity
from jobs.errors import ManifestError
from snnlib.spec.stage import AuditStage
from tests.running.test_stages import cells


def test_one_word_is_enough() -> None:
    (cell,) = cells("cells: [{stages: [audit]}]\n")
    assert cell.stages == (AuditStage(),)
    assert identity.stage_id(AuditStage()) == "a962bbd05aed7788"


def test_radii_are_exact_and_survive_a_record() -> None:
    (cell,) = cells('cells: [{stages: [{kind: audit, epsilons: ["8/255", 0.1], steps: 5}]}]\n')
    (stage,) = cell.stages
    assert isinstance(stage, AuditStage)
    assert stage.epsilons == (Fraction(8, 255), Fraction(1, 10))
    assert identity.restore_stage(identity.plain(stage)) == stage


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("{kind: audit, space: encoded}", "space 'encoded' perturbs the encoder's output"),
        ("{kind: audit, loss: trace_cross_entropy}", "compares output traces"),
        ("{kind: audit, samples: 9999}", "9999 is more than the 400 samples of 'test'"),
        ("{kind: audit, epsilons: [0.0]}", "greater than 0"),
        ("{kind: audit, epsilon: 0.1}", "did you mean 'epsilons'"),
    ],
)
def test_what_does_not_fit_is_named(stage: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        cells(f"cells: [{{model.readout: current, stages: [{stage}]}}]\n")


def test_rules_of_other_neurons_are_refused() -> None:
    text = (
        "cells: [{model: {name: small, neuron: lif}, stages: [{kind: audit, gradient: tsslbp}]}]\n"
    )
    with pytest.raises(ManifestError, match="'tsslbp' belongs to neurons with traces"):
        cells(text)
