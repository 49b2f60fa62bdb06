"""A chain of trainings on a real cluster, undisturbed and with its first parent killed."""

from functools import partial
from pathlib import Path

import pytest

from jobs.dispatch import ledger
from tests.chains import chain
from tests.slurm.cluster import Cluster
from tests.slurm.test_line import finished, user
from tests.system.conftest import until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

EPOCHS = 200
"""About 15 s, so that a cancel surely comes in the middle."""


def test_a_killed_parent_holds_its_children_until_resume(on_slurm: Cluster, tmp_path: Path) -> None:
    (tmp_path / "quiet").mkdir()
    (tmp_path / "killed").mkdir()
    quiet, killed = (user(on_slurm, tmp_path / name) for name in ("quiet", "killed"))
    study = chain(tmp_path, epochs=EPOCHS)
    shown = killed("submit", str(study))
    assert "sent 4 tasks to SLURM" in shown
    until(lambda: list(killed.root.cells.glob("*/*/attempts/0001/metrics.jsonl")), "an epoch")
    on_slurm.run("scancel", str(ledger.read(killed.root, 1).chunks[0].job_id))
    until(lambda: len(ledger.read(killed.root, 1).skipped) == 3, "the children's look", 120)
    stopped = set(killed.states(study).values())
    assert stopped <= {"cancelled", "preempted", "lost", "blocked"}
    assert sorted(killed.states(study).values()).count("blocked") == 3
    killed("resume", str(study))
    quiet("submit", str(study))
    for bench in (killed, quiet):
        until(partial(finished, bench, study), "the end", 240)
    assert killed.results() == quiet.results()
    assert len(killed.results()) == 4 * 3
