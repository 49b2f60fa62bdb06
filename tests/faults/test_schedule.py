"""Faults at random moments of small studies: nothing lost, nothing doubled, equal tables."""

import os
from pathlib import Path

import pytest

from tests.faults import harm
from tests.faults.schedule import PHASES, Schedule, Tally
from tests.faults.toy import Tables, Toy, checkout

SEED = os.environ.get("SPIKEGRID_FAULT_SEED", "1")
COUNT = int(os.environ.get("SPIKEGRID_FAULTS", "1000"))
"""Faults of the long schedule."""
STUDIES = 30
"""Studies that it takes at most until every fault and every phase was hit."""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def quiet(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    toy = Toy(tmp_path_factory.mktemp("quiet"), code)
    toy.submit()
    toy.finish()
    toy.bench("collect")
    return toy.tables()


def judged(schedule: Schedule, log: Path) -> None:
    tally = schedule.tally
    tally.save(log, schedule.seed)
    print(f"\n{tally.text(schedule.seed)}\n{log}")
    assert tally.rows["lost"] == tally.rows["doubled"] == tally.rows["different"] == 0
    assert tally.unseen == []
    assert tally.warnings == []


@pytest.mark.slow
def test_every_fault_and_every_phase(code: Path, quiet: Tables, tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, code, quiet, SEED, None, Tally())
    for _ in range(STUDIES):
        if not schedule.over():
            schedule.study()
    judged(schedule, tmp_path / "faults.json")
    faults, phases = (set(names) for names in zip(*schedule.tally.hits, strict=True))
    assert faults == {*harm.ON_JOBS, *harm.ON_COLLECTORS}
    assert phases == {*PHASES}


@pytest.mark.proof
def test_a_thousand_faults(code: Path, quiet: Tables, tmp_path: Path) -> None:
    """Goes on where it was if $SPIKEGRID_FAULT_LOG names a file that an earlier run wrote."""
    log = Path(os.environ.get("SPIKEGRID_FAULT_LOG") or tmp_path / "faults.json")
    schedule = Schedule(tmp_path, code, quiet, SEED, COUNT, Tally.load(log, SEED))
    while not schedule.over():
        schedule.study()
        schedule.tally.save(log, SEED)
    judged(schedule, log)
    assert COUNT < 1000 or {*schedule.tally.hits} == {*harm.pairs()}
