"""Ranks agree to go on or to stop at their own speed."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]

from jobs import processes
from jobs.errors import EnvironmentFault
from jobs.processes import Process
from jobs.running import agreement
from jobs.running.agreement import Agreement
from jobs.running.cell_run import Stopped
from snnlib.distributed import World
from tests.running.alone import Flag


class Ranks:
    """Two ranks that share a store, each with a flag of its own."""

    def __init__(self, peers: tuple[Process, ...] = ()) -> None:
        store, cpu = HashStore(), torch.device("cpu")
        self.flags = Flag(), Flag()
        self.ranks = [
            Agreement(World(rank=r, size=2, local_rank=r, device=cpu, store=store),
                      self.flags[r], peers, name="work-0")
            for r in range(2)
        ]  # fmt: skip


def nothing() -> None:
    pass


def wait(rank: Agreement, meanwhile: Callable[[], object] = nothing) -> "Future[None]":
    """Let a rank wait for the other in a thread."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(rank.end_together, meanwhile)
    pool.shutdown(wait=False)
    return future


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "LOOK_S", 0.0)
    monkeypatch.setattr(agreement, "POLL_S", 0.001)


def test_one_rank_alone_never_waits() -> None:
    alone = Agreement(World.single(), Flag(), (), name="work-0")
    alone.look()
    alone.end_together(nothing)
    assert alone.count(3) == alone.count() == 3


def test_a_fast_rank_waits_for_a_slow_one() -> None:
    fast, slow = Ranks().ranks
    waited = threading.Event()
    future = wait(fast, meanwhile=waited.set)
    assert waited.wait(10)
    assert not future.done()
    slow.look()
    slow.end_together(nothing)
    assert future.result(10) is None


def test_a_signal_to_one_rank_stops_the_others_at_their_next_look() -> None:
    both = Ranks()
    both.flags[1].up = True
    with pytest.raises(Stopped):
        both.ranks[1].look()
    with pytest.raises(Stopped):
        both.ranks[0].look()


def test_a_signal_reaches_a_rank_that_waits_and_one_that_works() -> None:
    both = Ranks()
    future = wait(both.ranks[0])
    both.flags[0].up = True
    with pytest.raises(Stopped):
        future.result(10)
    with pytest.raises(Stopped):
        both.ranks[1].look()


def test_a_signal_after_the_end_changes_nothing() -> None:
    both = Ranks()
    future = wait(both.ranks[0])
    both.ranks[1].end_together(nothing)
    both.flags[1].up = True
    assert future.result(10) is None
    with pytest.raises(Stopped):
        Agreement(World.single(), both.flags[1], (), name="work-1").look()


def test_the_store_is_not_asked_at_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "LOOK_S", 100.0)
    both = Ranks()
    both.ranks[0].look()
    monkeypatch.setattr(HashStore, "add", None)
    both.ranks[0].look()


def test_all_ranks_are_counted_together() -> None:
    one, two = Ranks().ranks
    assert [one.count(2), two.count(3), one.count()] == [2, 5, 5]


def test_a_dead_rank_is_noticed_by_one_that_waits() -> None:
    here = processes.this()
    dead = Process(here.host, here.pid, here.start - 1, here.boot)
    with pytest.raises(EnvironmentFault, match=r"rank 1 \(pid \d+\) has died"):
        Ranks((here, dead)).ranks[0].end_together(nothing)


def test_a_signal_because_a_rank_died_is_no_preemption() -> None:
    here = processes.this()
    both = Ranks((here, Process(here.host, here.pid, here.start - 1, here.boot)))
    both.flags[0].up = True
    with pytest.raises(EnvironmentFault, match="has died"):
        both.ranks[0].look()


def test_ranks_elsewhere_that_do_nothing_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "SILENT_S", 0.01)
    elsewhere = Process("elsewhere", 7, 7, "boot")
    with pytest.raises(EnvironmentFault, match="1 of 2 ranks have done nothing for 0 s"):
        Ranks((processes.this(), elsewhere)).ranks[0].end_together(nothing)
