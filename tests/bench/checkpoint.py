"""A checkpoint of 100 MB beside a plain, synced write of as many bytes."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from jobs import checkpoint
from jobs.checkpoint import State
from jobs.layout import CellFiles
from tests.bench import roots
from tests.bench.measure import Measurement, alternated

LAYERS, WIDTH = 10, 1_250_000
"""Of 5 MB each; the optimiser has as much again."""


def beside_a_plain_write() -> Iterator[Measurement]:
    """Both write into the folder of the run roots; who begins takes turns."""
    os.sync()  # what other benchmarks left to be written
    roots.kept().mkdir(mode=0o700, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=roots.kept()))
    torch.manual_seed(0)
    model = {f"layer{i}": torch.randn(WIDTH) for i in range(LAYERS)}
    rest = {"optimiser": {f"momentum{i}": torch.randn(WIDTH) for i in range(LAYERS)}}
    state = State(step=1, world_size=1, codes=(), model=model, best=None, rest=rest)
    data = os.urandom(2 * LAYERS * WIDTH * 4)
    try:
        ratios = alternated(lambda: _plain(folder / "plain", data), lambda: _save(folder, state))
        what = f"checkpoint : plain synced write, {len(data) / 1e6:.0f} MB"
        yield Measurement(what=what, unit="x", values=ratios, target=2.0)
    finally:
        shutil.rmtree(folder)


def _save(folder: Path, state: State) -> float:
    cell = CellFiles(folder / "cell")
    began = time.perf_counter()
    checkpoint.save(cell, 1, state)
    seconds = time.perf_counter() - began
    shutil.rmtree(cell.folder)
    return seconds


def _plain(path: Path, data: bytes) -> float:
    began = time.perf_counter()
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return seconds
