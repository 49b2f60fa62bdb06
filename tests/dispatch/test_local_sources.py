"""The slot queue lets a transfer attack wait for its source, and no training for one."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.dispatch import ledger, local
from jobs.dispatch.local import Slots
from jobs.planning.request import requests, tasks, work_order
from snnlib.spec.attack import Transfer
from tests.examples import cell, finish, run_root

SOURCE = cell(1)
TARGET = replace(cell(0), attacks=(Transfer(source=SOURCE.training_id),), sources=(SOURCE,))


@pytest.mark.parametrize(("trained", "ready"), [(True, [0]), (False, [0, 1])])
def test_only_a_trained_cell_waits_for_its_source(
    tmp_path: Path, trained: bool, ready: list[int]
) -> None:
    root = run_root(tmp_path)
    if trained:
        finish(root, TARGET, 1)
    order = work_order(TARGET, TARGET.rows)
    made = tasks([(SOURCE, work_order(SOURCE, SOURCE.rows))])
    made += tasks([(TARGET, order)], first=1, generation=1)
    header = {"manifest": "example", "cluster": "local", "at": 1.0, "code": "c0de", "data": ""}
    ledger.publish(
        root,
        "version: 1\n",
        header,
        made,
        lambda n: requests(made, name=f"job-{n}", max_array=9, profile={}),
    )
    found = ledger.read(root, 1)
    waiting = [(found, task) for task in (0, 1)]
    queue = local.Queue(root, Slots((), 2))
    assert [task for _, task in queue._ready(waiting, [found])] == ready
