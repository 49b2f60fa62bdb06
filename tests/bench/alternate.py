"""Time the same work in two systems side by side, each in a process and an interpreter of its own.

A worker is any program that reads names of work from its standard input, one a line, does each, and
answers with one line on its standard output: the seconds it took and, if there is one, a number
that both systems should agree on, e.g. a loss.

    ours  -> train            <- 0.211 2.3031
    other -> train            <- 0.350 2.3031

`serve` is such a program's loop; it needs the standard library alone, so the other interpreter can
import it too. `pair` starts two workers and lets them take turns:

    with alternate.pair([sys.executable, "-m", "a"], [python, "-m", "b"]) as workers:
        timing = alternate.compare(workers, "train")
    timing.ratio  # how many times ours is as fast
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.bench.measure import Measurement

REPOSITORY = Path(__file__).resolve().parents[2]
WARM_UP = 2
TURNS = 7
TIMEOUT_S = 1200
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One work done in turns; the warm-up is left out.

    Attributes:
        ours_s: seconds of each run, in order.
        other_s: the same of the other system.
        outcomes: what both answered besides, of the very first run: ours, the other's.
    """

    ours_s: tuple[float, ...]
    other_s: tuple[float, ...]
    outcomes: tuple[float | None, float | None]

    @property
    def ratio(self) -> float:
        """Median of the other's seconds : median of ours; above 1 ours is faster."""
        return statistics.median(self.other_s) / statistics.median(self.ours_s)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratio turn by turn."""
        return tuple(b / a for a, b in zip(self.ours_s, self.other_s, strict=True))

    def __str__(self) -> str:
        """Medians with ranges, and their ratio."""
        ours, other = (
            f"{statistics.median(s):.4g} s ({min(s):.4g} to {max(s):.4g})"
            for s in (self.ours_s, self.other_s)
        )
        return f"ours {ours}, other {other}: {self.ratio:.2f} x"


class Worker:
    """A running worker process."""

    def __init__(self, process: "subprocess.Popen[str]", errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors

    def run(self, name: str) -> tuple[float, float | None]:
        """Let it do a work: seconds and outcome.

        Raises:
            RuntimeError: it ended, was silent for TIMEOUT_S, or answered something else.
        """
        process = self._process
        assert process.stdin, "opened by `start`"
        assert process.stdout, "opened by `start`"
        watch = threading.Timer(TIMEOUT_S, process.kill)
        watch.start()
        try:
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            answer = process.stdout.readline().split()
            seconds, *outcome = map(float, answer)
        except (OSError, ValueError) as error:
            process.kill()
            process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace")[-2000:]
            command = " ".join(map(str, process.args if isinstance(process.args, list) else ()))
            raise RuntimeError(f"{command}: no seconds for {name!r}: {said}") from error
        finally:
            watch.cancel()
        return seconds, outcome[0] if outcome else None


@contextmanager
def start(argv: Sequence[str], *, threads: int = 1) -> Iterator[Worker]:
    """Start a worker in the repository's root, from where it can import `tests.bench`.

    Args:
        argv: its program.
        threads: CPU threads of its linear algebra.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            list(argv),
            cwd=REPOSITORY,
            env=environment(os.environ, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Worker(process, errors)
        finally:
            process.kill()
            process.communicate()


def environment(own: Mapping[str, str], threads: int) -> dict[str, str]:
    settings = dict.fromkeys(_THREADS, str(threads))
    return {**own, **settings, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def pair(
    ours: Sequence[str], other: Sequence[str], *, threads: int = 1
) -> Iterator[tuple[Worker, Worker]]:
    """Start two workers with the same process settings."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(start(ours, threads=threads)),
            stack.enter_context(start(other, threads=threads)),
        )


def compare(
    workers: tuple[Worker, Worker], name: str, *, turns: int = TURNS, warm_up: int = WARM_UP
) -> Timing:
    """Let two workers do the same work in turns, and so who begins, after some runs to warm up.

    A machine that slows down meanwhile slows both.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    outcomes: tuple[list[float | None], list[float | None]] = ([], [])
    for turn in range(warm_up + turns):
        for place in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds, outcome = workers[place].run(name)
            taken[place].append(seconds)
            outcomes[place].append(outcome)
    ours_s, other_s = (tuple(seconds[warm_up:]) for seconds in taken)
    return Timing(ours_s=ours_s, other_s=other_s, outcomes=(outcomes[0][0], outcomes[1][0]))


def measurements(timing: Timing, what: str, at_least: float) -> Iterator[Measurement]:
    """Three lines of the bench's table: seconds of either, and the ratio turn by turn."""
    yield Measurement(what=f"{what}, ours", unit="s", values=timing.ours_s)
    yield Measurement(what=f"{what}, original", unit="s", values=timing.other_s)
    yield Measurement(
        what=f"{what}, original : ours", unit="x", values=timing.ratios, at_least=at_least
    )


def serve(works: Mapping[str, Callable[[], float | None]]) -> None:
    """Do works as they are named on standard input, until it ends.

    What a work prints goes to standard error, so that it cannot be taken for an answer.

    Args:
        works: by name; each returns its outcome, or None.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        work = works[line.strip()]
        began = time.perf_counter()
        outcome = work()
        seconds = time.perf_counter() - began
        answers.write(f"{seconds}\n" if outcome is None else f"{seconds} {outcome}\n")
        answers.flush()
