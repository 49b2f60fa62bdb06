"""A pid alone names nobody."""

import subprocess
import sys
from dataclasses import replace

from jobs import processes


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
