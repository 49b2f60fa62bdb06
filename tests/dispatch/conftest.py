"""Fake clusters: one that keeps accounts, and one that forgets jobs minutes after their end."""

from pathlib import Path

import pytest

from tests.fake_slurm import FakeSlurm


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    return fake


@pytest.fixture
def without_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "slurm", accounting=False)
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    return fake
