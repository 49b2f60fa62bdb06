"""Under what circumstances something was computed."""

import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from jobs import processes


@cache
def packages() -> list[str]:
    """All installed distributions, as `pip freeze` writes them."""
    found = {f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions()}
    return sorted(found, key=str.lower)


def environment(**details: Any) -> dict[str, Any]:
    """The machine, the interpreter and its packages, for env.json.

    Args:
        details: what the caller knows besides: device, threads, world size.
    """
    wanted = ("SLURM_", "CUDA_VISIBLE_DEVICES", "OMP_", "SPIKEGRID_")
    return {
        "schema_version": 1,
        "host": processes.host(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "python": sys.version,
        "executable": sys.executable,
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(wanted)},
        **details,
        "packages": packages(),
    }


def _cpu() -> str:
    """The processor's name; bits can differ between kinds of processors."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next((line.split(":")[1].strip() for line in file if "model name" in line), "")
    except OSError:
        return platform.processor()
