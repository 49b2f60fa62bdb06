"""Run roots to measure on, kept in a temporary folder until what determines their content changes.

Every cell is trained, and half of its rows are recorded (`tests.bench.write_root`).
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VARIANTS = 10
"""Cells of each seed: 5 models x 2 regimes."""
_SOURCES = [
    *(REPOSITORY / "jobs" / f"{name}.py" for name in ("records", "attempts", "layout")),
    REPOSITORY / "jobs/dispatch/ledger.py",
    Path(__file__).parent / "write_root.py",
]
_READY = "ready"
_MANIFEST = """\
version: 1
name: bench
defaults:
  dataset: digits
  epsilons: ["1/255", "2/255", "4/255", "8/255", "12/255", "16/255"]
  attacks: [fgsm, {name: pgd, steps: 10}, {name: pgd, steps: 40}]
grid:
  model:
    - {name: small, neuron: if}
    - {name: small, neuron: {name: lif, tau: 1.5}}
    - {name: small, neuron: {name: lif, tau: 2}}
    - {name: small, neuron: lif, time_steps: 8}
    - {name: small, neuron: lif, encoder: poisson}
  regime:
    - {name: clean, epochs: 20}
    - {name: adversarial, attack: fgsm, epsilon: "8/255", epochs: 20}
  seed: "range(0, SEEDS)"
"""


_LEAN = re.compile(r', "2/255".*(?=\])|, \{name: pgd.*(?=\])')


@dataclass(frozen=True)
class Root:
    """A run root and the manifest of its cells."""

    path: Path
    manifest: Path
    cells: int


def manifest(folder: Path, cells: int, *, lean: bool = False) -> Path:
    """The manifest of a grid of so many cells, written into a folder; with one attack if lean."""
    path = folder / f"bench-{cells}{'-lean' * lean}.yaml"
    text = _MANIFEST.replace("SEEDS", str(cells // VARIANTS))
    path.write_text(_LEAN.sub("", text) if lean else text)
    return path


def kept() -> Path:
    """The folder of this user and this state of the writer."""
    digest = hashlib.sha256(_MANIFEST.encode())
    for path in _SOURCES:
        digest.update(path.read_bytes())
    name = f"spikegrid-bench-{os.getuid()}-{digest.hexdigest()[:12]}"
    return Path(tempfile.gettempdir()) / name


def ready(cells: int) -> Root:
    """The root of so many cells, written now if it is not kept from before."""
    folder = _folder()
    return _written(Root(folder / f"runs-{cells}", manifest(folder, cells), cells))


def finished(cells: int, missing: int) -> Root:
    """The root of so many cells with one attack each, all recorded but for those never begun."""
    folder = _folder()
    path = folder / f"runs-{cells}-without-{missing}"
    return _written(Root(path, manifest(folder, cells, lean=True), cells), str(missing))


def _folder() -> Path:
    folder = kept()
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _written(root: Root, *options: str) -> Root:
    if not (root.path / _READY).exists():
        shutil.rmtree(root.path, ignore_errors=True)
        # a process of its own: its memory would count as that of every later child
        command = [sys.executable, "-m", "tests.bench.write_root", str(root.manifest)]
        subprocess.run([*command, str(root.path), *options], check=True, cwd=REPOSITORY)
        (root.path / _READY).touch()
    return root
