"""Gradient tracking from the manifest to the table, on this machine."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import analysis
from jobs import files
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

STUDY = """version: 1
name: tracked
defaults:
  dataset: digits
  model: {name: small, neuron: lif, time_steps: 3, encoder: phase}
  regime: {name: clean, epochs: 1, lr: 0.02}
  evaluation: {samples: 20}
  stages: [{kind: gradients, samples: 50}]
cells: [{seed: 0}]
resources: {mem_gb: 0.5}
"""
LAYERS = 1 + 10  # the encoder, and the leaf layers of the network


def test_gradients_become_a_table(bench: Bench, tmp_path: Path) -> None:
    study = tmp_path / "tracked.yaml"
    study.write_text(STUDY)
    bench("submit", str(study), "--cluster", "local", "--wait")
    assert "nothing to send" in bench("submit", str(study), "--cluster", "local")
    bench("collect")
    table = analysis.load("gradients", bench.root.path)
    assert len(table) == LAYERS * 3 + 1
    assert table.groupby("layer").size().drop("image").tolist() == [3] * LAYERS
    shares = table.filter(like="_share").to_numpy()
    assert np.nanmin(shares) >= 0
    assert np.nanmax(shares) <= 1
    assert (table.output_near_zero_share >= table.output_zero_share).all()
    assert table[["output_cosine", "input_cosine"]].abs().max().max() < 1 + 1e-6
    assert table[table.kind == "neuron"].firing_rate.between(0, 1).all()
    assert (table[table.kind.isin(["conv", "linear"])].synops.dropna() >= 0).all()
    assert table.total.unique().tolist() == [50]
    told = bench("show", "digits/small-lif/clean/s0")
    assert "stage gradients: 50 images · input gradient" in told


def test_a_stage_that_is_added_later_needs_no_training(bench: Bench, tmp_path: Path) -> None:
    study = tmp_path / "tracked.yaml"
    study.write_text(STUDY.replace("  stages: [{kind: gradients, samples: 50}]\n", ""))
    bench("submit", str(study), "--cluster", "local", "--wait")
    weights = files.read_json(bench.cell().training)["model_sha256"]
    study.write_text(STUDY)
    assert "training done; gradient record missing" in bench("plan", str(study))
    bench("submit", str(study), "--cluster", "local", "--wait")
    (record,) = bench.cell().stages.glob("*.json")
    assert files.read_json(record)["model_sha256"] == weights
    assert list(bench.cell().attempts.glob("*")) == [bench.cell().attempt(n).folder for n in (1, 2)]
    bench("collect")
    assert pq.read_table(bench.root.tables / "gradients.parquet").num_rows == LAYERS * 3 + 1
