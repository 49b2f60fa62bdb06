"""A pid alone names nobody; and each signal that is handed on stops."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from jobs import processes
from jobs.planning import request

SIGNALS = request.SIGNALS.split(",")


@pytest.fixture
def flag() -> Iterator[processes.StopFlag]:
    before = {name: signal.getsignal(signal.Signals[name]) for name in SIGNALS}
    yield processes.StopFlag()
    for name, handler in before.items():
        signal.signal(signal.Signals[name], handler)


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_that_torchrun_hands_on_asks_to_stop(
    flag: processes.StopFlag, name: str
) -> None:
    # a handler that is not ours would end the tests
    assert callable(signal.getsignal(signal.Signals[name]))
    signal.raise_signal(signal.Signals[name])
    assert flag.up


def test_this_process_is_alive() -> None:
    assert processes.alive(processes.this()) is True


def test_the_same_pid_with_another_start_is_another_process() -> None:
    other = replace(processes.this(), start=1)
    assert processes.alive(other) is False


def test_another_host_is_unknown() -> None:
    assert processes.alive(replace(processes.this(), host="elsewhere")) is None


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = processes.identify(child.pid)
        assert found is not None
        child.kill()
        while processes.identify(child.pid) is not None:
            pass
        assert processes.alive(found) is False
        assert child.stdin is not None
        child.stdin.close()
