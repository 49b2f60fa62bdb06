"""A fake cluster and manifests, in a folder of their own."""

from pathlib import Path

import pytest

from tests.fake_cluster import arranged
from tests.fake_slurm import FakeSlurm

_MANIFEST = """\
version: 1
name: {name}
defaults:
  dataset: digits
  model: {{name: small, neuron: if}}
  epsilons: ["8/255"]
  attacks: [fgsm]
grid:
  regime: [{regime}]
  seed: [{seeds}]
"""
_CLEAN = "{name: clean, epochs: 1}"
_CHILD = (
    f'{{name: adversarial, epsilon: "8/255", epochs: 1, start: {{parent: {{regime: {_CLEAN}}}}}}}'
)


def write(name: str, seeds: str, *, children: bool = False) -> None:
    """A manifest NAME.yaml, here: clean cells, or children of those."""
    text = _MANIFEST.format(name=name, seeds=seeds, regime=_CHILD if children else _CLEAN)
    Path(f"{name}.yaml").write_text(text)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = arranged(tmp_path, monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.delenv("SPIKEGRID_SITE", raising=False)
    monkeypatch.chdir(tmp_path)
    write("clean", "0, 1")
    write("children", "0, 1", children=True)
    return fake
