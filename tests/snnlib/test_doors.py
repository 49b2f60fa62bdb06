"""The door to third-party packages: silent, and with torchvision's fault cured."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_import_prints_and_warns_nothing() -> None:
    code = (
        "from snnlib.doors import neuron, torchvision; import torch\n"
        "neuron.IFNode(step_mode='m')(torch.ones(2, 1))\n"
        "image = torch.arange(4.0).reshape(1, 2, 2)\n"
        "flip = torchvision('torchvision.transforms.v2').functional.horizontal_flip\n"
        "assert flip(image).tolist() == [[[1.0, 0.0], [3.0, 2.0]]]\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
