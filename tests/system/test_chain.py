"""A chain of trainings from one manifest, on this machine."""

from pathlib import Path

import pytest

from jobs import files
from jobs.expand import tensors
from tests.chains import chain
from tests.system.conftest import Bench, until

pytestmark = pytest.mark.slow


def test_one_command_trains_the_whole_chain(bench: Bench, tmp_path: Path) -> None:
    study = chain(tmp_path)
    shown = bench("submit", str(study), "--cluster", "local")
    assert "sent 4 tasks" in shown
    assert "3 of them after their parents" in shown
    until(lambda: set(bench.states(study).values()) == {"completed"}, "the end of the chain")
    (record,) = bench.root.cells.glob("*/*/stages/*.json")
    signature = files.read_json(record)
    assert signature["count"] == 1197
    assert tensors.shapes(record.with_suffix(".safetensors")) == {"FC_1": (3, 24)}
    assert "nothing to send" in bench("submit", str(study), "--cluster", "local")


def test_a_lost_signature_is_collected_again(bench: Bench, tmp_path: Path) -> None:
    study = chain(tmp_path)
    source = "model.neuron=lif,regime=clean"
    bench("submit", str(study), "--cluster", "local", "--wait", "--only", source)
    (record,) = bench.root.cells.glob("*/*/stages/*.json")
    first = files.read_json(record)["tensors_sha256"]
    record.unlink()
    record.with_suffix(".safetensors").unlink()
    bench("submit", str(study), "--cluster", "local", "--wait", "--only", source)
    assert files.read_json(record)["tensors_sha256"] == first
