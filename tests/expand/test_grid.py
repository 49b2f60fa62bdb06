"""Products, pairs, exclusions, inclusions and parents, as cells."""

from dataclasses import replace

import pytest

from jobs.errors import ManifestError
from jobs.expand import manifest
from jobs.expand.cell import Cell

HEAD = """
version: 1
name: grid
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  regime: {name: clean, epochs: 5}
"""
FINE_TUNED = '{name: adversarial, epsilon: "2/255", start: {parent: {regime: clean}}}'
SHA = "a" * 64


def cells(text: str, head: str = HEAD) -> tuple[Cell, ...]:
    return manifest.parse((head + text).encode(), "m.yaml").cells


def labels(text: str, head: str = HEAD) -> list[str]:
    return [cell.label.removeprefix("digits/small-") for cell in cells(text, head)]


def problem(text: str, head: str = HEAD) -> str:
    with pytest.raises(ManifestError) as caught:
        cells(text, head)
    assert len(caught.value.problems) == 1
    return f"{caught.value.problems[0].path}: {caught.value.problems[0].message}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grid: {seed: [1, 0], model.neuron: [if, lif]}", ["if 1", "lif 1", "if 0", "lif 0"]),
        ("grid:\n  seed: range(3)", ["lif 0", "lif 1", "lif 2"]),
        ('grid: {seed: "range(2, 4)"}', ["lif 2", "lif 3"]),
        ("zip: {seed: [0, 1], model.neuron: [if, lif]}", ["if 0", "lif 1"]),
        ("grid: {seed: 7}", ["lif 7"]),
        (
            "grid: {dataset.augment: [none, shift]}\nzip: {seed: [0, 1], model.neuron: [if, lif]}",
            ["if 0", "lif 1", "if 0", "lif 1"],
        ),
        ("cells: [{seed: 3}, {model.neuron: if}]", ["lif 3", "if 0"]),
        ("grid: {seed: [0]}\ncells: [{seed: 1}]", ["lif 0", "lif 1"]),
        ("grid: {seed: [0, 1]}\nexclude: [{seed: 0}]", ["lif 1"]),
        ("grid: {seed: [0, 1]}\ninclude: [{seed: 2}]", ["lif 0", "lif 1", "lif 2"]),
    ],
)
def test_order_and_number_of_cells(text: str, expected: list[str]) -> None:
    found = [f"{c.training.model.neuron.name} {c.training.seed}" for c in cells(text)]
    assert found == expected
    assert [cell.number for cell in cells(text)] == list(range(len(expected)))


def test_an_axis_merges_over_defaults_and_a_new_name_replaces() -> None:
    text = (
        "grid:\n  regime: [{lr: 0.01}, {name: adversarial, epsilon: 2/255}]\n"
        "  model: [{neuron: {tau: 3}}, {neuron: if}]"
    )
    lif_clean, if_clean, _, if_adversarial = cells(text)
    assert (lif_clean.training.regime.epochs, str(lif_clean.training.regime.lr)) == (5, "0.01")
    assert if_clean.training.model.neuron.name == "if"
    assert if_adversarial.training.regime.epochs == 20


def test_dotted_keys_lie_over_plain_ones() -> None:
    text = "grid:\n  model.neuron: [if]\n  model: [{time_steps: 8}]\n"
    (cell,) = cells(text)
    assert (cell.training.model.neuron.name, cell.training.model.time_steps) == ("if", 8)


@pytest.mark.parametrize(
    ("entry", "epochs"),
    [
        ("{regime.epochs: 9}", [9, 9, 9, 9]),
        ("{model.neuron: if, regime.epochs: 9}", [9, 9, 5, 5]),
        ("{model.neuron: if, seed: 1, regime: {epochs: 9}}", [5, 9, 5, 5]),
    ],
)
def test_include_adds_keys_to_the_cells_it_agrees_with(entry: str, epochs: list[int]) -> None:
    text = f"grid: {{model.neuron: [if, lif], seed: [0, 1]}}\ninclude: [{entry}]"
    assert [cell.training.regime.epochs for cell in cells(text)] == epochs


def test_include_never_overwrites_a_value_of_the_grid() -> None:
    text = "grid: {regime.epochs: [5, 6]}\ninclude: [{regime.epochs: 7}]"
    assert [cell.training.regime.epochs for cell in cells(text)] == [5, 6, 7]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ('{regime.epsilon: "16/510"}', 2),
        ("{regime.lr: 1.0e-3}", 0),
        ("{model: {neuron: lif}, regime: adversarial}", 3),
        ("{attacks: pgd}", 0),
        ("{regime.attack.name: fgsm}", 2),
    ],
)
def test_patterns_compare_values_and_not_their_spelling(pattern: str, left: int) -> None:
    text = (
        'defaults: {dataset: digits, model: {name: small}, attacks: [pgd], epsilons: ["1/255"]}\n'
        'grid:\n  regime: [clean, {name: adversarial, epsilon: "8/255"}]\n'
        f"  model.neuron: [if, lif]\ncells: []\nexclude: [{pattern}]\n"
    )
    head = "version: 1\nname: grid\n"
    if left:
        assert len(cells(text, head)) == left
    else:
        assert "no cells" in problem(text, head)


def test_labels_take_the_fewest_keys_that_tell_apart() -> None:
    text = (
        "grid:\n  model.neuron: [if, lif, {name: lif, tau: 3}]\n"
        '  regime: [clean, {name: adversarial, epsilon: "2/255"}, '
        '{name: adversarial, epsilon: "8/255"}]\n'
    )
    assert labels(text) == [
        "if/clean/s0",
        "if/adversarial/epsilon=2/255/s0",
        "if/adversarial/epsilon=8/255/s0",
        "lif/clean/tau=2/s0",
        "lif/adversarial/tau=2/epsilon=2/255/s0",
        "lif/adversarial/tau=2/epsilon=8/255/s0",
        "lif/clean/tau=3/s0",
        "lif/adversarial/tau=3/epsilon=2/255/s0",
        "lif/adversarial/tau=3/epsilon=8/255/s0",
    ]


def test_labels_name_values_that_an_id_leaves_out() -> None:
    text = "grid: {regime: [{name: clean, precision: bf16}, {name: clean, precision: fp32}]}\n"
    assert labels(text) == ["lif/clean/precision=bf16/s0", "lif/clean/precision=fp32/s0"]


def test_labels_tell_attack_lists_and_starts_apart() -> None:
    text = (
        'cells:\n  - {attacks: [fgsm], epsilons: ["2/255"]}\n'
        '  - {attacks: [{name: pgd, step_size: eps*2/5}], epsilons: ["2/255"]}\n'
        f'  - {{regime: {{name: adversarial, epsilon: "2/255"}}}}\n  - {{regime: {FINE_TUNED}}}\n'
    )
    assert labels(text) == [
        "lif/clean/attacks=fgsm/s0",
        "lif/clean/attacks=pgd/s0",
        "lif/adversarial/start=none/s0",
        "lif/adversarial/start=clean/s0",
    ]


def test_a_parent_is_the_cell_with_keys_replaced() -> None:
    text = f"grid:\n  seed: [0, 1]\n  regime: [clean, {FINE_TUNED}]\n"
    first, child, second, other = cells(text)
    assert child.parent is first
    assert other.parent is second
    assert child.training.start == first.training_id
    assert child.training.regime.start is None


def test_a_parent_that_is_no_cell_is_trained_alone() -> None:
    text = (
        "cells:\n  - seed: 3\n    attacks: [fgsm]\n    epsilons: [0.1]\n"
        "    regime: {name: clean, start: {parent: {model.neuron: if, regime: {name: clean}}}}\n"
    )
    (cell,) = cells(text)
    assert cell.parent is not None
    assert (cell.parent.number, cell.parent.rows, cell.parent.attacks) == (-1, (), ())
    assert cell.parent.label == "digits/small-if/clean/s3"
    assert cell.parent.training.regime.epochs == 5


def test_a_chain_of_parents_is_resolved_from_its_end() -> None:
    middle = f"{{name: adversarial, epsilon: 1/255, start: {{parent: {{regime: {FINE_TUNED}}}}}}}"
    text = f"cells:\n  - {{regime: {middle}}}\n  - {{}}\n"
    cell, root = cells(text)
    assert cell.parent is not None
    assert cell.parent.number == -1
    assert cell.parent.parent is root


def test_a_checkpoint_is_known_by_its_content() -> None:
    start = f"{{checkpoint: {{path: w.safetensors, sha256: {SHA}}}}}"
    (cell,) = cells(f"grid:\n  regime.start: [{start}]\n")
    assert cell.training.start == f"sha256:{SHA}"
    assert cell.files == ((SHA, "w.safetensors"),)
    assert cell.parent is None


def test_a_bare_regime_in_cells_is_the_one_that_the_grid_defines() -> None:
    text = "grid:\n  regime: [{name: clean, epochs: 7}]\ncells: [{regime: clean, seed: 1}]\n"
    assert [cell.training.regime.epochs for cell in cells(text)] == [7, 7]


def test_a_parent_may_be_the_regime_of_the_defaults() -> None:
    (cell,) = cells(f"grid:\n  regime: [{FINE_TUNED}]\n")
    assert cell.parent is not None
    assert cell.parent.training.regime.epochs == 5


def test_resources_of_later_entries_win() -> None:
    text = (
        "grid: {model.neuron: [if, lif], seed: [0, 1]}\nresources:\n  - {mem_gb: 2, nodes: 2}\n"
        "  - {when: {model.neuron: lif}, mem_gb: 8}\n  - {when: {seed: 1}, nodes: 1}\n"
    )
    found = [(int(c.resources.mem_gb), c.resources.nodes) for c in cells(text)]
    assert found == [(2, 2), (2, 1), (8, 2), (8, 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grid: {seed: []}", "grid.seed: empty, so there are no cells; write a value"),
        ("grid: {}", "grid: empty; write at least one key, e.g. seed: [0, 1, 2]"),
        ("grid: {seed: [0]}\nzip: {seed: [0]}", "zip.seed: stands in 'grid' too; remove one"),
        ("cells: {seed: 0}", "cells: expected a list of mappings, got a mapping"),
        (
            "grid: {seed: [0]}\ninclude: [{seed: 0}]",
            "include.0: adds nothing to the cells it matches; remove it",
        ),
        (
            "grid:\n  seed: range(0, 400)\n  regime.epochs: "
            f"[{', '.join(str(n) for n in range(1, 302))}]",
            "grid: 120,400 cells; at most 100,000 are allowed",
        ),
        (
            "grid: {regime.start: [{}]}",
            "grid.regime.start.0: write either 'parent' or 'checkpoint' here",
        ),
        (
            "grid: {regime.start: [{parent: {seed: 1}}]}",
            "grid.regime.start.0.parent.seed: unknown key (choose dataset, model, regime)",
        ),
        (
            "cells: [{seed: [0, 1]}]",
            "cells.0.seed: expected a whole number, got a list",
        ),
        (
            "cells: [{}]\nresources: {nodes: 100}",
            "resources: 100 processes share a batch of 64; each needs a sample; "
            "lower nodes or raise regime.batch_size",
        ),
        (
            "cells: [{}]\nresources: {gpus_per_node: 1, processes_per_node: 2}",
            "resources: 2 processes on 1 GPUs of a node; each process needs a GPU of its own",
        ),
    ],
)
def test_what_is_refused(text: str, expected: str) -> None:
    assert problem(text) == expected


def test_problems_of_shared_defaults_are_told_once() -> None:
    head = HEAD.replace("epochs: 5", "epochs: 0")
    assert problem("grid: {seed: [0, 1], regime.lr: [0.1, 0.2]}", head).startswith(
        "defaults.regime.epochs: must be at least 1"
    )


WHOLE = """
  attacks: [fgsm, pgd]
  epsilons: ["2/255"]
  stages: [gradients]
grid:
  model: [{name: small, neuron: lif}, {name: small, neuron: lif, encoder: poisson}]
  seed: "range(0, 3)"
resources: [{timeout_min: 5}, {when: {seed: 1}, timeout_min: 9}]
"""


def test_cells_that_share_a_pattern_are_as_those_made_alone() -> None:
    computed = ("training_id", "rows", "wanted", "stage_ids", "hardware", "outline", "source_of")
    found = cells(WHOLE, HEAD.rstrip())
    assert [cell.resources.timeout_min for cell in found] == [5, 9, 5] * 2
    for one in found:
        alone = replace(one, training=replace(one.training))
        assert [getattr(one, name) for name in computed] == [
            getattr(alone, name) for name in computed
        ]
        assert one == alone
    assert len({one.training_id for one in found}) == 6
    assert {(one.outline.noise, one.outline.climbed) for one in found} == {("", 1), ("poisson", 1)}
