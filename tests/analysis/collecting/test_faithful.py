"""The column `faithful`: which rows repeat a published system, in every table."""

from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.naming import add_names
from analysis.summary_text import collected_text
from jobs.expand.manifest import read
from jobs.schema import TABLES
from snnlib.spec.attack import FGSM, Clean
from snnlib.spec.training import TrainingSpec
from tests.analysis.synthetic import SyntheticRoot, mask, spec

EIGHT = Fraction(8, 255)
MANIFESTS = Path(__file__).parents[3] / "manifests"


def faithful() -> TrainingSpec:
    """A network trained as grad-obf-snn was."""
    return read(MANIFESTS / "gradsparsity_cifar10.yaml").cells[0].training


@pytest.fixture
def mixed(made: SyntheticRoot) -> SyntheticRoot:
    """A faithful training under a published attack and one of ours, and a training of ours."""
    for what in (faithful(), spec(0)):
        made.train(what)
        made.evaluate(what, Clean(), {Fraction(0): mask(9, 10)})
        for attack in (FGSM(space="encoded"), FGSM()):
            made.evaluate(what, attack, {EIGHT: mask(5, 10)})
    return made


def test_every_table_has_it() -> None:
    assert all("faithful" in {c.name for c in table.columns} for table in TABLES.values())


def test_a_row_is_faithful_if_training_and_attack_are(mixed: SyntheticRoot) -> None:
    collect([mixed.path])
    results = analysis.load("results", mixed.path)
    kept = results[results["faithful"] == "A"]
    assert set(kept["model"]) == {"sew_resnet18"}
    assert sorted(kept["attack"]) == ["clean", "fgsm"]
    assert set(kept["space"].dropna()) == {"encoded"}
    assert results["faithful"].isna().sum() == 4


@pytest.mark.parametrize("table", ["trainings", "attempts"])
def test_trainings_and_their_attempts_say_it_too(mixed: SyntheticRoot, table: str) -> None:
    collect([mixed.path])
    found = analysis.load(table, mixed.path)  # type: ignore[arg-type]
    assert sorted(found["faithful"].astype(object).fillna("ours")) == ["A", "ours"]


def test_samples_agree_with_results(mixed: SyntheticRoot) -> None:
    collect([mixed.path])
    keys = ["training_id", "attack_id", "epsilon", "faithful"]
    results, samples = (analysis.load(name, mixed.path)[keys] for name in ("results", "samples"))
    pd.testing.assert_frame_equal(results, samples)


def test_names_for_people_say_it(mixed: SyntheticRoot) -> None:
    collected = collect([mixed.path])
    named = add_names(analysis.load("results", mixed.path))
    assert set(named["training"]) == {"clean", "clean faithful A"}
    assert "clean: faithful A" in collected_text(collected)


def test_an_attempt_without_a_readable_specification_says_nothing(made: SyntheticRoot) -> None:
    folder = made.attempt(spec(0), 1, None)
    (folder.parent.parent / "spec.json").write_text("{}")
    collect([made.path])
    assert analysis.load("attempts", made.path)["faithful"].isna().all()
