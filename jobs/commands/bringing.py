"""fetch: bring data sets to this machine. import: a published checkpoint or signature."""

import json
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from jobs.commands import context
from jobs.console import Console
from jobs.dispatch.snapshot import CHECKOUT
from jobs.errors import EnvironmentFault, TryLater, UsageError
from jobs.expand.messages import unknown_word
from jobs.identity import plain
from jobs.planning import situation, views
from snnlib.spec.data import FILES
from snnlib.spec.model import PUBLISHED, HoSNN
from snnlib.spec.neuron import TALIF, TraceLIF


def fetch(args: Namespace, console: Console) -> int:
    """Download data sets that are not there or not whole, and verify them."""
    where = context.place(args)
    for name in args.datasets:
        if name not in FILES:
            raise UsageError(unknown_word(name, [*FILES], "data set"))
    _fetched({"names": args.datasets, "folder": where.data}, console)
    console.data(f"data sets lie under {where.data}")
    console.data(f"next: {context.command('plan', 'my.yaml')}")
    return 0


def _fetched(order: dict[str, object], console: Console) -> None:
    """Let the child process fetch, and tell how far it is."""
    argv = [sys.executable, "-P", "-m", "jobs.running.fetch", json.dumps(order)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            argv, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                _tell(json.loads(line), console)
        errors.seek(0)
        said = errors.read().strip()
    if child.returncode == TryLater.exit_code:
        raise TryLater(said)
    if child.returncode == EnvironmentFault.exit_code:
        raise EnvironmentFault(said)
    if child.returncode:
        last = (said.splitlines() or [f"exit {child.returncode}"])[-1]
        raise EnvironmentFault(f"fetching ended with: {last}")


def _tell(line: dict[str, Any], console: Console) -> None:
    if "file" in line:
        total = f" of {line['total'] / 1e6:,.1f}" if line["total"] else ""
        console.progress(f"{line['file']}: {line['done'] / 1e6:,.1f}{total} MB")
    elif not FILES[line["name"]]:
        console.data(f"{line['name']}: comes with the program")
    else:
        count = line["downloaded"]
        done = f"{views.count(count, 'file')} downloaded, " if count else ""
        console.data(f"{line['name']}: {done}there and whole")


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
    argv = [sys.executable, "-P", "-m", "jobs.running.convert", json.dumps(order)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode == UsageError.exit_code:
        raise UsageError(f"{done.stderr.strip()}; nothing written")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise EnvironmentFault(f"{file}: the conversion ended with: {last}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
