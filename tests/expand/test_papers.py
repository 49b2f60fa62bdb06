"""The manifests of the published grids."""

from pathlib import Path

import pytest

from jobs.expand.cell import Manifest
from jobs.expand.manifest import read
from jobs.planning import views
from jobs.planning.plan import plan, with_parents

MANIFESTS = Path(__file__).parents[2] / "manifests"
PUBLISHED = "hosnn_[!d]*.yaml"
"""All but hosnn_digits.yaml, which is ours."""
HOSNN = ("mnist", "fashion_mnist", "svhn", "cifar10", "cifar100")


def manifests(pattern: str) -> list[Manifest]:
    return [read(path) for path in sorted(MANIFESTS.glob(pattern))]


@pytest.mark.parametrize(
    ("pattern", "trainings", "stages"),
    [(PUBLISHED, 20, 5), ("gradsparsity_*.yaml", 15, 15)],
)
def test_the_grids_are_whole(pattern: str, trainings: int, stages: int) -> None:
    cells = [cell for m in manifests(pattern) for cell in with_parents(m.cells)]
    assert len({cell.training_id for cell in cells}) == trainings
    assert len({(cell.training_id, s) for cell in cells for s in cell.stages}) == stages
    assert all(cell.number >= 0 for cell in cells)


def test_the_chain_of_hosnn_has_three_generations() -> None:
    for manifest in manifests(PUBLISHED):
        items = plan(manifest.cells, {}, {})
        assert sorted(item.follows for item in items) == [0, 1, 1, 2]


@pytest.mark.parametrize("name", HOSNN)
def test_hosnn_is_faithful(name: str) -> None:
    manifest = read(MANIFESTS / f"hosnn_{name}.yaml")
    losses = {cell.training.regime.loss for cell in manifest.cells}
    assert losses == {"cross_entropy" if name == "cifar100" else "kernel"}
    assert {attack.name for attack in manifest.cells[0].attacks} == {"fgsm", "rfgsm", "pgd", "bim"}


@pytest.mark.parametrize(("pattern", "system"), [("hosnn_c*.yaml", "B"), ("grad*.yaml", "A")])
def test_the_plan_notes_the_choice_on_test_images(pattern: str, system: str) -> None:
    for manifest in manifests(pattern):
        (note,) = views.notes(plan(manifest.cells, {}, {}))
        assert note.startswith(f"note: {len(manifest.cells)} trainings (faithful {system}) keep ")


def test_published_numbers_stand_beside_the_results() -> None:
    values = {m.name: [float(r.value) for r in m.references] for m in manifests("hosnn_*.yaml")}
    assert values["hosnn-cifar10"] == [0.54, 43.33]
    assert values["hosnn-fashion-mnist"] == [30.90, 74.91]
    assert values["hosnn-svhn"] == [0.44, 36.82]
    assert values["hosnn-cifar100"] == [0.04, 16.66]
