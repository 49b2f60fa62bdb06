"""Timing: whole processes and alternated pairs, each repeated, with every raw value kept."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REPEATS = 5
TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One line of the table.

    Attributes:
        what: was measured.
        unit: of the values, e.g. "s"; empty for a ratio.
        values: raw, in the order they were taken.
        target: which the median shall stay below, if there is one.
        at_least: which the median shall reach, if there is one.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    target: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps to its targets; None without any."""
        if self.target is None and self.at_least is None:
            return None
        below = self.target is None or self.median < self.target
        return below and (self.at_least is None or self.median >= self.at_least)


@dataclass(frozen=True)
class Run:
    """One process from its start to its end.

    Attributes:
        seconds: wall time.
        memory_mb: ru_maxrss; never less than the resident size of the measuring process, whose
            pages a new process shares until it starts its program.
        output: standard output and error.
    """

    seconds: float
    memory_mb: float
    output: str


def process(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Run:
    """Run a program to its end.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        child = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {child.returncode}: {text[-2000:]}")
    return Run(seconds, usage.ru_maxrss / 1024, text)


def repeated(action: Callable[[], Run], times: int = REPEATS) -> list[Run]:
    """An action so many times, after one that does not count and warms the caches."""
    action()
    return [action() for _ in range(times)]


def alternated(
    first: Callable[[], float], second: Callable[[], float], times: int = REPEATS
) -> tuple[float, ...]:
    """How many times the first's value the second's is, measured side by side.

    They take turns, and so does who begins: a machine that slows down meanwhile slows both.
    """
    first(), second()
    ratios = []
    for turn in range(times):
        if turn % 2:
            b, a = second(), first()
        else:
            a, b = first(), second()
        ratios.append(b / a)
    return tuple(ratios)
