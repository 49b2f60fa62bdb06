"""import: published files of HoSNN, through the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs.expand import tensors

CHECKOUT = Path(__file__).parent.parent.parent
MNIST = {"conv_1": (15, 24, 24, 5), "conv_2": (40, 8, 8, 5), "FC_1": (300, 1, 1, 5)}

pytestmark = pytest.mark.slow


def imported(file: Path, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "launch.py", "import", str(file), "--root", str(root)]
    argv += ["--model", "hosnn_mnist", *more]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def signature(path: Path, **changed: tuple[int, ...]) -> Path:
    """A file in the layout of the published mnist.pt."""
    shapes = {**MNIST, "output": (10, 1, 1, 5), **changed}
    torch.save({name: torch.rand(shape) for name, shape in shapes.items()}, path)
    return path


def test_the_mnist_signature_is_brought_in(tmp_path: Path) -> None:
    file, root = signature(tmp_path / "mnist.pt"), tmp_path / "runs"
    done = imported(file, root)
    assert (done.returncode, done.stderr) == (0, "")
    (kept,) = (root / "imports").iterdir()
    assert f"checkpoint: {{path: {kept}, sha256: {kept.stem}}}" in done.stdout
    assert "under model.neuron.nds" in done.stdout
    assert "output" in done.stdout.partition("not used: ")[2]
    assert tensors.shapes(kept) == {
        "conv_1": (5, 15, 24, 24),
        "conv_2": (5, 40, 8, 8),
        "FC_1": (5, 300),
    }


def test_bringing_it_in_twice_keeps_one_file(tmp_path: Path) -> None:
    file, root = signature(tmp_path / "mnist.pt"), tmp_path / "runs"
    assert imported(file, root).stdout == imported(file, root).stdout
    assert len(list((root / "imports").iterdir())) == 1


def test_another_shape_is_refused_and_nothing_written(tmp_path: Path) -> None:
    file, root = signature(tmp_path / "mnist.pt", conv_2=(40, 9, 9, 5)), tmp_path / "runs"
    done = imported(file, root)
    assert done.returncode == 2
    assert "conv_2" in done.stderr
    assert "nothing written" in done.stderr
    assert not root.exists()


def test_a_checkpoint_of_lif_is_no_checkpoint_of_ta_lif(tmp_path: Path) -> None:
    names: dict[int, tuple[int, ...]] = {
        0: (15, 1, 5, 5, 1),
        1: (1, 1, 2, 2, 1),
        2: (40, 15, 5, 5, 1),
        3: (1, 1, 2, 2, 1),
    }
    names |= {4: (300, 640), 5: (10, 300)}
    net = {
        f"module.layers.{n}.weight": torch.full(shape, 1.1) if n in (1, 3) else torch.rand(shape)
        for n, shape in names.items()
    }
    torch.save({"net": net, "epoch": 3}, tmp_path / "lif.pth")
    done = imported(tmp_path / "lif.pth", tmp_path / "runs", "--neuron", "lif")
    assert done.returncode == 0, done.stderr
    assert "under regime.start" in done.stdout
    other = imported(tmp_path / "lif.pth", tmp_path / "runs", "--neuron", "ta_lif")
    assert other.returncode == 2
    assert "theta_v" in other.stderr
