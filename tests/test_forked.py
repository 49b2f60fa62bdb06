"""Work that several processes share."""

import os
import signal
from collections.abc import Sequence

import pytest

from jobs.forked import spread

PARENT = os.getpid()


def doubled(items: Sequence[int]) -> tuple[int, list[int]]:
    return os.getpid(), [2 * item for item in items]


@pytest.mark.parametrize(("number", "shares"), [(0, 1), (9, 1), (20, 2), (100, 4)])
def test_shares_come_in_order_from_several_processes(number: int, shares: int) -> None:
    found = spread(doubled, range(number), least=10)
    assert len({pid for pid, _ in found}) == len(found) == shares
    assert [value for _, share in found for value in share] == [2 * n for n in range(number)]


@pytest.mark.parametrize("end", [signal.SIGKILL, None])
def test_the_share_of_a_process_that_dies_is_done_here(end: int | None) -> None:
    def fragile(items: Sequence[int]) -> tuple[int, list[int]]:
        if os.getpid() != PARENT:
            os.kill(os.getpid(), end) if end else os._exit(3)
        return doubled(items)

    assert spread(fragile, range(20), least=10) == [
        (PARENT, [2 * n for n in range(start, start + 10)]) for start in (0, 10)
    ]


def test_an_error_is_raised_where_it_can_be_caught() -> None:
    def refusing(items: Sequence[int]) -> None:
        if 19 in items:
            raise ValueError("19 is refused")

    with pytest.raises(ValueError, match="19 is refused"):
        spread(refusing, range(20), least=10)


def test_no_process_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(items: Sequence[int]) -> None:
        if os.getpid() == PARENT:
            raise KeyboardInterrupt
        signal.pause()

    with pytest.raises(KeyboardInterrupt):
        spread(impatient, range(40), least=10)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_where_no_process_can_be_started_the_work_is_done_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> int:
        raise OSError("no more processes")

    monkeypatch.setattr(os, "fork", refused)
    assert [pid for pid, _ in spread(doubled, range(20), least=10)] == [PARENT, PARENT]
