"""Faithful cells: the options of a published system, written out."""

from typing import Any

import pytest

from jobs import identity
from jobs.errors import ManifestError
from jobs.expand import manifest
from jobs.expand.cell import Cell

HEAD = """version: 1
name: faith
defaults:
  dataset: digits
  epsilons: ["8/255"]
  attacks: [fgsm]
"""
NETWORK = "{name: hosnn_cifar10, neuron: {name: ta_lif, nds: {constant: 0.5}}}"


def cells(text: str) -> tuple[Cell, ...]:
    return manifest.parse((HEAD + text).encode(), "m.yaml").cells


def problems(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        cells(text)
    return [f"{p.line}:{p.column} {p.path}: {p.message}" for p in caught.value.problems]


def test_options_are_written_out() -> None:
    (cell,) = cells(f"cells: [{{faithful: B, model: {NETWORK}, regime: clean, attacks: [pgd]}}]")
    plain: Any = identity.plain(cell.training)
    assert plain["model"]["neuron"]["gradient"] == "tsslbp"
    assert plain["model"]["neuron"]["theta_gradient"] == "batch"
    assert plain["regime"]["loss"] == "kernel"
    assert (plain["regime"]["clip_grad_norm"], plain["regime"]["weight_clip"]) == ("1", "4")
    attack: Any = identity.plain(cell.attacks[0])
    assert (attack["space"], attack["clip"]) == ("repeated", False)
    assert (attack["loss"], attack["step_size"]) == ("trace_cross_entropy", "eps/3")


def test_written_out_by_hand_is_the_same_training() -> None:
    (short,) = cells(
        "cells: [{faithful: A, model: {name: sew_resnet18, neuron: if}, regime: clean}]"
    )
    (long,) = cells(
        """cells:
  - faithful: A  # for best_test, which nobody else may choose by
    model:
      {name: sew_resnet18, neuron: {name: if, detach_reset: true}, encoder: phase, time_steps: 10}
    regime: {name: clean, epochs: 100, batch_size: 16, optimiser: adam, lr: 0.001,
      weight_decay: 0.001, schedule: constant, select: best_test}
"""
    )
    assert short.training_id == long.training_id


def test_what_the_cell_says_of_its_own_stays() -> None:
    (cell,) = cells(
        f"cells: [{{faithful: B, model: {NETWORK}, regime: {{name: clean, epochs: 3, lr: 0.1}}}}]"
    )
    assert (cell.training.regime.epochs, str(cell.training.regime.lr)) == (3, "0.1")


def test_b_is_trained_by_its_published_recipe() -> None:
    (cell,) = cells(
        f"cells: [{{faithful: B, model: {NETWORK}, "
        'regime: {name: adversarial, epsilon: "2/255"}}]'
    )
    regime: Any = identity.plain(cell.training.regime)
    assert regime["attack_mode"] == "train"
    assert (regime["schedule"], regime["t_max"], regime["epochs"]) == ("cosine_epochs", 200, 201)
    assert regime["select"] == "best_test"


def test_parents_are_faithful_too() -> None:
    start = "start: {parent: {regime: {name: clean}}}"
    regime = f'{{name: adversarial, epsilon: "2/255", {start}}}'
    (cell,) = cells(f"cells: [{{faithful: B, model: {NETWORK}, regime: {regime}}}]")
    assert cell.parent is not None
    assert cell.parent.training.regime.loss == "kernel"
    plain: Any = identity.plain(cell.training.regime)
    assert plain["attack"]["space"] == "repeated"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (
            "model: {name: hosnn_cifar10, time_steps: 7}, regime: clean",
            "model.time_steps: the published target pattern is defined for T = 5 and multiples",
        ),
        (
            "model: hosnn_cifar10, regime: {name: clean, loss: cross_entropy}",
            "regime.loss: faithful B has loss: kernel; remove this, or 'faithful'",
        ),
        ("model: {name: small, neuron: lif}, regime: clean", "faithful B is about hosnn networks"),
        (
            "model: hosnn_cifar10, regime: {name: trades, epsilon: 2/255}",
            "regime.name: faithful B trains clean or adversarially; trades is another's method",
        ),
        (
            "model: hosnn_cifar10, regime: {name: clean, select: best_val}",
            "regime.select: faithful B has select: best_test",
        ),
        (
            "model: hosnn_cifar10, regime: {name: clean, precision: bf16}",
            "regime.precision: faithful B has precision: fp32",
        ),
        (
            "model: hosnn_cifar10, regime: clean, attacks: [{name: pgd, steps: 20}]",
            "attacks.0.steps: faithful B has steps: 7",
        ),
        (
            "model: hosnn_cifar10, regime: clean, attacks: [{name: fgsm, gradient: bptt}]",
            "attacks.0.gradient: faithful B has gradient: own",
        ),
        (
            "dataset: {name: mnist, validation: 5000}, model: hosnn_mnist, regime: clean",
            "dataset.validation: faithful B has validation: 0",
        ),
        (
            "dataset: {name: cifar10, augment: flip}, model: hosnn_cifar10, regime: clean",
            "dataset.augment: faithful B has augment: crop_flip",
        ),
    ],
)
def test_contradictions_are_named(cell: str, expected: str) -> None:
    found = problems(f"cells:\n  - {{faithful: B, {cell}}}")
    assert len(found) == 1
    assert found[0].startswith("8:")
    assert expected in found[0]


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ("bim", "attacks.0: faithful A attacks with fgsm and pgd"),
        ("{name: pgd, step_size: 1/50}", "attacks.0.step_size: faithful A has step_size: 1/100"),
    ],
)
def test_attacks_of_others_are_named(attack: str, expected: str) -> None:
    network = "model: {name: sew_resnet18, neuron: if}, regime: clean"
    (found,) = problems(f"cells:\n  - {{faithful: A, {network}, attacks: [{attack}]}}")
    assert expected in found


@pytest.mark.parametrize("size", ["0.01", "1/100"])
def test_a_step_may_be_written_either_way(size: str) -> None:
    network = "model: {name: sew_resnet18, neuron: if}, regime: clean"
    attack = f"{{name: pgd, step_size: {size}}}"
    (cell,) = cells(f"cells: [{{faithful: A, {network}, attacks: [{attack}]}}]")
    assert identity.plain(cell.attacks[0])["step_size"] == "1/100"


def test_nothing_is_kept_for_validation() -> None:
    """As published; a parent neither."""
    signature = "{name: ta_lif, nds: {parent: {model.neuron: lif}}}"
    (cell,) = cells(
        "cells: [{faithful: B, dataset: cifar100, regime: clean, "
        f"model: {{name: hosnn_cifar100, neuron: {signature}}}}}]"
    )
    for one in (cell, cell.parents[0].cell):
        assert one.training.dataset.validation == 0
        assert one.training.dataset.augment == "crop_flip_trivial"


@pytest.mark.parametrize("steps", [1, 3, 5, 10])
def test_any_number_of_steps_works_otherwise(steps: int) -> None:
    regime = "{name: clean, loss: kernel}"
    (cell,) = cells(
        f"cells: [{{model: {{name: hosnn_cifar10, time_steps: {steps}}}, regime: {regime}}}]"
    )
    assert cell.training.model.time_steps == steps


def test_no_parent_is_chosen_on_test_images_unless_faithful() -> None:
    start = "start: {parent: {regime: {name: clean, select: best_test}}}"
    regime = f'{{name: adversarial, epsilon: "2/255", {start}}}'
    found = problems(f"cells:\n  - {{model: {{name: small, neuron: lif}}, regime: {regime}}}")
    assert len(found) == 1
    assert "start.parent.regime.select: best_test chooses the network" in found[0]


@pytest.mark.parametrize(("batch_norm", "size"), [("sync", 64), ("{local: 3}", 192)])
def test_each_process_of_b_takes_a_batch_of_64(batch_norm: str, size: int) -> None:
    model, regime = "hosnn_cifar10", f"{{name: clean, batch_norm: {batch_norm}}}"
    (cell,) = cells(f"cells: [{{faithful: B, model: {model}, regime: {regime}}}]")
    assert cell.training.regime.batch_size == size


def test_b_shares_statistics_of_cifar100_between_processes() -> None:
    regime = "{name: clean, batch_norm: {local: 2}}"
    (problem,) = problems(
        f"cells: [{{faithful: B, dataset: cifar100, model: hosnn_cifar100, regime: {regime}}}]"
    )
    assert "faithful B has batch_norm: sync" in problem
