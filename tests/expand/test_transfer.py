"""Transfer attacks in a manifest: their sources are resolved like parents, and named when wrong."""

import json

import pytest

from jobs import identity
from jobs.errors import ManifestError
from jobs.expand import manifest
from jobs.expand.cell import Cell
from snnlib.spec.attack import APGD, PGD, SpikingSuite, Transfer

HEAD = """version: 1
name: transfer
defaults: {dataset: digits, epsilons: ["8/255"], model: {name: small, neuron: lif}, regime: clean}
"""
TWIN = "{parent: {model.neuron: relu, model.time_steps: 1}}"
ENCODED = HEAD.replace("neuron: lif", "neuron: lif, encoder: poisson")


def cells(text: str) -> tuple[Cell, ...]:
    return manifest.parse(text.encode(), "m.yaml").cells


def attacked(source: str, more: str = "", seed: int = 0) -> str:
    return f"  - {{seed: {seed}, attacks: [fgsm, {{name: transfer, source: {source}{more}}}]}}\n"


def test_the_attack_id_holds_the_sources_training_id() -> None:
    (cell,) = cells(HEAD + "cells:\n" + attacked(TWIN, ", attack: pgd"))
    (source,) = cell.sources
    assert (source.number, source.rows, source.label) == (-1, (), "digits/small-relu/clean/s0")
    attack = Transfer(source=source.training_id, attack=PGD())
    assert cell.attacks[1] == attack
    assert cell.source_of == {list(cell.attack_ids)[2]: source.training_id}
    assert identity.restore_attack(json.loads(identity.canonical(attack))) == attack


def test_a_source_has_the_cells_seed_unless_another_is_given() -> None:
    grid = f'grid:\n  seed: "range(0, 2)"\n  attacks: [[{{name: transfer, source: {TWIN}}}]]\n'
    assert [cell.sources[0].training.seed for cell in cells(HEAD + grid)] == [0, 1]
    both = cells(HEAD + grid.replace("model.neuron: relu, model.time_steps: 1", "seed: 7"))
    assert [cell.sources[0].training.seed for cell in both] == [7, 7]
    assert len({cell.rows for cell in both}) == 1
    assert both[0].attacks is both[1].attacks
    assert both[0].attacks == (Transfer(source=both[0].sources[0].training_id, attack=APGD()),)


def test_two_cells_may_climb_on_each_other() -> None:
    entries = attacked("{parent: {seed: 1}}") + attacked("{parent: {seed: 0}}", seed=1)
    one, two = cells(HEAD + "cells:\n" + entries)
    assert [one.sources[0].training_id, two.sources[0].training_id] == [
        two.training_id,
        one.training_id,
    ]


def test_a_source_may_descend_from_the_cell_itself() -> None:
    child = '{name: adversarial, epsilon: "8/255", start: {parent: {regime: clean}}}'
    (cell,) = cells(HEAD + "cells:\n" + attacked(f"{{parent: {{regime: {child}}}}}"))
    (source,) = cell.sources
    assert source.parent is not None
    assert source.parent.training_id == cell.training_id


def test_a_suite_may_climb_on_a_source_too() -> None:
    entry = f"  - {{attacks: [snn, {{name: snn, source: {TWIN}}}]}}\n"
    (cell,) = cells(HEAD + "cells:\n" + entry)
    (source,) = cell.sources
    assert cell.attacks == (SpikingSuite(), SpikingSuite(source=source.training_id))
    assert cell.source_of == {list(cell.attack_ids)[2]: source.training_id}
    assert "source" not in identity.plain(SpikingSuite())


def test_a_file_of_weights_is_a_source_too() -> None:
    sha256 = "5" * 64
    file = f"{{checkpoint: {{path: w.safetensors, sha256: {sha256!r}}}}}"
    (cell,) = cells(HEAD + "cells:\n" + attacked(file))
    assert cell.attacks[1] == Transfer(source=f"sha256:{sha256}")
    assert (cell.sources, cell.files) == ((), ((sha256, "w.safetensors"),))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (attacked("{parent: {}}"), "source and target are one network, which is a white-box"),
        (attacked("{parent: {seed: 1}}", seed=1), "put seed and attacks into 'zip'"),
        (
            attacked("{parent: {dataset: mnist}}"),
            "images of 1x28x28 with the 10 classes of 'mnist'",
        ),
        (attacked("0123456789abcdef"), "expected the keys to replace in this cell"),
        (attacked("{}"), "write either 'parent' or 'checkpoint' here"),
        (attacked("{parent: {modle: x}}"), "unknown key; did you mean 'model'?"),
        (attacked("{parent: {sede: 1}}"), "unknown key; did you mean 'seed'?"),
        (attacked("{parent: {seed: x}}"), "expected a whole number, got text"),
        (attacked("{parent: {model.neuron: relu}}"), "write time_steps: 1"),
        (attacked(TWIN, ", attack: square"), "choose fgsm, rfgsm, bim, pgd, mifgsm, apgd, sapgd"),
        (attacked(TWIN, ", attack: {name: pgd, space: repeated}"), "leave 'space' out"),
        (
            f"  - {{attacks: [{{name: snn, space: repeated, source: {TWIN}}}]}}\n",
            "leave 'space' out",
        ),
        ("  - {attacks: [{name: snn, source: {}}]}\n", "write either 'parent' or 'checkpoint'"),
        ("  - {attacks: [{name: snn, source: twin}]}\n", "expected the keys to replace in this"),
        (attacked(TWIN, ", attack: {name: pgd, gradient: bptt}"), "neuron relu has no spikes"),
        (attacked(TWIN, ", attack: {name: pgd, draws: 3}"), "encoder 'direct' has no noise"),
        ("  - {attacks: [transfer]}\n", "write e.g. source: {parent: {seed: 1}}"),
        ("  - {attacks: [{name: pgd, draws: 3}]}\n", "nothing is random here"),
        ("  - {attacks: [pgd], evaluation: {draws: 20}}\n", "nothing is random here"),
    ],
)
def test_what_cannot_be_is_named_in_its_place(entry: str, expected: str) -> None:
    with pytest.raises(ManifestError) as caught:
        cells(HEAD + "cells:\n" + entry)
    (problem,) = caught.value.problems
    assert expected in problem.message
    assert problem.line == 5
    assert problem.column > 5


def test_draws_enter_an_id_when_they_say_something() -> None:
    def ids(attack: str, evaluation: str) -> list[str]:
        entry = f"cells:\n  - {{attacks: [{attack}], evaluation: {evaluation}}}\n"
        return list(cells(ENCODED + entry)[0].attack_ids)

    plain = ids("pgd", "{}")
    assert ids("{name: pgd, draws: 1}", "{draws: 1}") == plain
    assert ids("{name: pgd, draws: 10}", "{}")[0] == plain[0]
    assert ids("{name: pgd, draws: 10}", "{}")[1] != plain[1]
    assert not set(ids("pgd", "{draws: 20}")) & set(plain)
