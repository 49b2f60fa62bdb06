"""Rows of transfer attacks say what they climbed on, and with which weights."""

from typing import Any

import pytest

from analysis.collecting import specifications
from analysis.collecting.facts import of_attack
from analysis.collecting.sources import Outcome, Source
from jobs import identity
from snnlib.spec.attack import APGD, FGSM, AnyAttack, Clean, RandomNoise, Transfer
from tests.analysis.synthetic import spec

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
