"""Processes by identity: host, boot, pid and start time together never name another one."""

import contextlib
import os
import signal
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2)
"""Signals that torchrun hands on; a terminal that closes sends one to the ranks themselves."""
_PR_SET_PDEATHSIG = 1
_START_TIME = 19
"""Position of `starttime` in /proc/PID/stat after the command name (proc(5), field 22)."""


@dataclass(frozen=True)
class Process:
    """One process of one boot of one host.

    Attributes:
        start: start time in clock ticks since boot.
        boot: the kernel's boot id.
    """

    host: str
    pid: int
    start: int
    boot: str

    def data(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)

    @staticmethod
    def of(data: dict[str, Any]) -> "Process":
        """Undo `data`; other keys are passed over."""
        return Process(data["host"], data["pid"], data["start"], data["boot"])


@cache
def host() -> str:
    """Name of this machine."""
    return os.uname().nodename


@cache
def boot() -> str:
    """This boot of this machine; empty where the kernel does not tell."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time of a process of this machine."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[_START_TIME])


def identify(pid: int) -> Process | None:
    """A process of this machine, or None if there is no such process (a zombie is none)."""
    stat = _stat(pid)
    return None if stat is None or stat[0] in "ZX" else Process(host(), pid, stat[1], boot())


def this() -> Process:
    """The calling process."""
    found = identify(os.getpid())
    assert found is not None
    return found


def alive(process: Process) -> bool | None:
    """Whether a process still runs; None if it belongs to another machine."""
    if process.host != host():
        return None
    return identify(process.pid) == process


class StopFlag:
    """Set by a signal, looked at between two steps."""

    def __init__(self) -> None:
        self.up = False
        for number in STOPPING:
            signal.signal(number, self._raise)

    def _raise(self, signum: int, frame: object) -> None:
        del signum, frame
        self.up = True


def die_with_parent() -> None:
    """Have the kernel kill this process when the process that started it ends.

    A rank that outlives its agent goes on writing checkpoints beside its successor.
    """
    import ctypes  # only ranks and tasks need it

    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request took effect
        os.kill(os.getpid(), signal.SIGKILL)
