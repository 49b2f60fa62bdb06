"""A real SLURM cluster of virtual nodes on this machine: no systemd, root or ordinary user.

By hand:
    python tests/slurm/cluster.py start DIR [--nodes 3] [--accounting] [--max-array-size 1001]
    eval "$(python tests/slurm/cluster.py env DIR)"
    python tests/slurm/cluster.py stop DIR

Needs the packages slurmctld, slurmd, slurm-client and munge; for accounting also slurmdbd and
mariadb-server. Everything of a cluster lies in its folder; give it a short path, since the names
of sockets are limited to 107 characters.
"""

import argparse
import contextlib
import dataclasses
import getpass
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # by hand, from any directory
from tests.slurm import settings
from tests.slurm.daemons import Daemons, eventually, job_processes, kill_all, runs, start_time

BINARIES = ("sbatch", "slurmctld", "slurmd", "munged")
ACCOUNTING_BINARIES = ("slurmdbd", "mariadbd", "mariadb-install-db")
FREEZER = Path("/sys/fs/cgroup/freezer")
_SCHEDULER_VARIABLES = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SRUN_", "SINFO_")
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def missing(*, accounting: bool = False) -> list[str]:
    """Programs that a cluster needs and this machine lacks."""
    wanted = BINARIES + (ACCOUNTING_BINARIES if accounting else ())
    return [name for name in wanted if shutil.which(name, path=_PATH) is None]


class Cluster:
    """One cluster in one folder.

    Attributes:
        options: what it is made of.
        env: a whole environment for commands that shall talk to it.
        nodes: names of its nodes; they do not resolve, but have an address in `scontrol`.
    """

    def __init__(self, folder: Path, options: settings.Options | None = None) -> None:
        """Describe a cluster; an existing folder keeps the options it was made with.

        Args:
            folder: where everything goes, made by `start`.
            options: of a new cluster.
        """
        self.folder = folder.resolve()
        self._state = self.folder / "cluster.json"
        if self._state.exists():
            self.options = settings.Options(**json.loads(self._state.read_text())["options"])
        else:
            chosen = options or settings.Options()
            cgroup = os.geteuid() == 0 and _freezer_works()
            self.options = dataclasses.replace(
                chosen,
                port=chosen.port or _free_ports(chosen.nodes + 3),
                proctrack=chosen.proctrack or ("cgroup" if cgroup else "linuxproc"),
            )
        clean = {k: v for k, v in os.environ.items() if not k.startswith(_SCHEDULER_VARIABLES)}
        self.env = {**clean, "PATH": _PATH, "SLURM_CONF": str(self.folder / "etc/slurm.conf")}
        self._daemons = Daemons(self.folder, self.env)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return self.options.node_names

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start whatever does not run, and wait until every node can take jobs."""
        self._write()
        self._start_munged()
        if self.options.accounting:
            self._start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.resume_nodes()

    def stop(self) -> None:
        """End every daemon and every process of every job; the folder stays."""
        for kind in ("slurmctld", "slurmd-"):  # before the jobs: nobody shall start them again
            self._daemons.end(kind)

        def left() -> list[int]:
            pids = job_processes(self.env["SLURM_CONF"], self.nodes, steps=True)
            kill_all(pids)
            return pids

        eventually(lambda: not left(), "processes of jobs end")
        for kind in ("slurmdbd", "mariadbd", "munged"):
            self._daemons.end(kind)
        for node in self.nodes:
            _remove_cgroup(FREEZER / f"slurm_{node}")

    def _write(self) -> None:
        for name in ("etc", "run", "log", "state", "spool", "dev", "munge"):
            (self.folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        key = self.folder / "munge/munge.key"
        if not key.exists():
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
        for index in range(self.options.gpus):
            device = self.folder / f"dev/nvidia{index}"
            if not device.is_symlink():
                device.symlink_to("/dev/null")
        for name, text in settings.files(self.folder, self.options, user=getpass.getuser()).items():
            path = self.folder / "etc" / name
            path.touch(mode=0o600)
            path.write_text(text)
        owner = {"pid": os.getpid(), "start": start_time(os.getpid())}
        state = {"options": dataclasses.asdict(self.options), "owner": owner}
        self._state.write_text(json.dumps(state))

    def _start_munged(self) -> None:
        munge = self.folder / "munge"
        self._daemons.start(
            "munged",
            ["munged", "--foreground", "--force"],
            socket=munge / "munge.socket",
            key_file=munge / "munge.key",
            seed_file=munge / "seed",
            pid_file=self.folder / "run/munged.own",
            log_file=self.folder / "log/munged.log",
        )
        eventually(lambda: _listens(munge / "munge.socket"), "munged answers")

    def _start_accounting(self) -> None:
        data, sock = self.folder / "mysql", self.folder / "run/mysql.sock"
        user = f"--user={getpass.getuser()}"
        if not (data / "mysql").is_dir():
            install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", user]
            self.run(*install, "--auth-root-authentication-method=normal", "--skip-test-db")
        self._daemons.start(
            "mariadbd",
            ["mariadbd", "--no-defaults", user],
            datadir=data,
            socket=sock,
            bind_address="127.0.0.1",
            port=self.options.database_port,
            pid_file=self.folder / "run/mariadbd.own",
            innodb_buffer_pool_size="64M",
            innodb_flush_log_at_trx_commit=0,
            innodb_lock_wait_timeout=900,
        )
        eventually(lambda: _listens(sock), "mariadbd answers")
        self.run("mariadb", "--no-defaults", f"--socket={sock}", "-uroot", "-e", settings.GRANTS)
        self._daemons.start("slurmdbd", ["slurmdbd", "-D"])
        eventually(lambda: self._answers("sacctmgr", "-n", "list", "cluster"), "slurmdbd answers")
        if settings.NAME not in self.run("sacctmgr", "-n", "list", "cluster", "format=cluster%20"):
            user, account = getpass.getuser(), settings.ACCOUNT
            for words in (
                ["cluster", settings.NAME],
                ["account", account],
                ["user", user, f"account={account}", f"defaultaccount={account}"],
            ):
                self.run("sacctmgr", "-i", "add", *words)

    # -- parts, for tests that break them -----------------------------------------------------

    def start_controller(self) -> None:
        """Start slurmctld and wait for its answer."""
        self._daemons.start("slurmctld", ["slurmctld", "-D"])
        eventually(lambda: self._answers("scontrol", "ping"), "slurmctld answers")

    def kill_controller(self) -> None:
        """End slurmctld without a chance to save its state."""
        self._daemons.end("slurmctld", signal.SIGKILL)

    def wait_saved(self, job_id: str) -> None:
        """Wait until slurmctld has written down a job, as it does seconds after each change."""
        path = self.folder / "state/job_state"
        marker = f"saved-{time.monotonic_ns()}"
        self.run("scontrol", "update", f"jobid={job_id}", f"comment={marker}")
        eventually(lambda: path.exists() and marker.encode() in path.read_bytes(), "it is saved")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node; it may take jobs a moment later (`resume_nodes`)."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self._daemons.start(f"slurmd-{node}", ["slurmd", "-D", "-N", node])

    def kill_node(self, node: str, *, jobs: bool = True) -> None:
        """End the daemon of a node, and its jobs unless they shall outlive it."""
        self._daemons.end(f"slurmd-{node}", signal.SIGKILL)
        if jobs:
            kill_all(job_processes(self.env["SLURM_CONF"], [node], steps=False))

    def resume_nodes(self) -> None:
        """Wait until every node can take jobs; drained and dead ones are resumed."""

        def usable() -> bool:
            states = dict(line.split() for line in self.run(*sinfo).splitlines())
            bad = [n for n, state in states.items() if state.startswith(("dr", "do"))]
            if bad and all(self._daemons.pid(f"slurmd-{n}") for n in bad):
                self._answers("scontrol", "update", f"nodename={','.join(bad)}", "state=resume")
            up = ("idle", "mix", "alloc")
            return all(s in up for s in states.values()) and len(states) == len(self.nodes)

        sinfo = ("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %t")
        eventually(usable, "all nodes are up")

    # -- questions and work -------------------------------------------------------------------

    def run(self, *argv: str, timeout_s: float = 60) -> str:
        """Standard output of a command that must succeed."""
        done = subprocess.run(
            argv, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _answers(self, *argv: str) -> bool:
        try:
            self.run(*argv, timeout_s=10)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
        return True

    def sbatch(self, *arguments: str) -> str:
        """Submit; the job id."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *arguments).strip()

    def squeue(self, *arguments: str) -> str:
        """What squeue prints, without its header."""
        return self.run("squeue", "--noheader", "--array", *arguments)

    def states(self, job_id: str) -> dict[str, str]:
        """State of each task of a job that the controller still knows, by its id."""
        lines = self.squeue("--states=all", f"--jobs={job_id}", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_state(self, job_id: str, *wanted: str, timeout_s: float = 30) -> None:
        """Wait until all tasks of a job are in one of these states."""
        what = f"job {job_id} {' or '.join(wanted)}"
        eventually(lambda: {*self.states(job_id).values()} <= {*wanted}, what, timeout_s=timeout_s)

    def wait_idle(self, timeout_s: float = 60) -> None:
        """Wait until no job is left and every node can take one."""
        eventually(lambda: not self.squeue().strip(), "the queue is empty", timeout_s=timeout_s)
        self.resume_nodes()

    def clear(self) -> None:
        """Cancel all jobs and wait until they are gone, so that the next test starts fresh."""
        self.run("scancel", f"--user={getpass.getuser()}")
        self.wait_idle()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _free_ports(count: int) -> int:
    """First of `count` neighbouring ports that nobody uses, below those the kernel hands out."""
    while True:
        first = random.randrange(18_000, 30_000 - count)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("", port))
            return first


def _freezer_works() -> bool:
    """Whether jobs can be tracked the way real clusters do it."""
    probe = FREEZER / f"probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _remove_cgroup(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()


def sweep(parent: Path, prefix: str) -> None:
    """Stop clusters whose starter was killed before it could, and remove their folders."""
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            owner = json.loads((folder / "cluster.json").read_text())["owner"]
            if not runs(owner["pid"], owner["start"]):
                Cluster(folder).stop()
                shutil.rmtree(folder)


@dataclass(frozen=True)
class _Arguments:
    command: str
    folder: Path
    options: settings.Options


def _arguments() -> _Arguments:
    parser = argparse.ArgumentParser(description="A SLURM cluster of virtual nodes.")
    parser.add_argument("command", choices=("start", "env", "stop"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and mariadb")
    parser.add_argument("--max-array-size", type=int, default=1001)
    given = vars(parser.parse_args())
    return _Arguments(given.pop("command"), given.pop("folder"), settings.Options(**given))


def main() -> None:
    """The command line."""
    given = _arguments()
    cluster = Cluster(given.folder, given.options)
    match given.command:
        case "start":
            if absent := missing(accounting=cluster.options.accounting):
                sys.exit(f"not installed: {', '.join(absent)}")
            cluster.start()
        case "stop":
            cluster.stop()
        case _:
            print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}")


if __name__ == "__main__":
    main()
