"""HoSNN's procedure from one manifest: LIF, its signature, TA-LIF, adversarial training, attacks."""

import time
from pathlib import Path

import pytest

from jobs import files, tensors
from tests.system.conftest import WITHIN_S, Bench

pytestmark = pytest.mark.slow

CHAIN = """version: 1
name: chain
defaults:
  dataset: digits
  epsilons: ["8/255"]
  attacks: [fgsm, {name: pgd, steps: 2}]
  evaluation: {samples: 40}
  model:
    name: layers
    layers: [{type: pool, weight: 0.25}, {type: linear, out_features: 24}]
    time_steps: 3
grid:
  regime:
    - {name: adversarial, epsilon: "8/255", epochs: 1, start: {parent: {regime: clean}}}
    - {name: clean, epochs: 2, lr: 0.01}
  model.neuron:
    - {name: ta_lif, nds: {parent: {model.neuron: lif, regime: clean}}}
    - lif
"""


def finished(bench: Bench, study: Path) -> None:
    """Wait until every cell is completed, with nothing but looking."""
    deadline = time.monotonic() + WITHIN_S
    while set(bench.states(study).values()) != {"completed"}:
        assert time.monotonic() < deadline, bench("status", str(study))
        time.sleep(0.5)


def test_one_command_trains_the_whole_chain(bench: Bench, tmp_path: Path) -> None:
    study = tmp_path / "chain.yaml"
    study.write_text(CHAIN)
    shown = bench("submit", str(study), "--cluster", "local")
    assert "sent 4 tasks" in shown
    assert "3 of them after their parents" in shown
    finished(bench, study)
    (record,) = bench.root.cells.glob("*/*/stages/*.json")
    signature = files.read_json(record)
    assert signature["count"] == 1197
    assert tensors.shapes(record.with_suffix(".safetensors")) == {"FC_1": (3, 24)}
    assert "nothing to send" in bench("submit", str(study), "--cluster", "local")
