"""Rows of transfer attacks say what they climbed on, and with which weights."""

from fractions import Fraction
from typing import Any

import pytest

import analysis
from analysis.collecting import specifications
from analysis.collecting.collect import collect
from analysis.collecting.facts import of_attack
from analysis.collecting.sources import Outcome, Source
from jobs import identity
from snnlib.spec.attack import APGD, FGSM, AnyAttack, Clean, RandomNoise, SpikingSuite, Transfer
from snnlib.spec.training import TrainingSpec
from tests.analysis.synthetic import SyntheticRoot, mask, spec

ID = "0123456789abcdef"
EVALUATION = {"dataset": "digits", "split": "test", "samples": None, "seed": 0}
CLIMB = APGD(steps=7, draws=10)


def source(attack: AnyAttack, **evaluation: Any) -> Source:
    return Source(
        folder="evaluations",
        name="r.json",
        root="runs",
        attack_id=ID,
        attack=identity.plain(attack),
        evaluation={**EVALUATION, **evaluation},
        model_sha256="m",
        samples_sha256="s",
        measured={},
    )


def facts(attack: AnyAttack, **evaluation: Any) -> dict[str, Any]:
    bare = specifications.of_value(identity.plain(spec())).bare
    return of_attack(identity.plain(attack), {**EVALUATION, **evaluation}, bare)


def test_a_transfer_is_told_by_its_climb_and_its_source() -> None:
    found = facts(Transfer(source=ID, attack=CLIMB), source_sha256="w", draws=20)
    told = {key: found[key] for key in ("attack", "source_attack", "steps", "space", "draws")}
    assert list(told.values()) == ["transfer", "apgd", 7, "pixel", 10]
    assert (found["source_training_id"], found["source_sha256"]) == (ID, "w")
    assert found["evaluation_draws"] == 20


def test_a_file_of_weights_has_no_training() -> None:
    found = facts(Transfer(source=f"sha256:{'5' * 64}"), source_sha256="5" * 64)
    assert (found["source_training_id"], found["source_sha256"]) == (None, "5" * 64)


@pytest.mark.parametrize(
    ("attack", "draws"), [(Clean(), None), (FGSM(), 1), (CLIMB, 10), (RandomNoise(draws=9), None)]
)
def test_other_attacks_climb_on_nothing_else(attack: AnyAttack, draws: int | None) -> None:
    found = facts(attack)
    assert (found["draws"], found["evaluation_draws"]) == (draws, 1)
    assert {found[key] for key in found if key.startswith("source_")} == {None}


def test_equal_rows_of_other_source_weights_differ() -> None:
    one = Outcome(ID, (8, 255), 1, 2, 0, b"\x80", source(Transfer(source=ID), source_sha256="a"))
    other = one._replace(source=source(Transfer(source=ID), source_sha256="b"))
    assert one.differs(other)
    assert not one.differs(other._replace(source=one.source))


SEEDS = range(3)
LIFS, IFS = ([spec(seed, neuron) for seed in SEEDS] for neuron in ("lif", "if"))
TWO = Fraction(2, 255)


def transferred(
    made: SyntheticRoot, target: TrainingSpec, source: TrainingSpec, attack: type = Transfer
) -> None:
    climb = attack(source=identity.training_id(source))
    made.evaluate(target, climb, {TWO: mask(10 + target.seed, 20)})


def test_transfers_from_twins_are_one_attack_over_seeds(made: SyntheticRoot) -> None:
    for target, twin in zip(LIFS, IFS, strict=True):
        made.train(twin)
        made.train(target)
        made.evaluate(target, Clean(), {Fraction(0): mask(19, 20)})
        made.evaluate(target, FGSM(), {TWO: mask(11, 20)})
        transferred(made, target, twin)
        transferred(made, target, twin, SpikingSuite)
    collect([made.path])
    results = analysis.load("results", made.path)
    assert (results["attack_id"].nunique(), results["attack_setting"].nunique()) == (8, 4)
    own = results[results["source_training_id"].isna()]
    assert (own["attack_setting"] == own["attack_id"]).all()
    found = analysis.summary(results).groupby("attack")
    transfer, suite = (found.get_group(name) for name in ("transfer", "snn"))
    assert transfer[["seeds", "mean"]].to_numpy().tolist() == [[3, pytest.approx(11 / 20)]]
    assert suite[["seeds", "attack_name"]].to_numpy().tolist() == [[3, "snn-100 with a source"]]
    pairs = analysis.with_masks(results, analysis.load("samples", made.path))
    compared = analysis.compare(
        analysis.select(pairs, attack="fgsm"),
        analysis.select(pairs, attack="transfer"),
        of="attacks",
    )
    assert compared["seeds"].tolist() == [3]


def test_every_seed_against_every_seed_is_an_attack_for_each_source(made: SyntheticRoot) -> None:
    for twin in IFS:
        made.train(twin)
        made.evaluate(twin, Clean(), {Fraction(0): mask(19, 20)})
    for target in LIFS:
        made.train(target)
        for twin in IFS:
            transferred(made, target, twin)
    collect([made.path])
    results = analysis.load("results", made.path)
    assert results["attack_setting"].nunique() == 2
    found = analysis.summary(results).query("attack == 'transfer'")
    assert found["seeds"].tolist() == [3, 3, 3]
    assert sorted(found["attack_name"]) == [f"transfer apgd-100 seed {seed}" for seed in SEEDS]


def test_sources_of_two_settings_are_two_attacks(made: SyntheticRoot) -> None:
    for what in (*LIFS, *IFS):
        made.train(what)
        made.evaluate(what, Clean(), {Fraction(0): mask(19, 20)})
    for target, twin in zip(LIFS, IFS, strict=True):
        transferred(made, target, twin)
        transferred(made, target, target)
    collect([made.path])
    found = analysis.summary(analysis.load("results", made.path)).query("attack == 'transfer'")
    assert found["seeds"].tolist() == [3, 3]
    names = {f"transfer apgd-100 from small-{neuron} clean" for neuron in ("if", "lif")}
    assert set(found["attack_name"]) == names


def test_an_unknown_source_is_a_setting_of_its_own(made: SyntheticRoot) -> None:
    for target, twin in zip(LIFS, IFS, strict=True):
        made.train(target)
        transferred(made, target, twin)
    collect([made.path])
    results = analysis.load("results", made.path)
    assert (results["attack_setting"] == results["attack_id"]).all()
    assert len(analysis.summary(results)) == 3
