"""A fake cluster, and a run root."""

import time
from pathlib import Path

import pytest

from jobs.dispatch import queueing
from jobs.layout import RunRoot
from tests.examples import run_root
from tests.fake_slurm import FakeSlurm


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "slurm", max_array_size=5)
    fake.advance(time.time() - fake.now)
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    monkeypatch.setattr(queueing, "PAUSE_S", 0.0)
    monkeypatch.setattr(queueing, "LEAVING_S", 0.0)
    monkeypatch.setattr(queueing, "LEAVING_TURNS", 3)
    return fake


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)
