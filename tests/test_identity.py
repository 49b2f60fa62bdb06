"""Ids are exact, versioned and independent of spelling; canonical forms can be read back."""

import dataclasses
import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from pydantic import TypeAdapter

from jobs import identity
from jobs.errors import CorruptFile
from jobs.expand import manifest
from jobs.expand.cell import Cell
from snnlib.spec import values
from snnlib.spec.attack import FGSM, PGD, AnyAttack, Clean
from snnlib.spec.data import Dataset, Evaluation
from snnlib.spec.encoder import Poisson
from snnlib.spec.model import Small
from snnlib.spec.neuron import IF, LIF, ATan
from snnlib.spec.stage import GradientsStage, NDSStage, Stage
from snnlib.spec.training import (
    AdversarialRegime,
    CleanRegime,
    RATRegime,
    SRRegime,
    TradesRegime,
    TrainingSpec,
)

CLEAN = TrainingSpec(
    dataset=Dataset(name="digits"),
    model=Small(neuron=LIF()),
    regime=CleanRegime(),
)
ADVERSARIAL = TrainingSpec(
    dataset=Dataset(name="digits", augment="shift"),
    model=Small(neuron=IF(), encoder=Poisson(), time_steps=8),
    regime=AdversarialRegime(epsilon=Fraction(8, 255), attack=PGD(steps=7), lr=Decimal("0.0100")),
    seed=3,
    start="sha256:" + "0" * 64,
)
CHILD = dataclasses.replace(CLEAN, seed=1, start="0123456789abcdef")
TRADES = dataclasses.replace(CLEAN, regime=TradesRegime(epsilon=Fraction(8, 255)))
RAT = dataclasses.replace(CLEAN, regime=RATRegime(epsilon=Fraction(2, 255)))
SR = dataclasses.replace(CLEAN, regime=SRRegime(coefficient=Decimal("0.03")))
PRECISE = dataclasses.replace(CLEAN, regime=CleanRegime(precision="bf16"))
SPECS = [CLEAN, ADVERSARIAL, CHILD, TRADES, RAT, SR, PRECISE]
ATTACKS = [Clean(), FGSM(), PGD(steps=20, surrogate=ATan(alpha=Decimal(4)))]
BASE: dict[str, Any] = {
    "version": 1,
    "name": "m",
    "cells": [
        {
            "dataset": "digits",
            "model": {"name": "small", "neuron": {"name": "lif", "tau": 2}},
            "regime": {"name": "adversarial", "epsilon": "8/255", "lr": "LR"},
            "attacks": [{"name": "pgd", "steps": 5}],
            "epsilons": ["8/255"],
        }
    ],
}


def cell(lr: str = "0.001", **changes: object) -> Cell:
    entry = {**BASE["cells"][0], **changes}
    text = json.dumps({**BASE, "cells": [entry]}).replace('"LR"', lr)
    (found,) = manifest.parse(text.encode(), "m.yaml").cells
    return found


@pytest.mark.parametrize("spec", SPECS)
def test_training_id_is_the_hash_of_the_canonical_form(spec: TrainingSpec) -> None:
    assert identity.training_id(spec) == identity.short_hash(identity.canonical(spec))


@pytest.mark.parametrize(
    ("spec", "pinned"),
    [
        (CLEAN, "d06feb5387c2e28c"),
        (ADVERSARIAL, "ae6b0a7461569ee9"),
        (CHILD, "805d8e08159d4950"),
        (TRADES, "8e003a792ad4c36f"),
        (RAT, "336cad86a03291bf"),
        (SR, "780303f0ebcd176a"),
        (PRECISE, "4585d425113209bb"),
    ],
)
def test_training_ids_are_pinned(spec: TrainingSpec, pinned: str) -> None:
    assert identity.training_id(spec) == pinned


@pytest.mark.parametrize(
    ("attack", "evaluation", "pinned"),
    [
        (Clean(), Evaluation(), "b19780203ea92969"),
        (ATTACKS[2], Evaluation(samples=100, seed=7), "88038aade36a29aa"),
    ],
)
def test_attack_ids_are_pinned(attack: object, evaluation: Evaluation, pinned: str) -> None:
    assert identity.attack_id(attack, evaluation, "digits") == pinned


@pytest.mark.parametrize(
    ("stage", "pinned"),
    [
        (NDSStage(), "956f7670e1bbe641"),
        (NDSStage(quantity="trace"), "e72886fbaee7060f"),
        (GradientsStage(), "c6bae45276eedd6c"),
        (
            GradientsStage(samples=100, loss="margin", threshold=Decimal("0.010")),
            "290f4d70843da6c0",
        ),
    ],
)
def test_stage_ids_are_pinned(stage: Stage, pinned: str) -> None:
    assert identity.stage_id(stage) == pinned
    assert identity.restore_stage(json.loads(identity.canonical(stage))) == stage


@pytest.mark.parametrize(
    "other",
    [
        {"lr": "1.0e-3"},
        {"lr": "0.00100"},
        {"regime": {"lr": "LR", "epsilon": "16/510", "name": "adversarial"}},
        {"model": {"neuron": "lif", "time_steps": 4, "name": "small"}},
        {"dataset": {"name": "digits", "augment": "none"}},
    ],
)
def test_spelling_and_order_do_not_matter(other: dict[str, Any]) -> None:
    assert cell(**other).training_id == cell().training_id


@pytest.mark.parametrize(
    "other",
    [
        {"epsilons": ["1/255", "2/255"]},
        {"attacks": ["fgsm"]},
        {"evaluation": {"split": "validation", "samples": 10, "seed": 4, "batch": 8}},
    ],
)
def test_evaluation_never_enters_the_training_id(other: dict[str, Any]) -> None:
    assert cell(**other).training_id == cell().training_id


def test_resources_never_enter_an_id() -> None:
    data = {**BASE, "resources": {"nodes": 2, "mem_gb": 64}}
    text = json.dumps(data).replace('"LR"', "0.001")
    (found,) = manifest.parse(text.encode(), "m.yaml").cells
    assert found.resources.nodes == 2
    assert (found.training_id, found.rows) == (cell().training_id, cell().rows)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (Evaluation(batch=32), True),
        (Evaluation(save_examples=8), True),
        (Evaluation(seed=1), False),
        (Evaluation(samples=10), False),
        (Evaluation(split="validation"), False),
    ],
)
def test_what_enters_an_attack_id(other: Evaluation, is_same: bool) -> None:
    ids = {identity.attack_id(FGSM(), e, "digits") for e in (Evaluation(), other)}
    assert (len(ids) == 1) == is_same


def test_the_usual_number_for_validation_is_no_part_of_an_id() -> None:
    unset, usual, other = (
        dataclasses.replace(CLEAN, dataset=Dataset(name="cifar10", validation=count))
        for count in (None, 5000, 1000)
    )
    assert identity.training_id(unset) == identity.training_id(usual) == "47e34ff000d09890"
    assert identity.training_id(other) == "f74caac835d9659c"
    assert identity.restore(json.loads(identity.canonical(other))) == other


@pytest.mark.parametrize(
    ("neutral", "other"),
    [
        ({"precision": "fp32"}, {"precision": "tf32"}),
        ({"t_max": None}, {"t_max": 200, "schedule": "cosine_epochs"}),
        ({"attack_mode": "eval"}, {"attack_mode": "train"}),
    ],
)
def test_later_fields_of_regimes_enter_an_id_when_they_say_something(
    neutral: dict[str, Any], other: dict[str, Any]
) -> None:
    def spec(**fields: Any) -> TrainingSpec:
        return dataclasses.replace(
            ADVERSARIAL, regime=dataclasses.replace(ADVERSARIAL.regime, **fields)
        )

    assert identity.training_id(spec(**neutral)) == "ae6b0a7461569ee9"
    assert identity.training_id(spec(**other)) != "ae6b0a7461569ee9"
    assert identity.restore(json.loads(identity.canonical(spec(**other)))) == spec(**other)


def test_an_attack_id_knows_the_samples_for_validation() -> None:
    def ids(count: int, split: str) -> list[str]:
        data = {"name": "mnist", "validation": count}
        model, evaluation = {"name": "hosnn_mnist"}, {"split": split}
        return list(cell(dataset=data, model=model, evaluation=evaluation).attack_ids)

    assert ids(5000, "test") == ids(1000, "test")
    assert not set(ids(5000, "validation")) & set(ids(1000, "validation"))


@pytest.mark.parametrize("spec", SPECS)
def test_training_specs_are_read_back(spec: TrainingSpec) -> None:
    data = json.loads(identity.canonical(spec))
    assert identity.restore(data) == spec


def test_the_canonical_form_validates_as_it_is() -> None:
    data = json.loads(identity.canonical(CLEAN))
    adapter = TypeAdapter(TrainingSpec)
    assert adapter.validate_python(data, context=values.CANONICAL) == CLEAN


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_read_back(attack: AnyAttack) -> None:
    assert identity.restore_attack(json.loads(identity.canonical(attack))) == attack


def test_another_revision_is_refused_by_name() -> None:
    data = json.loads(identity.canonical(FGSM()))
    with pytest.raises(CorruptFile, match="revision is 2, this program has 1"):
        identity.restore_attack({**data, "revision": 2})
    spec = json.loads(identity.canonical(ADVERSARIAL))
    spec["regime"]["attack"]["revision"] = 9
    with pytest.raises(CorruptFile, match=r"regime\.attack revision is 9, this program has 1"):
        identity.restore(spec)


@pytest.mark.parametrize(
    "change", [{"seed": -1}, {"seed": 0.5}, {"colour": "red"}, {"model": None}, {"start": 3}]
)
def test_foreign_specifications_are_refused(change: dict[str, Any]) -> None:
    data = {**json.loads(identity.canonical(CLEAN)), **change}
    with pytest.raises(CorruptFile, match="not a specification of this program"):
        identity.restore(data)


def test_a_missing_key_is_refused() -> None:
    data = json.loads(identity.canonical(CLEAN))
    del data["model"]["readout"]
    with pytest.raises(CorruptFile, match='readout is null, this program has "current"'):
        identity.restore(data)


def test_numbers_keep_all_their_digits() -> None:
    digits = "0.123456789012345678901234567891"
    assert identity.plain(Decimal(digits)) == digits
    assert identity.plain(Decimal("1.500E+3")) == "1500"
    assert identity.plain(Decimal("-0.00")) == "0"


def test_no_float_has_an_identity() -> None:
    with pytest.raises(TypeError, match="float has no exact canonical form"):
        identity.canonical({"lr": 0.1})


def test_differences_name_the_keys() -> None:
    found = identity.differences(CLEAN, CHILD)
    assert found == [("seed", 0, 1), ("start", None, "0123456789abcdef")]
