"""Fixtures of the real cluster."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing, sweep
from tests.slurm.settings import Options

_PARENT, _PREFIX = Path("/tmp"), "spikegrid-slurm-"  # sockets need a short path


@contextmanager
def _running(options: Options) -> Iterator[Cluster]:
    if missing(accounting=options.accounting):
        pytest.skip("SLURM is not installed")
    sweep(_PARENT, _PREFIX)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))
    folder.chmod(0o755)
    cluster = Cluster(folder, options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster of three nodes without accounting, where sacct tells nothing."""
    with _running(Options()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def slurm_accounting() -> Iterator[Cluster]:
    """A cluster of three nodes with slurmdbd, as most sites are."""
    with _running(Options(accounting=True)) as cluster:
        yield cluster


@pytest.fixture
def on_slurm(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster without accounting, reached by the commands that this process runs."""
    yield from _reached(slurm, monkeypatch)


@pytest.fixture
def on_slurm_accounting(
    slurm_accounting: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """The cluster with accounting, reached by the commands that this process runs."""
    yield from _reached(slurm_accounting, monkeypatch)


def _reached(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.env[name])
    yield cluster
    cluster.clear()
