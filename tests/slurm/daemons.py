"""Daemons without systemd: in sessions of their own, ended whether or not somebody reaps them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path


def eventually(condition: Callable[[], object], what: str, *, timeout_s: float = 30) -> None:
    """Return as soon as a condition holds; asked again after 20 ms.

    Raises:
        TimeoutError: it did not come true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


def _stat(pid: int) -> tuple[str, str] | None:
    """State letter and start time of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]


def breathes(pid: int) -> bool:
    """Whether a process lives; PID 1 of a container may leave its zombie for ever."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is none."""
    return (_stat(pid) or ("", ""))[1]


def runs(pid: int, start: str) -> bool:
    """Whether this very process lives, and not another that has its number now."""
    return breathes(pid) and start_time(pid) == start


class Daemons:
    """The daemons of one folder; their process ids lie in `run`, their output in `log`."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str], **options: object) -> None:
        """Start a daemon in the foreground of its own session, unless it runs."""
        if self.pid(name):
            return
        given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        with (self._folder / f"log/{name}.out").open("ab") as log:
            child = subprocess.Popen(
                [*argv, *given],
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self._folder / f"run/{name}.pid").write_text(f"{child.pid} {start_time(child.pid)}")
        self._children[name] = child

    def pid(self, name: str) -> int | None:
        """Process id of a daemon that runs."""
        if name in self._children:
            self._children[name].poll()  # reaps it
        try:
            pid, start = (self._folder / f"run/{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if runs(int(pid), start) else None

    def end(self, kind: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End all daemons whose names begin so; one that stays is killed after 10 s."""
        names = [path.stem for path in (self._folder / "run").glob(f"{kind}*.pid")]
        for number in (how, signal.SIGKILL):
            for pid in filter(None, map(self.pid, names)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                eventually(lambda: not any(map(self.pid, names)), f"{kind} ends", timeout_s=10)
                break
        for name in names:
            if child := self._children.pop(name, None):
                child.wait()
            (self._folder / f"run/{name}.pid").unlink()


def job_processes(conf: str, nodes: Collection[str], *, steps: bool) -> list[int]:
    """Processes that a cluster started for jobs.

    Args:
        conf: its SLURM_CONF.
        nodes: where the jobs run.
        steps: with their supervisors, which do not say what node they belong to.
    """
    ours = f"SLURM_CONF={conf}".encode()
    places = {f"SLURMD_NODENAME={name}".encode() for name in nodes}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = {*(folder / "environ").read_bytes().split(b"\0")}
            if ours not in variables or not breathes(int(folder.name)):
                continue
            supervises = (folder / "comm").read_text().strip() == "slurmstepd"
            if places & variables or (steps and supervises):
                found.append(int(folder.name))
    return found


def kill_all(pids: Collection[int]) -> None:
    """Kill processes; those that are gone are no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
