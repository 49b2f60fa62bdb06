"""Chains of trainings: networks steered by the signature of another."""

from collections.abc import Mapping

import pytest

from jobs import identity
from jobs.errors import ManifestError
from jobs.expand import manifest
from jobs.expand.cell import Cell, stage_key
from jobs.planning.plan import Planned, Progress, plan
from jobs.planning.request import work_order
from snnlib.spec.stage import GradientsStage, NDSStage

HEAD = """version: 1
name: chain
defaults:
  dataset: digits
  model:
    {name: layers, layers: [{type: conv, out_channels: 8, kernel_size: 3}, {type: linear,
      out_features: 32}]}
"""
CHAIN = (
    HEAD
    + """grid:
  model.neuron:
    - {name: ta_lif, nds: {parent: {model.neuron: lif, regime: clean}}}
    - lif
  regime:
    - clean
    - {name: adversarial, epsilon: "8/255", start: {parent: {regime: clean}}}
"""
)
STAGE = identity.stage_id(NDSStage())


def cells(text: str = CHAIN) -> dict[str, Cell]:
    found = manifest.parse(text.encode(), "m.yaml").cells
    return {cell.label.split("/", 1)[1].removesuffix("/s0"): cell for cell in found}


def planned(progress: Mapping[str, Progress]) -> dict[str, Planned]:
    items = plan(list(cells().values()), progress, {})
    return {i.cell.label.split("/", 1)[1].removesuffix("/s0"): i for i in items}


def test_a_signature_belongs_to_its_parent() -> None:
    found = cells()
    source, child = found["layers-lif/clean"], found["layers-ta_lif/clean"]
    assert source.stages == (NDSStage(),)
    assert [(p.cell, p.stage) for p in child.parents] == [(source, NDSStage())]
    assert child.training.nds == f"{source.training_id}/{STAGE}"
    assert child.parent is None


def test_an_adversarial_child_has_two_parents() -> None:
    found = cells()
    child = found["layers-ta_lif/adversarial"]
    labels = [parent.cell.label for parent in child.parents]
    assert labels == [found["layers-ta_lif/clean"].label, found["layers-lif/clean"].label]
    assert found["layers-lif/adversarial"].stages == ()


def test_a_parent_that_is_no_cell_trains_and_collects() -> None:
    text = CHAIN.replace("    - lif\n", "")
    child = cells(text)["layers-ta_lif/clean"]
    (parent,) = child.parents
    assert (parent.cell.number, parent.cell.rows) == (-1, ())
    assert parent.cell.wanted == (stage_key(STAGE),)


def test_a_child_waits_for_network_and_signature() -> None:
    source = cells()["layers-lif/clean"]
    new = planned({})["layers-ta_lif/clean"]
    assert (new.action, new.reason) == (
        "blocked",
        "waits for its parent digits/layers-lif/clean/s0",
    )
    trained = {source.training_id: Progress(trained=True, rows=frozenset(source.rows))}
    waiting = planned(trained)
    assert waiting["layers-ta_lif/clean"].reason.endswith("s0, its signature")
    assert waiting["layers-lif/clean"].reason == "training done; signature missing"
    whole = {source.training_id: Progress(trained=True, rows=frozenset(source.wanted))}
    assert planned(whole)["layers-ta_lif/clean"].action == "train"
    assert planned(whole)["layers-lif/clean"].action == "done"


def test_work_orders_name_the_missing_stages() -> None:
    source = cells()["layers-lif/clean"]
    order = work_order(source, source.wanted)
    assert order["stages"] == [{"id": STAGE, "stage": identity.plain(NDSStage())}]
    assert work_order(source, source.rows)["stages"] == []


def test_a_cell_keeps_its_own_stages_beside_those_of_its_children() -> None:
    text = CHAIN.replace("  dataset: digits\n", "  dataset: digits\n  stages: [gradients]\n")
    found = cells(text)
    both = (NDSStage(), GradientsStage())
    assert found["layers-lif/clean"].stages == both
    assert found["layers-lif/adversarial"].stages == (GradientsStage(),)
    assert found["layers-lif/clean"].training_id == cells()["layers-lif/clean"].training_id
    orphan = cells(text.replace("    - lif\n", ""))["layers-ta_lif/clean"].parents[0].cell
    assert orphan.stages == (NDSStage(),)
    source = found["layers-lif/clean"]
    for missing, words in ((both, "signature and gradient record"), (both[1:], "gradient record")):
        keys = [stage_key(identity.stage_id(stage)) for stage in missing]
        done = frozenset(source.wanted) - set(keys)
        (item,) = plan([source], {source.training_id: Progress(trained=True, rows=done)}, {})
        assert (item.action, item.reason) == ("evaluate", f"training done; {words} missing")


def test_trainings_of_one_model_keep_their_own_signatures() -> None:
    text = (
        HEAD
        + """cells:
  - {model.neuron: {name: ta_lif, nds: {constant: 0.5}}, regime: clean}
  - {model.neuron: {name: ta_lif, nds: {constant: 0.25}}, regime: clean}
"""
    )
    orders = [work_order(cell, ()) for cell in cells(text).values()]
    assert [order["spec"]["nds"] for order in orders] == ["constant:0.5", "constant:0.25"]
    assert [identity.restore(o["spec"]).nds for o in orders] == ["constant:0.5", "constant:0.25"]


@pytest.mark.parametrize(
    ("neuron", "expected"),
    [
        ("{name: ta_lif, nds: {parent: {regime: clean}}}", "the parent is the cell itself"),
        (
            "{name: ta_lif, nds: {parent: {model.neuron: lif, model.time_steps: 7}}}",
            "FC_1 is 7x32 in the parent, this network needs 5x32 (time first)",
        ),
        (
            "{name: ta_lif, nds: {parent: {model: {name: small, neuron: lif}}}}",
            "a signature is collected from neurons with traces; small has none",
        ),
        (
            "{name: ta_lif, nds: {parent: {model.neuron: lif}, constant: 1}}",
            "write one of 'parent', 'checkpoint' and 'constant' here",
        ),
    ],
)
def test_parents_that_cannot_be_are_named(neuron: str, expected: str) -> None:
    text = HEAD + f"cells:\n  - {{regime: clean, model.neuron: {neuron}}}\n"
    with pytest.raises(ManifestError) as caught:
        cells(text)
    (problem,) = caught.value.problems
    assert expected in problem.message
    assert problem.line == 9
