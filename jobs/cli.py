"""The command line: one sub-command, one function, one exit code.

Importing this module loads nothing heavy: a command's module is imported when it is called.

Exit codes: 0 ok; 1 some cells failed; 2 usage or bad manifest; 3 environment; 4 unfinished;
75 try later; 130 interrupted.
"""

import argparse
import importlib
import keyword
import os
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from jobs.arguments import Parser

COMMANDS = {
    "demo": ("running", "run the quickstart on this machine, then say where to look"),
    "plan": ("planning", "what submit would do and why; writes nothing"),
    "fetch": ("bringing", "download data sets, before jobs need them"),
    "submit": ("sending", "send what is missing to SLURM or to this machine's queue"),
    "status": ("reading", "how every cell stands"),
    "watch": ("watching", "the same, live, until nothing is on the way any more"),
    "logs": ("reading", "the log of a cell's last attempt"),
    "resume": ("sending", "send everything unfinished again"),
    "cancel": ("ending", "cancel what is queued or running"),
    "run": ("running", "one cell in the foreground, for debugging"),
    "collect": ("tables", "records into parquet tables"),
    "audit": ("auditing", "is robustness real? the masking checklist for each trained network"),
    "plot": ("plotting", "figures for a paper: curves, trade-off, gradient sparsity, training"),
    "report": ("reporting", "one HTML page: curves, tables, failures, cost; collects first"),
    "show": ("reading", "a cell's whole story"),
    "invalidate": ("keeping", "something was wrong with a cell: it counts as new"),
    "import": ("bringing", "bring a published checkpoint or signature of HoSNN in"),
    "explain": ("reading", "which keys make two cells differ"),
    "gc": ("keeping", "what could be deleted, and how much it frees"),
    "doctor": ("reading", "check this machine, cluster and filesystem"),
    "schema": ("reading", "JSON Schema of manifests, for editors"),
}
"""Name → module and help, in the order in which people need them."""

MANIFEST = "a manifest's path, or its name under manifests/"
HOSNN = ("hosnn_mnist", "hosnn_cifar10", "hosnn_cifar100")
FIGURES = ("curves", "tradeoff", "sparsity", "training")
DATASETS = "mnist, fashion_mnist, svhn, cifar10 or cifar100"
CELL = "an id prefix, a label, or a SLURM job id"


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="launch.py",
        description="Grids of adversarial-robustness experiments on spiking neural networks.",
    )
    below = top.add_subparsers(dest="command", metavar="COMMAND ARGS")
    found = {
        name: below.add_parser(name, help=text, description=text)
        for name, (_, text) in COMMANDS.items()
    }
    top.commands |= found
    for name, one in found.items():
        if name != "collect":
            one.add_argument("--root", help="run root (default: $SPIKEGRID_ROOT, else runs/)")
        one.add_argument("--data", help="folder of data sets (default: $SPIKEGRID_DATA)")
    _add_sending(found)
    _add_reading(found)
    found["demo"].set_defaults(only=None)
    return top


def _add_sending(found: dict[str, Parser]) -> None:
    for name in ("plan", "submit", "audit"):
        found[name].add_argument("manifest", help=MANIFEST)
    for name in ("resume", "cancel"):
        found[name].add_argument("manifest", nargs="?", help=f"{MANIFEST} (default: all)")
    for name in ("plan", "submit", "resume", "cancel", "audit"):
        found[name].add_argument("--only", metavar="KEY=VALUE,…", help="a part of the cells")
    for name in ("plan", "submit", "resume", "audit"):
        found[name].add_argument("--limit", type=_positive, metavar="N", help="cells at most")
        words = "that ran before, or that of now (default: same for what goes on from a checkpoint)"
        found[name].add_argument("--code", choices=["same", "new"], help=f"the code {words}")
    for name in ("submit", "resume", "audit"):
        one = found[name]
        one.add_argument("--cluster", choices=["auto", "slurm", "local", "debug"], default="auto")
        one.add_argument("--wait", action="store_true", help="wait for the end, with progress")
        one.add_argument("--max-parallel", type=_positive, metavar="N", help="jobs at once")
        one.add_argument("--max-gpu-hours", type=_hours, metavar="H", help="refuse to send more")
        one.add_argument("-n", "--dry-run", action="store_true", help="say it, do nothing")
    found["submit"].add_argument("--canary", action="store_true", help="one job first, then all")
    found["resume"].add_argument("--failed", action="store_true", help="what was given up, too")
    found["cancel"].add_argument("-y", "--yes", action="store_true", help="do not ask")
    wrong = found["invalidate"]
    wrong.add_argument("cell", help=CELL)
    wrong.add_argument("--reason", required=True, metavar="TEXT", help="what was wrong")
    wrong.add_argument("--attack", metavar="NAME", help="this attack alone, by name or id")
    wrong.add_argument("--children", action="store_true", help="and what rests on it")
    wrong.add_argument("--manifest", help=f"where to look for it: {MANIFEST}")
    wrong.add_argument("-y", "--yes", action="store_true", help="do not ask")
    found["gc"].add_argument("-y", "--yes", action="store_true", help="delete it")
    run = found["run"]
    run.add_argument("cell", help=CELL)
    run.add_argument("--manifest", help=f"where to look for it: {MANIFEST}")
    run.add_argument("--epochs", type=_positive, help="so many only, in a scratch run root")
    run.add_argument("--samples", type=_positive, help="so many only, in a scratch run root")


def _add_reading(found: dict[str, Parser]) -> None:
    status = found["status"]
    status.add_argument("manifest", nargs="?", help=f"{MANIFEST} (default: all)")
    status.add_argument("--only", metavar="KEY=VALUE,…", help="a part of the cells")
    watch = found["watch"]
    watch.add_argument("manifest", nargs="?", help=f"{MANIFEST} (default: all)")
    watch.add_argument("--only", metavar="KEY=VALUE,…", help="a part of the cells")
    watch.add_argument(
        "--interval", type=_interval, default=2.0, metavar="S", help="seconds between two looks"
    )
    status.add_argument("--by", choices=["state", "error", "node"], help="group the cells")
    status.add_argument("--exit-code", action="store_true", help="1 failed, 4 unfinished")
    status.add_argument("--verify", action="store_true", help="read every record again")
    for name in ("logs", "show"):
        found[name].add_argument("cell", help=CELL)
    for name in ("logs", "show", "explain"):
        found[name].add_argument("--manifest", help=f"where to look for cells: {MANIFEST}")
    logs = found["logs"]
    logs.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    logs.add_argument("--attempt", type=_positive, metavar="N")
    logs.add_argument("--rank", type=_rank, default=0, metavar="R")
    logs.add_argument("--failed", action="store_true", help="the last attempt that failed")
    found["doctor"].add_argument("manifest", nargs="?", help=f"is there room for it: {MANIFEST}")
    found["fetch"].add_argument("datasets", nargs="+", metavar="DATASET", help=DATASETS)
    brought = found["import"]
    brought.add_argument("file", help="a checkpoint ({'net': …}) or a signature, as published")
    brought.add_argument("--model", required=True, choices=HOSNN, help="network it belongs to")
    brought.add_argument("--neuron", choices=["lif", "ta_lif"], default="ta_lif")
    brought.add_argument("--time-steps", type=_positive, default=5, metavar="T")
    found["explain"].add_argument("a", help=CELL)
    found["explain"].add_argument("b", help=CELL)
    found["collect"].add_argument(
        "--root", action="append", dest="roots", help="run root; several are merged"
    )
    found["collect"].add_argument(
        "--watch", action="store_true", help="again whenever there is more"
    )
    found["report"].add_argument("manifest", nargs="?", help=f"{MANIFEST} (default: the newest)")
    out = "where the page goes (default: tables/report.html in the run root)"
    found["report"].add_argument("--out", metavar="FILE", help=out)
    found["report"].set_defaults(only=None)
    plot = found["plot"]
    plot.add_argument("manifest", nargs="?", help=f"{MANIFEST} (default: all that is collected)")
    plot.add_argument("--kind", choices=FIGURES, help="draw only these (default: all)")
    plot.add_argument("--epsilon", type=_radius, metavar="E", help="of one radius: e.g. 8/255")
    plot.add_argument("--out", metavar="DIR", help="folder (default: tables/figures)")
    for name in ("plan", "status", "show", "collect"):
        found[name].add_argument("--json", action="store_true", help="one JSON document")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got '{text}'")
    return int(text)


def _rank(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _interval(text: str) -> float:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 3600):
        raise argparse.ArgumentTypeError(f"expected seconds from 1 to 3600, got '{text}'")
    return float(text)


def _radius(text: str) -> str:
    try:
        found = Fraction(text)
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    if found <= 0:
        raise argparse.ArgumentTypeError(f"expected a radius, e.g. 8/255 or 0.03, got '{text}'")
    return text


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < float("inf"):
        raise argparse.ArgumentTypeError(f"expected hours, e.g. 12.5, got '{text}'")
    return hours


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors for people end in one message and an exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    top = parser()
    args = top.parse_words(words)
    if args.command is None:
        top.print_help()
        return 0
    from jobs.errors import EnvironmentFault, SpikegridError

    try:
        _check_packages()
        return _dispatch(args)
    except SpikegridError as error:
        sys.stderr.write(f"{_plain(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # the reader of a pipe went away; Python would complain about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"{_plain(str(error))}\n")
        return EnvironmentFault.exit_code


def _dispatch(args: argparse.Namespace) -> int:
    from jobs.console import Console

    module, _ = COMMANDS[args.command]
    function: Callable[..., int]
    name = f"{args.command}_" if keyword.iskeyword(args.command) else args.command
    function = getattr(importlib.import_module(f"jobs.commands.{module}"), name)
    return function(args, Console())


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _check_packages() -> None:
    """Refuse a `snnlib` or `analysis` of another distribution: the names are common."""
    from importlib.util import find_spec

    from jobs.errors import EnvironmentFault

    here = Path(__file__).resolve().parent.parent
    for name in ("snnlib", "analysis"):
        spec = find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parent.parent != here:
            raise EnvironmentFault(
                f"the package '{name}' comes from {spec.origin if spec else 'nowhere'}, "
                f"not from {here}; start spikegrid as `python {here / 'launch.py'}`"
            )


if __name__ == "__main__":
    sys.exit(main())
