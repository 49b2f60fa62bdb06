"""A network that answers no numbers: its evaluation fails for good, and nothing is believed."""

import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from jobs import attempts, checkpoint, files, records
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

MANIFEST = """\
version: 1
name: nan
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  regime: {name: clean, epochs: 1, lr: 0.02}
  evaluation: {samples: 20}
  ATTACKS
cells: [{}]
resources: {mem_gb: 0.5}
"""


def study(folder: Path, attacks: str) -> str:
    path = folder / "nan.yaml"
    path.write_text(MANIFEST.replace("ATTACKS", attacks))
    return str(path)


def damage(bench: Bench, which: int, value: float) -> None:
    """Change weights, as if the training had ended so, and forget how the network was judged."""
    cell = bench.cell()
    training = files.read_json(cell.training)
    old = cell.checkpoints / training["checkpoint"]
    weights = load_file(old / "model.safetensors")
    weights[sorted(weights)[which]].fill_(value)
    shutil.rmtree(old)
    folder, sha256 = checkpoint.save_final(cell, 1, weights, {})
    changed = {**training, "checkpoint": folder, "model_sha256": sha256}
    files.replace(cell.training, files.dumps(changed))
    shutil.rmtree(cell.evaluations)


@pytest.mark.parametrize(
    ("which", "value", "told"),
    [
        (
            -1,
            3e38,
            r"sample \d+ has a (logit|gradient) that is NaN or infinite \(\d+ of 20 samples\)",
        ),
        (0, float("nan"), r"the network's \S+ is NaN or infinite in places"),
    ],
)
def test_an_evaluation_that_is_not_finite_fails_for_good(
    bench: Bench, tmp_path: Path, which: int, value: float, told: str
) -> None:
    bench("submit", study(tmp_path, ""), "--cluster", "local", "--wait")
    damage(bench, which, value)
    attacked = study(tmp_path, 'attacks: [fgsm]\n  epsilons: ["8/255"]')
    bench("submit", attacked, "--cluster", "local", "--wait", code=1)
    tried = attempts.read(bench.cell(), 2)
    assert (tried.state, tried.deterministic) == ("failed", True)
    assert re.search(told, tried.reason)
    assert list(records.valid(bench.cell())) == []
    assert "1 give_up" in bench("plan", attacked)
