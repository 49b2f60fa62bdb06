"""A fake cluster as a command meets it: on PATH, with a run root and a cache of its own."""

import time
from pathlib import Path

import pytest

from jobs.dispatch import queueing
from tests.fake_slurm import FakeSlurm


def arranged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """One that lives now and makes nobody wait; everything lies in a folder."""
    fake = FakeSlurm(folder / "slurm")
    fake.advance(time.time() - fake.now)
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    monkeypatch.setenv("SPIKEGRID_ROOT", str(folder / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(queueing, "PAUSE_S", 0.0)
    return fake
