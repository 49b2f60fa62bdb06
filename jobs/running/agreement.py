"""How ranks of unequal speed end a piece of work together, without waiting in a collective.

They agree through keys of the store that all of them see. The first that was told to stop, or the
last that has finished, decides for all; the others look it up whenever it suits them. So a rank may
be hours behind, while a collective would give up after two minutes.
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from jobs import processes
from jobs.errors import EnvironmentFault
from jobs.processes import Process, StopFlag
from jobs.running.cell_run import Job, Stopped
from snnlib.distributed import World

LOOK_S = 0.5
"""Seconds between two looks at the store at least."""
POLL_S = 0.1
"""Seconds between two looks of a rank that waits at most; the first ones follow at once."""
SILENT_S = 600.0
"""Seconds after which ranks that do not look any more are given up; they look at each pass of a
network, which takes seconds."""

Verdict = Literal["stop", "done"]


class Agreement:
    """One piece of work of all ranks.

    Args:
        world: the ranks.
        stop: whether a signal came to this one.
        peers: processes of all ranks, by rank.
        name: of the work, the same on all ranks and never used before.
    """

    def __init__(
        self, world: World, stop: StopFlag, peers: Sequence[Process], *, name: str
    ) -> None:
        self._world, self._stop, self._peers, self._name = world, stop, peers, name
        self._due = 0.0

    @classmethod
    def of(cls, job: Job) -> "Agreement":
        """For the next piece of work of a job; all ranks come by its pieces in the same order."""
        return cls(job.world, job.stop, job.peers, name=f"work-{next(job.pieces)}")

    def look(self) -> None:
        """Leave the work if any rank was told to stop; cheap enough for every pass of a network.

        Raises:
            Stopped: on all ranks, sooner or later.
            EnvironmentFault: a rank has died.
        """
        now = time.monotonic()
        if not self._stop.up and now < self._due:
            return
        self._due = now + LOOK_S
        self._add("looks", 1)
        self._answer_signal()
        if self._verdict() == "stop":
            raise Stopped

    def count(self, more: int = 0) -> int:
        """Units that all ranks have done so far, after adding some."""
        return self._add("units", more)

    def end_together(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until every rank has done its part.

        Args:
            meanwhile: called several times a second.

        Raises:
            Stopped: on all ranks, if one was told to stop before all had finished.
            EnvironmentFault: a rank has died, or does nothing any more.
        """
        if self._add("finished", 1) == self._world.size:
            self._decide("done")
        looks, moved, pause = -1, time.monotonic(), POLL_S / 64
        while (verdict := self._verdict()) is None:
            self._answer_signal()
            self._refuse_the_dead()
            before, looks = looks, self._add("looks", 0)
            if looks != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > SILENT_S:
                raise EnvironmentFault(
                    f"{self._world.size - self._add('finished', 0)} of {self._world.size} ranks "
                    f"have done nothing for {SILENT_S:.0f} s; see the logs of each rank and node"
                )
            meanwhile()
            time.sleep(pause)
            pause = min(2 * pause, POLL_S)
        if verdict == "stop":
            raise Stopped

    def _answer_signal(self) -> None:
        """Ask all ranks to stop if a signal came here; torchrun sends one if a rank has died."""
        if self._stop.up:
            self._refuse_the_dead()
            self._decide("stop")

    def _decide(self, verdict: Verdict) -> None:
        """Decide, unless it was decided already."""
        self._world.store.compare_set(f"{self._name}/verdict", "", verdict)

    def _verdict(self) -> Verdict | None:
        key = f"{self._name}/verdict"
        if not self._world.store.check([key]):
            return None
        return "stop" if self._world.store.get(key) == b"stop" else "done"

    def _add(self, what: str, more: int) -> int:
        return self._world.store.add(f"{self._name}/{what}", more)

    def _refuse_the_dead(self) -> None:
        """Hold that no rank of this machine is gone.

        Raises:
            EnvironmentFault: if one is.
        """
        for rank, peer in enumerate(self._peers):
            if processes.alive(peer) is False:
                raise EnvironmentFault(
                    f"rank {rank} (pid {peer.pid}) has died: killed from outside, or out of memory?"
                )
