"""Sinks: where metrics go besides metrics.jsonl, as site.yaml or $SPIKEGRID_SINKS chose.

A sink is for looking at; no result depends on it. Whatever it raises, the training goes on
without it, after one event and one line in the log.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jobs import identity, processes
from jobs.dispatch.site import SINKS_VARIABLE
from jobs.errors import UsageError
from jobs.layout import RunRoot
from jobs.running.cell_run import CellRun, Fenced, Stopped

End = Literal["completed", "stopped", "fenced", "failed"]

PIPE_BYTES = 1 << 20
"""Lines that may wait for the process of a run; more than a thousand epochs."""
FINISH_S = 20.0
"""Seconds that a run may take to finish after a training; most of them go into its start."""
HURRY_S = 2.0
"""The same when the job has to end."""


class Sink(Protocol):
    """Takes the metrics of one attempt at a training."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Take the line of one epoch, as metrics.jsonl has it; called in ascending order."""

    def close(self, end: End) -> None:
        """The attempt's training is over; called once."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a sink may say of a training.

    Attributes:
        root: the run root.
        training_id: of the training.
        label: the cell's name for people.
        attempt: its number.
        spec: what is trained, as plain data.
        stopping: whether the job has to end.
    """

    root: RunRoot
    training_id: str
    label: str
    attempt: int
    spec: Mapping[str, Any]
    stopping: Callable[[], bool]

    @property
    def name(self) -> str:
        """The label as the name of a folder, unique among trainings."""
        return f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', self.label)[:200]}-{self.training_id[:8]}"

    def scalars(self, line: Mapping[str, Any]) -> dict[str, float]:
        """The numbers of an epoch by the names that viewers group them by."""
        judges = "test" if self.spec["regime"]["select"] == "best_test" else "validation"
        found = {key: line[key] for key in ("loss", "lr", "seconds", "images_per_s") if key in line}
        found["accuracy/train"] = line["train_accuracy"]
        if line["validation_total"]:
            share = line["validation_correct"] / line["validation_total"]
            found[f"accuracy/{judges}"] = share
        rates = line.get("firing_rates", {})
        return found | {f"firing_rate/{layer}": rate for layer, rate in rates.items()}


class TensorBoard:
    """One event file for each attempt; the file of a later attempt replaces what it repeats."""

    def __init__(self, about: About) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary, self._about = Event, Summary, about
        folder = about.root.tensorboard / about.name
        folder.mkdir(parents=True, exist_ok=True)
        # viewers read the files of a folder in the order of their names
        name = f"events.out.tfevents.{about.attempt:010d}.{processes.host()}.{os.getpid()}"
        # unbuffered: no thread, nothing to lose, and a full disk shows at once
        self._file = (folder / name).open("ab", buffering=0)
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        # has viewers drop what an earlier attempt wrote of this epoch and later ones
        self._write(step=1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch."""
        values = [
            self._summary.Value(tag=tag, simple_value=value)
            for tag, value in self._about.scalars(line).items()
        ]
        self._write(step=line["epoch"], summary=self._summary(value=values))

    def close(self, end: End) -> None:
        """Close the file."""
        del end
        self._file.close()


class Wandb:
    """An offline run of Weights & Biases, in a process of its own (`jobs.running.wandb_run`).

    wandb starts threads and a service, and may wait for minutes; there it cannot hold up a rank.
    """

    def __init__(self, about: About) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise ImportError("wandb is not installed; run: pip install wandb")
        self._about = about
        about.root.wandb.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jobs.running.wandb_run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        os.set_blocking(self._pipe.fileno(), False)
        with contextlib.suppress(OSError):  # the user's other pipes may have used up the allowance
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self._send(
                {
                    "root": str(about.root.path),
                    "folder": str(about.root.wandb),
                    "id": f"{about.training_id}-{about.attempt}",
                    "name": about.label,
                    "group": about.label.rpartition("/")[0],
                    "config": {"training_id": about.training_id, **about.spec},
                }
            )
        except OSError:
            self._end()
            raise

    def _send(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        if self._process.poll() is not None:
            raise BrokenPipeError(self._ended())
        if self._pipe.write(data) != len(data):
            raise BlockingIOError("its process does not keep up")

    def _ended(self) -> str:
        return f"its process ended with code {self._process.returncode}; see the log"

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Hand the numbers of an epoch on."""
        self._send({"epoch": line["epoch"], "scalars": self._about.scalars(line)})

    def close(self, end: End) -> None:
        """Let the run finish, unless that takes too long."""
        try:
            self._send({"end": end})
            self._pipe.close()
            began = time.monotonic()
            while self._process.poll() is None:
                hurry = end != "completed" or self._about.stopping()
                if time.monotonic() - began > (HURRY_S if hurry else FINISH_S):
                    raise TimeoutError("did not finish in time; what it took so far is kept")
                time.sleep(0.05)
            if self._process.returncode:
                raise ChildProcessError(self._ended())
        finally:
            self._end()

    def _end(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.wait()


SINKS: dict[str, Callable[[About], Sink]] = {"tensorboard": TensorBoard, "wandb": Wandb}


class Sinks:
    """The sinks of one attempt; one that raises is left out from then on."""

    def __init__(self, run: CellRun, names: Iterable[str]) -> None:
        self._run = run
        self._open: dict[str, Sink] = {}
        for name in names:
            with self._shield(name):
                if name not in SINKS:
                    raise UsageError(f"no such sink (has {', '.join(SINKS)})")
                self._open[name] = SINKS[name](
                    About(
                        root=run.job.root,
                        training_id=run.order["training_id"],
                        label=run.label,
                        attempt=run.number,
                        spec=identity.plain(run.spec),
                        stopping=lambda: run.job.stop.up,
                    )
                )

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Hand the line of an epoch to every sink."""
        for name, sink in [*self._open.items()]:
            with self._shield(name):
                sink.epoch(line)

    def close(self, end: End) -> None:
        """Close every sink."""
        for name, sink in [*self._open.items()]:
            with self._shield(name):
                sink.close(end)

    @contextmanager
    def _shield(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            broken = self._open.pop(name, None)
            why = f"{type(error).__name__}: {error}"[:500]
            with contextlib.suppress(OSError):
                self._run.event("sink", name=name, why=why)
            self._run.say(f"goes on without {name}: {why}")
            with contextlib.suppress(Exception):
                if broken is not None:
                    broken.close("failed")


@contextmanager
def opened(run: CellRun, history: Iterable[Mapping[str, Any]]) -> Iterator[Sinks]:
    """The chosen sinks while a training runs.

    Args:
        run: the attempt; ranks that do not lead have no sinks.
        history: lines of epochs that earlier attempts finished.
    """
    chosen = filter(None, os.environ.get(SINKS_VARIABLE, "").split(","))
    sinks = Sinks(run, chosen if run.leads else ())
    for line in history:
        sinks.epoch(line)
    end: End = "failed"
    try:
        yield sinks
        end = "completed"
    except (Stopped, Fenced) as reason:
        end = "stopped" if isinstance(reason, Stopped) else "fenced"
        raise
    finally:
        sinks.close(end)
