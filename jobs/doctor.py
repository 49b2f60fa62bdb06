"""Examine this machine, its cluster and the run root's filesystem; each finding has a way out.

Nothing that needs torch is imported here: a child process tells what torch and the GPUs say. The
run root is never made, and the temporary folder that is tried out is removed again.
"""

import importlib.metadata
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs import datasets, files, scheduler, site
from jobs.errors import SpikegridError
from jobs.layout import RunRoot
from jobs.slurm_text import Limits
from snnlib.spec.data import FILES

Status = Literal["ok", "warn", "fail"]

PYTHON = (3, 11)
PACKAGES = (
    "torch", "torchvision", "spikingjelly", "submitit", "pyyaml", "pydantic", "pandas", "pyarrow",
    "numpy", "safetensors", "rich", "matplotlib",
)  # fmt: skip
PROBE_TIMEOUT_S = 180.0
"""The first import of torch from a cold network filesystem takes minutes."""

_SLOW_SYNC_S = 0.1
_SLOW_LISTING_S = 1.0
_LITTLE_BYTES = 5 * 10**9
_FEW_INODES = 50_000

_PROBE = """
import json, torch
count = torch.cuda.device_count()
names = [torch.cuda.get_device_name(i) for i in range(count)]
for i in range(count):
    torch.ones(1, device=f"cuda:{i}").add_(1).cpu()
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": names}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: ok, warn (works, but read this) or fail (something will not work).
        found: in words for people.
        way_out: what to do; empty if nothing has to be done.
    """

    name: str
    status: Status
    found: str
    way_out: str = ""


def examine(root: Path, data: Path, *, env: Mapping[str, str]) -> list[Finding]:
    """Look at everything that experiments rest on.

    Args:
        root: the run root; it need not exist.
        data: the folder of data sets, likewise.
        env: the environment of the process.
    """
    return [
        _python(),
        _packages(),
        *_torch(env),
        *_slurm(env),
        *_site(env),
        *_filesystem(root),
        _data(data),
        *_pickles(root),
    ]


def site_or_empty(env: Mapping[str, str]) -> site.Site:
    """The user's site.yaml, or an empty one if it is wrong: a finding says so."""
    try:
        return site.load(env)
    except SpikegridError:
        return site.Site()


def _python() -> Finding:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info >= PYTHON:
        return Finding("python", "ok", found)
    return Finding("python", "fail", found, "make a virtual environment with Python 3.11 or newer")


def _packages() -> Finding:
    versions, absent = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        way_out = f"{sys.executable} -m pip install -e ."
        return Finding("packages", "fail", f"not installed: {', '.join(absent)}", way_out)
    return Finding("packages", "ok", ", ".join(versions))


def _torch(env: Mapping[str, str]) -> Iterator[Finding]:
    argv = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(
            argv,
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = f"importing torch took more than {PROBE_TIMEOUT_S:g} s"
        yield Finding("torch", "fail", found, "put the virtual environment on a faster filesystem")
        return
    try:
        data = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        way_out = f"see the whole message: {sys.executable} -c 'import torch; torch.cuda.init()'"
        yield Finding("torch", "fail", last, way_out)
        return
    yield Finding("torch", "ok", f"{data['torch']}, built for {data['cuda'] or 'CPU'}")
    yield _gpus(data["gpus"], env.get("CUDA_VISIBLE_DEVICES"), cuda=bool(data["cuda"]))


def _gpus(names: list[str], visible: str | None, *, cuda: bool) -> Finding:
    if names:
        listed = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
        limited = f" (CUDA_VISIBLE_DEVICES={visible})" if visible is not None else ""
        return Finding("gpus", "ok", listed + limited)
    if shutil.which("nvidia-smi") is None:
        return Finding("gpus", "ok", "none on this machine; cells run on the CPU, or on a cluster")
    if not cuda:
        way_out = "install torch from PyPI, without --index-url .../cpu"
        return Finding("gpus", "warn", "a GPU, but torch is built for CPUs only", way_out)
    found = f"nvidia-smi is there, but torch sees no GPU (CUDA_VISIBLE_DEVICES={visible})"
    return Finding("gpus", "warn", found, "unset CUDA_VISIBLE_DEVICES, or update the driver")


def _slurm(env: Mapping[str, str]) -> Iterator[Finding]:
    if shutil.which("sbatch", path=env.get("PATH")) is None:
        found = "no sbatch here; jobs run on this machine (--cluster local)"
        yield Finding("slurm", "ok", found)
        return
    # any id will do: whether sacct answers is the question
    answer = scheduler.ask(job_ids=["1"], now=time.time())
    if not answer.reachable:
        # the packages alone, without a cluster, are no fault of this machine
        alone = "configuration source" in answer.message
        way_out = "ask on a login node of the cluster, or use --cluster local"
        yield Finding("slurm", "warn" if alone else "fail", answer.message, way_out)
        return
    limits = answer.limits
    live = sum(job.live for job in answer.jobs.values())
    found = f"SLURM {limits.version}; you have {live:,} jobs queued or running"
    yield Finding("slurm", "ok", found)
    found = (
        f"{limits.max_array_size:,} jobs fit into one array (MaxArraySize), {limits.max_job_count:,} "
        "jobs of all users into the cluster (MaxJobCount); longer submissions are cut into arrays"
    )
    yield Finding("slurm limits", "ok", found)
    yield _preemption(limits)
    yield _accounting(limits, answered="sacct" in answer.source, message=answer.message)


def _preemption(limits: Limits) -> Finding:
    kill = f"a stopped job has {limits.kill_wait_s} s to save (KillWait)"
    mode = limits.preempt_mode.upper()
    if "REQUEUE" in mode:
        found = f"jobs with higher priority stop yours; SLURM queues yours again; {kill}"
        return Finding("slurm preemption", "ok", found)
    if "CANCEL" in mode:
        found = f"jobs with higher priority cancel yours; {kill}"
        way_out = "after a preemption run `resume`: cells go on from their checkpoints"
        return Finding("slurm preemption", "warn", found, way_out)
    return Finding("slurm preemption", "ok", f"running jobs are not stopped for others; {kill}")


def _accounting(limits: Limits, *, answered: bool, message: str) -> Finding:
    if answered:
        found = "sacct answers: how a job ended is known for as long as the site keeps it"
        return Finding("slurm accounting", "ok", found)
    minutes = limits.min_job_age_s / 60
    if limits.accounting:
        way_out = "tell the site's administrators; spikegrid goes on with squeue and its own files"
        return Finding("slurm accounting", "warn", message, way_out)
    found = (
        f"this cluster keeps none: how a job was killed is known for {minutes:g} min after its end "
        "(MinJobAge); results do not depend on it"
    )
    return Finding("slurm accounting", "ok", found)


def _site(env: Mapping[str, str]) -> Iterator[Finding]:
    try:
        found = site.load(env)
    except SpikegridError as error:
        first, *more = str(error).splitlines()
        rest = f" (and {len(more)} more)" if more else ""
        yield Finding("site.yaml", "fail", first + rest, "correct the file, then run doctor again")
        return
    if found.source is None:
        where = site.path(env) or f"${site.VARIABLE}"
        text = f"none at {where}: jobs take the cluster's default partition and account"
        yield Finding("site.yaml", "ok", text)
        return
    names = ", ".join(found.profiles) or "no profiles"
    yield Finding("site.yaml", "ok", f"{found.source}: {names}")
    if found.python is not None and not os.access(found.python, os.X_OK):
        text = f"python: {found.python} cannot be run on this machine"
        yield Finding("site.yaml", "warn", text, "correct `python`, if the nodes lack it too")


def _filesystem(root: Path) -> Iterator[Finding]:
    """Try out, in a temporary folder, what results rest on."""
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.is_dir())
    where = f"{root}" if place == root.absolute() else f"{root} (not there yet; tried {place})"
    try:
        with tempfile.TemporaryDirectory(prefix=files.TEMPORARY, dir=place) as folder:
            problem = _atomic(Path(folder))
            sync_s, listing_s = _durations(Path(folder))
    except OSError as error:
        found = f"{where}: cannot be written ({error.strerror or error})"
        yield Finding("run root", "fail", found, "choose another with --root or $SPIKEGRID_ROOT")
        return
    if problem:
        way_out = "choose a run root on another filesystem with --root or $SPIKEGRID_ROOT"
        yield Finding("run root", "fail", f"{where}: {problem}", way_out)
    else:
        yield Finding("run root", "ok", f"{where}: rename, link and exclusive create work")
    yield _speed(sync_s, listing_s)
    yield _space(place)


def _atomic(folder: Path) -> str:
    """What does not work as results need it, or nothing."""
    target = folder / "file"
    files.replace(target, b"old")
    files.replace(target, b"new")
    if target.read_bytes() != b"new":
        return "a renamed file still shows its old content"
    try:
        if files.create(target, b"other") or target.read_bytes() != b"new":
            return "a hard link replaced a file that was there"
        if not files.create(folder / "link", b"linked"):
            return "a hard link to a new name was refused"
    except OSError as error:
        return f"no hard links ({error.strerror})"
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return ""
    return "exclusive create opened a file that was there"


def _durations(folder: Path) -> tuple[float, float]:
    """Seconds of a synced write (median of 5), and until a new file stands in the listing."""
    times = []
    for index in range(5):
        began = time.perf_counter()
        files.replace(folder / f"sync{index}", bytes(4096))
        times.append(time.perf_counter() - began)
    (folder / "late").touch()
    began = time.perf_counter()
    while "late" not in os.listdir(folder) and time.perf_counter() - began < 2 * _SLOW_LISTING_S:
        time.sleep(0.01)
    return statistics.median(times), time.perf_counter() - began


def _speed(sync_s: float, listing_s: float) -> Finding:
    found = (
        f"a synced write takes {sync_s * 1e3:.1f} ms, a new file is listed after {listing_s:.2f} s"
    )
    if sync_s > _SLOW_SYNC_S:
        way_out = "keep many small cells in one job (cells_per_job), or take a faster filesystem"
        return Finding("run root speed", "warn", found, way_out)
    if listing_s > _SLOW_LISTING_S:
        way_out = "nothing breaks, but status may be late by as much"
        return Finding("run root speed", "warn", found, way_out)
    return Finding("run root speed", "ok", found)


def _space(place: Path) -> Finding:
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    # some filesystems count no inodes and say 0 of 0
    few = status.f_files > 0 and status.f_favail < _FEW_INODES
    inodes = f"{status.f_favail:,}" if status.f_files else "unlimited"
    found = f"{free / 1e9:,.1f} GB and {inodes} files free (a quota may allow less)"
    if free < _LITTLE_BYTES or few:
        way_out = "free some space (`gc` shows what can go), or choose another run root"
        return Finding("run root space", "warn", found, way_out)
    return Finding("run root space", "ok", found)


def _data(folder: Path) -> Finding:
    """Data sets that jobs could use; an absent one is no fault before something needs it."""
    there = [name for name in FILES if datasets.present(name, folder)]
    absent = [name for name in FILES if name not in there]
    found = f"{folder}: {', '.join(there)}"
    return Finding("data sets", "ok", f"{found}; `fetch` brings {', '.join(absent) or 'no more'}")


def _pickles(root: Path) -> Iterator[Finding]:
    """Folders of pickles that others could have filled: loading one runs its code."""
    submissions = RunRoot(root).submissions
    open_ones = [
        path
        for path in sorted(submissions.glob("*/submitit"))
        if path.is_dir() and path.stat().st_mode & 0o022
    ]
    if open_ones:
        found = f"others can write {len(open_ones)} folders of pickles, e.g. {open_ones[0]}"
        yield Finding("submissions", "fail", found, f"chmod go-w {submissions}/*/submitit")
