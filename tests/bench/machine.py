"""On what was measured: processor, kernel and versions; never the machine's name."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("pydantic", "pyyaml", "submitit", "torch", "numpy", "pandas", "pyarrow")


def about(folder: Path) -> dict[str, Any]:
    """The machine as JSON-ready data.

    Args:
        folder: where the measured run roots lie.
    """
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": _filesystem(folder),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def _filesystem(folder: Path) -> str:
    """Kind of the filesystem that holds a folder: of the mount point nearest above it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(m[1], m[2]) for m in mounts if folder.resolve().is_relative_to(m[1])]
    return max(above, key=lambda m: len(m[0]))[1]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
