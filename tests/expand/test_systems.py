"""Which published system a training and an attack repeat, told by their options alone."""

import copy
from pathlib import Path
from typing import Any

import pytest

from jobs import identity
from jobs.expand import manifest, systems
from jobs.expand.cell import Cell
from snnlib.spec.attack import BIM, FGSM, PGD, Attack, Clean

MANIFESTS = Path(__file__).parents[2] / "manifests"
PAPERS: dict[str, systems.System] = {"hosnn_mnist": "B", "hosnn_cifar10": "B", "hosnn_cifar100": "B", "hosnn_svhn": "B",
          "hosnn_fashion_mnist": "B", "gradsparsity_cifar10": "A", "gradsparsity_cifar100": "A"}  # fmt: skip


def cells(name: str) -> tuple[Cell, ...]:
    return manifest.read(MANIFESTS / f"{name}.yaml").cells


def spec(name: str, number: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = identity.plain(cells(name)[number].training)
    return found


@pytest.mark.parametrize(("name", "system"), PAPERS.items())
def test_every_cell_of_the_papers_is_known_by_its_options(name: str, system: str) -> None:
    for cell in cells(name):
        plain = identity.plain(cell.training)
        assert systems.of_training(plain) == system
        attacks = map(identity.plain, cell.attack_ids.values())
        assert {systems.of_result(plain, attack) for attack in attacks} == {system}


@pytest.mark.parametrize("name", ["quickstart", "hosnn_digits"])
def test_what_is_ours_belongs_to_no_system(name: str) -> None:
    for cell in cells(name):
        plain = identity.plain(cell.training)
        assert systems.of_training(plain) is None
        assert systems.of_result(plain, identity.plain(cell.attacks[0])) is None


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("hosnn_cifar10", "dataset.validation", 5000),
        ("hosnn_cifar10", "dataset.augment", "crop"),
        ("hosnn_cifar10", "model.neuron.gradient", "bptt"),
        ("hosnn_cifar10", "model.neuron.nds_decay", False),
        ("hosnn_cifar10", "model.surrogate", {"name": "atan", "alpha": "2"}),
        ("hosnn_cifar10", "regime.select", "best_val"),
        ("hosnn_cifar10", "regime.attack_mode", "eval"),
        ("hosnn_cifar10", "regime.attack.space", "pixel"),
        ("hosnn_cifar100", "dataset.augment", "crop_flip"),
        ("gradsparsity_cifar10", "dataset.validation", 5000),
        ("gradsparsity_cifar10", "model.time_steps", 4),
        ("gradsparsity_cifar10", "regime.weight_decay", "0"),
        ("gradsparsity_cifar10", "regime.precision", "bf16"),
    ],
)
def test_one_other_option_makes_it_ours(name: str, path: str, value: object) -> None:
    *steps, last = path.split(".")
    changed = copy.deepcopy(spec(name))
    part: Any = changed
    for step in steps:
        part = part[step]
    part[last] = value
    assert systems.of_training(changed) is None


@pytest.mark.parametrize(("path", "value"), [("epochs", 3), ("lr", "0.1"), ("batch_size", 32)])
def test_defaults_may_be_anything(path: str, value: object) -> None:
    plain = spec("gradsparsity_cifar10")
    assert systems.of_training({**plain, "regime": {**plain["regime"], path: value}}) == "A"


ENCODED: dict[str, Any] = {"space": "encoded"}
PGD7: dict[str, Any] = {"steps": 7, "step_size": "1/100"}


@pytest.mark.parametrize(
    ("attack", "system"),
    [
        (Clean(), "A"),
        (FGSM(space="encoded"), "A"),
        (FGSM(), None),
        (FGSM(space="encoded", surrogate="own", gradient="bptt"), None),
        (PGD(**ENCODED, **PGD7), "A"),
        (PGD(**ENCODED, **{**PGD7, "steps": 20}), None),
        (BIM(space="encoded"), None),
    ],
)
def test_an_attack_of_ones_own_is_no_part_of_a_system(
    attack: Attack | Clean, system: str | None
) -> None:
    assert systems.of_result(spec("gradsparsity_cifar10"), identity.plain(attack)) == system


def test_a_field_that_is_left_out_has_one_meaning() -> None:
    asked = {
        option.path.rpartition(".")[2]
        for name, system in PAPERS.items()
        for option in systems.options(system, spec(name), ())
    }
    left_out = [pair for pair in identity.NEUTRAL.items() if pair[0][1] in asked]
    assert len({(field, value) for (_, field), value in left_out}) == len(
        {field for (_, field), _ in left_out}
    )
