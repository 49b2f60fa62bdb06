"""Measure speed and memory: `python -m tests.bench [NAME ...]`; without names, everything.

Prints one table, and writes the raw values with the machine they were taken on to
tests/bench/results/. A target is the median's; the minimum tells what a quiet machine would do.
"""

import argparse
import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import machine, roots
from tests.bench.measure import Measurement

BENCHES = {
    "help": "launcher.help_text",
    "grid": "launcher.grid",
    "growth": "growth.table",
    "report": "report.page",
    "tables": "tables.table",
    "submit": "submission.to_slurm",
    "resume": "submission.resumed",
    "loader": "loader.inputs",
    "gradobf": "gradobf.side_by_side",
    "hosnn": "hosnn.steps",
    "engine": "engine.grids",
    "autoattack": "engine.autoattack",
    "nds": "nds.against_evaluation",
    "checkpoint": "checkpoint.beside_a_plain_write",
    "ddp": "ddp.two_ranks",
}
"""By name; one module for each subject, imported when its turn comes.

Peak memory of a child counts what this process held when it was forked, so what loads torch here
comes last.
"""
RESULTS = Path(__file__).parent / "results"
_HEAD = ("", "median", "min", "max", "target", "")


def main() -> int:
    """Run the chosen benches; 1 if a target was missed."""
    arguments = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    arguments.add_argument("--no-file", action="store_true", help="only print the table")
    given = arguments.parse_args()
    if unknown := [name for name in given.names if name not in BENCHES]:
        arguments.error(f"no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    about = machine.about(roots.kept().parent)
    found = {name: _run(name) for name in given.names or BENCHES}
    lines = [line for measured in found.values() for line in measured]
    print("\n".join(_table(lines)))
    print(f"{about['cpu']}, {about['usable_cores']} cores, load {about['load_before']} before")
    if not given.no_file:
        print(f"raw values: {_write(about, found)}")
    return int(any(line.met is False for line in lines))


def _run(name: str) -> list[Measurement]:
    print(f"{name} …", file=sys.stderr, flush=True)
    module, _, function = BENCHES[name].partition(".")
    bench: Callable[[], Iterator[Measurement]]
    bench = getattr(importlib.import_module(f"tests.bench.{module}"), function)
    found = list(bench())
    if not found:
        print(f"{name}: this machine lacks what it needs", file=sys.stderr)
    return found


def _table(lines: list[Measurement]) -> list[str]:
    rows = [_HEAD, *(_row(line) for line in lines)]
    wide = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    return ["  ".join(_padded(row, wide)).rstrip() for row in rows]


def _padded(row: tuple[str, ...], wide: list[int]) -> Iterator[str]:
    for place, (text, width) in enumerate(zip(row, wide, strict=True)):
        yield text.ljust(width) if place in {0, len(wide) - 1} else text.rjust(width)


def _row(line: Measurement) -> tuple[str, ...]:
    values = (line.median, min(line.values), max(line.values))
    shown = tuple(f"{_number(value)} {line.unit}" for value in values)
    target = "" if line.target is None else f"< {_number(line.target)} {line.unit}"
    if line.at_least is not None:
        target = f">= {_number(line.at_least)} {line.unit}"
    word = {None: "", True: "ok", False: "MISSED"}[line.met]
    return (line.what, *shown, target, word)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.3g}"


def _write(about: dict[str, object], found: dict[str, list[Measurement]]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
    benches = {name: [_data(line) for line in lines] for name, lines in found.items()}
    document = {"schema_version": 1, "machine": about, "benches": benches}
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def _data(line: Measurement) -> dict[str, object]:
    rounded = {"median": round(line.median, 4), "values": [round(v, 4) for v in line.values]}
    return {**dataclasses.asdict(line), **rounded}


if __name__ == "__main__":
    sys.exit(main())
