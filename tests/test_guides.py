"""What the guides beside the packages tell people to write works as written."""

import re
from pathlib import Path

import pytest

from jobs.dispatch import site

CHECKOUT = Path(__file__).resolve().parent.parent
RECIPES = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "jobs/README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_site_recipe_is_read(tmp_path: Path, recipe: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(recipe)
    found = site.load({"SPIKEGRID_SITE": str(path), "HOME": str(tmp_path)})
    assert found.profile(None).partition or found.profile(None).account
