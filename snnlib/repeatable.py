"""Make a computation repeatable, and say how far that is promised."""

import os
import platform
import random
from importlib import metadata
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Promise = Literal["bitwise", "deterministic", "statistical"]


def pin(*, threads: int, seed: int) -> None:
    """Set all that could make two runs differ; called before each cell.

    Args:
        threads: CPU threads; another number can give other bits.
        seed: of the global generators. Results do not rest on them (see snnlib.noise); it keeps
            code that does draw from them from carrying over between cells.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    # filling fresh memory finds reads of it; results never rest on any, and it costs 5 %
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def prefix_sums(values: Tensor, dim: int) -> Tensor:
    """Sums of all entries up to each, along a dimension; as Tensor.cumsum on a CPU.

    CUDA's cumsum of floating-point numbers has no fixed order of additions, and raises where
    repeatable results are asked for (`pin`).
    """
    return values.cumsum(dim) if values.device.type == "cpu" else doubled_sums(values, dim)


def doubled_sums(values: Tensor, dim: int) -> Tensor:
    """Prefix sums in log2(n) additions of whole tensors, so in one order on every device.

    Hillis and Steele 1986, Data parallel algorithms, "sum of an array of numbers", all partial sums.
    """
    length, reach = values.shape[dim], 1
    while reach < length:
        more = values.narrow(dim, reach, length - reach) + values.narrow(dim, 0, length - reach)
        values = torch.cat((values.narrow(dim, 0, reach), more), dim)
        reach *= 2
    return values


def promise(device: torch.device, *, machines: int = 1) -> Promise:
    """How equal a repetition would be.

    Args:
        device: where it was computed.
        machines: on how many kinds of device, numbers of threads and sets of versions.

    Returns:
        `bitwise` on a CPU of one kind with equal threads and versions, `deterministic` on a GPU
        (equal bits on the same kind of GPU and versions only), `statistical` where a resume went
        on with another kind, so that sums were taken in another order midway.
    """
    if machines > 1:
        return "statistical"
    return "bitwise" if device.type == "cpu" else "deterministic"


def versions() -> dict[str, str]:
    """Versions that results may depend on."""
    found = {"python": platform.python_version()}
    for name in ("torch", "spikingjelly", "numpy"):
        found[name] = metadata.version(name)
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return found
