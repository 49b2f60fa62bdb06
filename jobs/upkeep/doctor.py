"""Examine this machine, its cluster and the run root's filesystem; each finding has a way out.

Nothing that needs torch is imported here: a child process tells what torch and the GPUs say. The
run root is never made, and the temporary folder that is tried out is removed again.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobs.dispatch import site
from jobs.errors import SpikegridError
from jobs.layout import RunRoot
from jobs.planning import datasets
from jobs.upkeep import doctor_disk, doctor_slurm
from jobs.upkeep.diagnosis import Finding
from jobs.upkeep.doctor_disk import Need
from snnlib.spec.data import FILES

PYTHON = (3, 11)
PACKAGES = (
    "torch", "torchvision", "spikingjelly", "submitit", "pyyaml", "pydantic", "pandas", "pyarrow",
    "numpy", "safetensors", "rich", "matplotlib",
)  # fmt: skip
PROBE_TIMEOUT_S = 180.0
"""The first import of torch from a cold network filesystem takes minutes."""

_PROBE = """
import json, torch
count = torch.cuda.device_count()
names = [torch.cuda.get_device_name(i) for i in range(count)]
for i in range(count):
    torch.ones(1, device=f"cuda:{i}").add_(1).cpu()
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": names}))
"""


def examine(
    root: Path, data: Path, *, env: Mapping[str, str], need: Need | None = None
) -> list[Finding]:
    """Look at everything that experiments rest on.

    Args:
        root: the run root; it need not exist.
        data: the folder of data sets, likewise.
        env: the environment of the process.
        need: what a manifest would write there.
    """
    return [
        _python(),
        _packages(),
        *_torch(env),
        *doctor_slurm.examine(env),
        *_site(env),
        *doctor_disk.examine(root, need),
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
