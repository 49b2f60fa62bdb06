"""Listings that lag and clocks that differ: late, never wrong."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from jobs import attempts, identity, records
from jobs.dispatch import chunks, ledger
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.slurm_text import Limits
from jobs.layout import RunRoot
from jobs.planning import situation, survey
from jobs.planning.index import Index
from tests.examples import cell, finish, record, run_root, submission

ONE = cell()
CLEAN, FGSM = ONE.attack_ids
EIGHT = Fraction(8, 255)
HOUR = 3600.0


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)


@contextmanager
def stale(root: RunRoot) -> Iterator[None]:
    """Listings show what was there at the beginning, as another node of a cluster may see it."""
    now = {str(path) for path in root.path.rglob("*")}

    real = os.listdir

    def listed(folder: Any = ".") -> list[str]:
        ours = str(folder).startswith(str(root.path))
        return [name for name in real(folder) if not ours or f"{folder}/{name}" in now]

    with mock.patch.object(os, "listdir", listed):
        yield


def claim(root: RunRoot) -> int:
    spec = identity.canonical(ONE.training).encode()
    return attempts.claim(root.cell(ONE.training_id), {"label": ONE.label, "code": ""}, spec)


def action(root: RunRoot, index: Index | None = None) -> str:
    seen = situation.look(root, [ONE], index or Index(root), max_age=None, now=1000.0)
    return situation.planned([ONE], seen)[0].action


def test_an_attempt_number_that_a_listing_hides_is_not_taken_again(root: RunRoot) -> None:
    with stale(root):
        assert [claim(root) for _ in range(3)] == [1, 2, 3]


def test_a_submission_that_a_listing_hides_keeps_its_number(root: RunRoot) -> None:
    with stale(root):
        found = [submission(root, [ONE]).number for _ in range(3)]
    assert found == [1, 2, 3]
    assert [ledger.read(root, number).number for number in found] == found


def test_records_that_a_listing_hides_are_only_late(root: RunRoot) -> None:
    claim(root)
    finish(root, ONE, attacks=1)
    with stale(root):
        records.write(root.cell(ONE.training_id), record(ONE, FGSM))
        assert action(root) == "evaluate"
        index = Index(root)
        survey.progress(root, [ONE], index)
        index.save()
    assert action(root) == "done"


def test_what_was_computed_twice_for_a_stale_listing_is_one_record(root: RunRoot) -> None:
    finish(root, ONE, attacks=1)
    with stale(root):
        for _ in range(2):
            records.write(root.cell(ONE.training_id), record(ONE, FGSM))
    assert len(records.names(root.cell(ONE.training_id))) == 2


def test_a_try_that_a_listing_hides_is_not_begun_again(root: RunRoot) -> None:
    paths = submission(root, [ONE])
    with stale(root):
        assert chunks.intend(paths, 0, 1.0, tasks=[0])
        assert ledger.read(root, 1).chunks[0].tries == 0
        assert not chunks.intend(paths, 0, 2.0, tasks=[0])


@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_a_clock_that_is_off_by_an_hour_sends_nothing_twice(root: RunRoot, off: float) -> None:
    paths = submission(root, [ONE], at=time.time() + off)
    chunks.intend(paths, 0, time.time() + off, tasks=[0])
    chunks.decide(paths, 0, time.time() + off, number=0, void=False)
    known = Answer(time.time(), reachable=True, source=("squeue",), jobs={}, limits=Limits())
    seen = situation.Situation(known={}, holders={}, found=[ledger.read(root, 1)], answer=known)
    (chunk,) = seen.found[0].chunks
    # its sender lives on this machine, so that no clock counts
    assert seen.found[0].standing(chunk, time.time()) == "sending"
    assert action(root) == "wait"


@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_results_do_not_depend_on_clocks(root: RunRoot, off: float) -> None:
    paths = root.cell(ONE.training_id)
    claim(root)
    finish(root, ONE)
    attempts.end(paths.attempt(1), "completed", "", ended=time.time() + off)
    for path in (paths.training, *paths.evaluations.iterdir()):
        os.utime(path, (time.time() + off, time.time() + off))
    for _ in range(3):
        index = Index(root)
        assert action(root, index) == "done"
        index.save()
