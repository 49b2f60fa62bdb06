"""Manifests become cells, or one message with every problem in it."""

import random
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
import yaml

from jobs.errors import ManifestError, Problem, UsageError
from jobs.expand import manifest
from jobs.expand.cell import Manifest

BAD = Path(__file__).parents[1] / "data" / "bad"
GOOD = """
version: 1
name: quick
defaults:
  dataset: digits
  model: {name: small, time_steps: 4}
  epsilons: [0, "8/255", "1/255", 0.1]
  attacks: [fgsm, {name: pgd, steps: 20, surrogate: sigmoid}]
grid:
  model.neuron: [if, {name: lif, tau: 3}]
  regime:
    - clean
    - {name: adversarial, epsilon: "8/255", start: {parent: {regime: clean}}}
  seed: range(0, 2)
exclude:
  - {model.neuron: if, seed: 1}
resources:
  - {nodes: 1, mem_gb: 2}
  - {when: {model.neuron: lif, regime: clean}, mem_gb: 8, profile: big}
reference:
  - {where: {model.neuron: lif}, attack: pgd, epsilon: "8/255", value: 34.1, source: "Table 2"}
"""
HUGE = {
    "26": b"a: " + b"[" * 900 + b"]" * 900,
    "26b": b"a: " + b"x" * 10_000_000,
    "nul": b"version: 1\nname: a\0b\n",
    "bom": b"\xef\xbb\xbfversion: 1\n",
    "utf16": "version: 1\n".encode("utf-16"),
    "latin1": "version: 1\nname: caf\u00e9\n".encode("latin-1"),
}


def parse(text: str) -> Manifest:
    return manifest.parse(text.encode(), "m.yaml")


def problems(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        parse(text)
    return str(caught.value)


def big_grid() -> str:
    grid = (
        "model.neuron: [if, lif, {name: lif, tau: 3}, {name: lif, tau: 4}, {name: lif, tau: 5}]\n"
        '  regime: [clean, {name: adversarial, epsilon: "8/255", start: {parent: {regime: clean}}}]'
        "\n  seed: range(0, 1000)"
    )
    epsilons = ", ".join(f'"{2**k}/255"' for k in range(6))
    return (
        "version: 1\nname: big\ndefaults:\n  dataset: digits\n  model: {name: small}\n"
        f"  attacks: [fgsm, pgd, {{name: pgd, steps: 40}}]\n  epsilons: [{epsilons}]\n"
        f"grid:\n  {grid}\n"
    )


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_bad_manifests(path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.parse(path.read_bytes(), path.name)
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("name", HUGE)
def test_bad_bytes(name: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.parse(HUGE[name], f"{name}.yaml")
    assert f"{caught.value}\n" == (BAD / f"{name}.txt").read_text()


def test_every_case_is_there() -> None:
    cases = {path.stem for path in BAD.glob("*.txt")}
    assert {f"{number:02d}" for number in range(1, 31)} <= cases
    assert cases == {path.stem for path in BAD.glob("*.yaml")} | HUGE.keys()


def test_a_good_manifest() -> None:
    found = parse(GOOD)
    assert [cell.label for cell in found.cells] == [
        "digits/small-if/clean/s0",
        "digits/small-if/adversarial/s0",
        "digits/small-lif/clean/s0",
        "digits/small-lif/clean/s1",
        "digits/small-lif/adversarial/s0",
        "digits/small-lif/adversarial/s1",
    ]
    assert [cell.parent and cell.parent.number for cell in found.cells[4:]] == [2, 3]
    assert found.cells[4].training.start == found.cells[2].training_id
    assert [cell.resources.profile for cell in found.cells] == [
        None,
        None,
        "big",
        "big",
        None,
        None,
    ]


def test_epsilons_are_exact_sorted_and_without_zero() -> None:
    (first, *_) = parse(GOOD).cells
    assert first.epsilons == (Fraction(1, 255), Fraction(8, 255), Fraction(1, 10))
    assert len(first.rows) == 1 + 2 * 3


def test_zero_alone_is_the_clean_evaluation() -> None:
    text = GOOD.replace('[0, "8/255", "1/255", 0.1]', "[0]")
    assert [len(cell.rows) for cell in parse(text).cells] == [1] * 6


def test_references_are_read() -> None:
    (reference,) = parse(GOOD).references
    assert (reference.attack, reference.epsilon, str(reference.value)) == (
        "pgd",
        Fraction(8, 255),
        "34.1",
    )


@pytest.mark.parametrize("number", range(200))
def test_truncated_manifests_are_refused_in_words(number: int) -> None:
    chance = random.Random(number)
    data = bytearray(GOOD.encode())
    if number % 2:
        del data[chance.randrange(len(data)) :]
    else:
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.choice(b"{}[]:,-&*!|>'\"%@ \n\t#0x.\xff\0")
    found: list[Problem] = []
    try:
        cells = manifest.parse(bytes(data), "m.yaml").cells
    except ManifestError as error:
        cells, found = (), error.problems
    assert bool(cells) != bool(found)
    assert found == sorted(found, key=lambda p: (p.line, p.column))


def test_absent_and_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(GOOD)
    with pytest.raises(UsageError, match=r"no such manifest; did you mean '.*quickstart\.yaml'"):
        manifest.read(tmp_path / "quickstrat.yaml")
    with pytest.raises(UsageError, match=r"cannot be read \(is a directory\)"):
        manifest.read(tmp_path)
    assert manifest.read(tmp_path / "quickstart.yaml").name == "quick"


def test_schema_accepts_the_good_and_refuses_the_bad() -> None:
    schema = manifest.schema()
    jsonschema.Draft7Validator.check_schema(schema)
    check = jsonschema.Draft7Validator(schema)
    good = yaml.safe_load(GOOD)
    assert list(check.iter_errors(good)) == []
    assert list(check.iter_errors(yaml.safe_load(big_grid()))) == []
    good["grid"]["regmie"] = ["clean"]
    good["defaults"]["model"]["time_steps"] = 0
    assert [list(error.path) for error in check.iter_errors(good)] == [
        ["defaults", "model"],
        ["grid"],
    ]


def test_schema_describes_keys_in_the_words_of_the_docstrings() -> None:
    definitions = manifest.schema()["definitions"]
    pgd = definitions["PGD"]["properties"]
    assert pgd["steps"]["description"] == "gradient steps of each restart."
    assert definitions["CleanRegime"]["properties"]["lr"]["default"] == 0.001
    assert "shift" in definitions["Dataset"]["properties"]["augment"]["description"]


def test_unknown_keys_name_the_site_file_and_near_words() -> None:
    found = problems(GOOD + "qos: high\nexlude: []\nmodel.neuron: if\n")
    assert "qos: belongs to site.yaml" in found
    assert "exlude: unknown key; did you mean 'exclude'?" in found
    assert "model.neuron: stands under 'defaults', 'grid' or 'cells'" in found


def test_ten_thousand_cells_are_read_at_once() -> None:
    text = big_grid()
    cells = parse(text).cells
    wanted = sum(len(cell.rows) for cell in cells)
    ids = {cell.training_id for cell in cells}
    assert (len(cells), len(ids), wanted) == (10_000, 10_000, 190_000)
