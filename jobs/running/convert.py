"""Bring a published file into a run root: the child process of `import`, for it needs torch.

    python -m jobs.running.convert '{"file": …, "folder": …, "model": …, "shape": …, "classes": …}'

Prints one JSON object; a file that does not fit ends with 2 and the reason.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors.torch import save
from torch import Tensor

from jobs import files
from snnlib.errors import SnnlibError
from snnlib.imported import read
from snnlib.spec.model import HoSNN
from snnlib.spec.values import CANONICAL


def convert(order: dict[str, Any]) -> dict[str, Any]:
    """Convert a checkpoint or an NDS, and keep it under the hash of its content.

    Args:
        order: `file` to read, `folder` to write to, `model` as plain data, `shape` [C, H, W] of its
            images and number of `classes`.

    Returns:
        Its `kind`, where it lies (`path`, `sha256`), names and shapes of its `tensors`, and what of
        the file was left `unused`.

    Raises:
        SnnlibError: if the file does not fit the network.
    """
    model = TypeAdapter(HoSNN).validate_python(order["model"], context=CANONICAL)
    found = read(Path(order["file"]), model, shape=tuple(order["shape"]), classes=order["classes"])
    tensors = found.tensors
    if found.kind == "checkpoint":
        tensors = {f"layers.{name}": tensor for name, tensor in tensors.items()}
    path = _keep(tensors, Path(order["folder"]))
    return {
        "kind": found.kind,
        "path": str(path),
        "sha256": path.stem,
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "unused": list(found.unused),
    }


def _keep(tensors: dict[str, Tensor], folder: Path) -> Path:
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    files.replace(path, data)
    return path


def main() -> int:
    """Convert what the command line orders."""
    try:
        found = convert(json.loads(sys.argv[1]))
    except SnnlibError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
