"""Whether the files of data sets are there, told by their names alone: no torch, nothing is read."""

from collections.abc import Iterable
from pathlib import Path

from jobs.cell import Cell
from snnlib.spec.data import FILES, DatasetName


def present(name: DatasetName, folder: Path) -> bool:
    """Whether all files of a data set are there, or come with the program."""
    return all((folder / file).is_file() for file in FILES[name])


def absent(cells: Iterable[Cell], folder: Path) -> list[DatasetName]:
    """Data sets that cells need and that are not there, each once."""
    needed = dict.fromkeys(cell.training.dataset.name for cell in cells)
    return [name for name in needed if not present(name, folder)]
