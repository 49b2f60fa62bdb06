"""import: bring a published checkpoint or signature into the run root."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from jobs import situation
from jobs.commands import context
from jobs.console import Console
from jobs.errors import EnvironmentFault, UsageError
from jobs.identity import plain
from jobs.snapshot import CHECKOUT
from snnlib.spec.model import PUBLISHED, HoSNN
from snnlib.spec.neuron import TALIF, TraceLIF


def import_(args: Namespace, console: Console) -> int:
    """Convert a published file, keep it under its hash, and say how a manifest names it."""
    where = context.place(args)
    file = Path(args.file)
    if not file.is_file():
        raise UsageError(f"{file}: no such file; paths start where you are")
    situation.check_format(where.root)
    neuron = TALIF() if args.neuron == "ta_lif" else TraceLIF()
    model = HoSNN(name=args.model, neuron=neuron, time_steps=args.time_steps)
    shape, classes = PUBLISHED[model.name]
    order = {
        "file": str(file),
        "folder": str(where.root.imports),
        "model": plain(model),
        "shape": shape,
        "classes": classes,
    }
    found = _converted(order, file)
    for name, size in found["tensors"].items():
        console.data(f"  {name}  {'x'.join(map(str, size))}")
    unused = f" (not used: {', '.join(found['unused'])})" if found["unused"] else ""
    console.data(f"{found['kind']} of {args.model} with {args.neuron}{unused}")
    console.data(f"in a manifest, under {_PLACE[found['kind']]}:")
    console.data(f"  checkpoint: {{path: {found['path']}, sha256: {found['sha256']}}}")
    return 0


_PLACE = {"checkpoint": "regime.start", "nds": "model.neuron.nds"}


def _converted(order: dict[str, object], file: Path) -> dict[str, Any]:
    """What the child process made of the file: it alone imports torch."""
    argv = [sys.executable, "-P", "-m", "jobs.convert", json.dumps(order)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode == UsageError.exit_code:
        raise UsageError(f"{done.stderr.strip()}; nothing written")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise EnvironmentFault(f"{file}: the conversion ended with: {last}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
