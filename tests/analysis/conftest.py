"""Synthetic run roots: one shared and read only, one for each test."""

from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.collecting.collect import collect
from analysis.report import study
from analysis.report.study import Tables
from tests.analysis import report_root
from tests.analysis.synthetic import SyntheticRoot, quickstart


@pytest.fixture
def made(tmp_path: Path) -> SyntheticRoot:
    """An empty run root of this test."""
    return SyntheticRoot(tmp_path / "runs")


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collected run root like that of the quickstart; read only."""
    made = quickstart(tmp_path_factory.mktemp("grid"))
    collect([made.path])
    return made.path


@pytest.fixture
def results(grid: Path) -> pd.DataFrame:
    """Results of the quickstart."""
    return analysis.load("results", grid)


@pytest.fixture
def samples(grid: Path) -> pd.DataFrame:
    """Samples of the quickstart."""
    return analysis.load("samples", grid)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Of a report's run root with a masked network, a failed cell and two spaces."""
    folder = tmp_path_factory.mktemp("report")
    report_root.write(folder)
    collect([folder / "runs"])
    return study.read(folder / "runs")
