"""What the guides beside the packages tell people to write works as written."""

import os
import re
from pathlib import Path

import pytest

from analysis.tables import load
from jobs.dispatch import site
from jobs.layout import RunRoot
from tests.faults.toy import checkout
from tests.system.conftest import Bench

CHECKOUT = Path(__file__).resolve().parent.parent
RECIPES = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "jobs/README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_site_recipe_is_read(tmp_path: Path, recipe: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(recipe)
    found = site.load({"SPIKEGRID_SITE": str(path), "HOME": str(tmp_path)})
    assert found.profile(None).partition or found.profile(None).account


BLOCKS = re.findall(
    r"```(python|diff)\n# (\S+)\n(.*?)```", (CHECKOUT / "snnlib/README.md").read_text(), re.DOTALL
)
STUDY = """\
version: 1
name: added
defaults:
  dataset: stripes
  model: {name: single, neuron: lif, width: 4}
  regime: {name: clean, epochs: 3, batch_size: 20, lr: 0.02}
  epsilons: ["64/255"]
  attacks: [corner, fgsm]
grid: {seed: [0]}
"""


def applied(checkout: Path, kind: str, name: str, text: str) -> None:
    """Do to a file what a block of a guide says."""
    path = checkout / name
    if kind == "python":
        path.write_text(text)
        return
    lines = text.splitlines(keepends=True)
    before, after = ("".join(line[1:] or "\n" for line in lines if line[0] in (" ", sign, "\n"))
                     for sign in "-+")  # fmt: skip
    assert path.read_text().count(before) == 1, f"{name} has no {before!r} any more"
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.slow
def test_a_model_an_attack_and_a_dataset_are_added_as_the_guide_says(tmp_path: Path) -> None:
    code = checkout(tmp_path / "code")
    for kind, name, text in BLOCKS:
        applied(code, kind, name, text)
    root = RunRoot(tmp_path / "runs")
    root.path.mkdir()
    bench = Bench(code, root, {**os.environ, "SPIKEGRID_ROOT": str(root.path)})
    (tmp_path / "study.yaml").write_text(STUDY)
    bench("submit", str(tmp_path / "study.yaml"), "--cluster", "debug")
    bench("collect")
    results = load("results", root.path).set_index("attack")["accuracy"]
    assert results["clean"] > 0.9
    assert results["fgsm"] <= results["corner"]
