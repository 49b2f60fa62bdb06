"""`stages` in a manifest: words or mappings, merged, matched and told apart."""

import jsonschema
import pytest
import yaml

from jobs.errors import ManifestError
from jobs.expand import manifest
from jobs.expand.cell import Cell
from snnlib.spec.stage import GradientsStage, NDSStage

HEAD = """version: 1
name: staged
defaults:
  dataset: digits
  model: {name: layers, neuron: lif, layers: [{type: linear, out_features: 8}]}
  regime: clean
  stages: [gradients]
"""
SOME = GradientsStage(samples=40)


def cells(text: str) -> tuple[Cell, ...]:
    return manifest.parse((HEAD + text).encode(), "m.yaml").cells


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("[nds, gradients]", (NDSStage(), GradientsStage())),
        ("[{kind: gradients, samples: 40}]", (SOME,)),
        ("[{kind: nds, quantity: trace}]", (NDSStage(quantity="trace"),)),
        ("[]", ()),
    ],
)
def test_words_and_mappings_stand_for_stages(stages: str, expected: object) -> None:
    own, other = cells(f"cells: [{{stages: {stages}}}, {{seed: 1}}]\n")
    assert (own.stages, other.stages) == (expected, (GradientsStage(),))


def test_stages_never_enter_a_training_id() -> None:
    first, second = cells("grid: {stages: [[gradients], [nds]]}\n")
    assert first.training_id == second.training_id
    assert (first.label, second.label) == (
        "digits/layers-lif/clean/stages=gradients/s0",
        "digits/layers-lif/clean/stages=nds/s0",
    )


def test_patterns_choose_cells_by_their_stages() -> None:
    text = "grid: {seed: [0, 1], stages: [[gradients], [nds]]}\n"
    found = cells(text + "exclude: [{stages: nds}]\n")
    assert [cell.stages for cell in found] == [(GradientsStage(),)] * 2
    text += "resources: [{mem_gb: 1}, {when: {stages: gradients}, mem_gb: 8}]\n"
    assert [int(cell.resources.mem_gb) for cell in cells(text)] == [8, 1, 8, 1]


def test_an_axis_of_stages_is_a_list_of_lists() -> None:
    with pytest.raises(ManifestError, match="write a list of lists"):
        cells("grid: {stages: [gradients, nds]}\n")


@pytest.mark.parametrize(
    ("stage", "is_good"), [("nds", True), ("{kind: gradients, loss: margin}", True), ("nda", False)]
)
def test_the_schema_knows_stages(stage: str, is_good: bool) -> None:
    text = HEAD + f"cells: [{{stages: [{stage}]}}]\n"
    assert jsonschema.Draft7Validator(manifest.schema()).is_valid(yaml.safe_load(text)) == is_good
