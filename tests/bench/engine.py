"""The attack engine on grids of radii, on one CPU thread.

Against HoSNN as published, found as `hosnn` does: its MNIST network, at eight radii one after the
other there, in one go here. Against its own passes through the network; the memory of a grid
against that of one radius. And AutoAttack against the reference, a checkout of github
fra31/auto-attack named by SPIKEGRID_BENCH_AUTOATTACK: on one trained network of this program, and
on the code that HoSNN published for the same weights.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import alternate, hosnn, measure
from tests.bench.measure import Measurement

REFERENCE = "SPIKEGRID_BENCH_AUTOATTACK"
RADII = tuple(k / 40 for k in range(1, 9))
TARGETS = {"fgsm": 8.0, "pgd": 3.5}
_TITLES = {"fgsm": "FGSM", "pgd": "PGD7"}
FLOOR = 0.8
"""Part of its time that the engine must spend in the network."""
MEMORY = 1.5
"""How many times the memory of one radius a grid may take."""
TURNS = 3


def grids() -> Iterator[Measurement]:
    """FGSM and PGD7 at eight radii, T = 5, batch 64, and what they cost beyond the network."""
    checkout, python = os.environ.get(hosnn.CHECKOUT), os.environ.get(hosnn.PYTHON)
    if not checkout or not python:
        sys.stderr.write(
            f"set {hosnn.CHECKOUT} to a checkout of HoSNN, {hosnn.PYTHON} to its python\n"
        )
        return
    work = hosnn.WORKS[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        order = {**hosnn.order(work, Path(checkout)), "radii": RADII}
        (folder / "work.json").write_text(json.dumps(order), encoding="utf-8")
        original = [python, "-m", "tests.bench.engine_original", str(folder)]
        _prepared([*original, "save"])
        ours = [sys.executable, "-m", "tests.bench.engine_ours", str(folder)]
        with alternate.pair(ours, original) as workers:
            for attack, at_least in TARGETS.items():
                timing = alternate.compare(workers, attack)
                _agreed(attack, timing)
                what = f"{work.title}: {_TITLES[attack]} at {len(RADII)} radii"
                yield from alternate.measurements(timing, what, at_least)
        yield _throughput(ours, work.title)
        yield _memory(ours, work.title)


def _prepared(argv: Sequence[str]) -> None:
    subprocess.run(
        argv,
        cwd=alternate.REPOSITORY,
        check=True,
        capture_output=True,
        timeout=alternate.TIMEOUT_S,
    )


def _agreed(attack: str, timing: alternate.Timing) -> None:
    ours, other = timing.outcomes
    assert ours is not None, "both workers answer with a number"
    assert other is not None, "both workers answer with a number"
    if abs(ours - other) > hosnn.AGREEMENT["pgd"]:
        raise RuntimeError(f"{attack}: ours leaves {ours:.6g} right, the original {other:.6g}")


def _throughput(ours: Sequence[str], title: str) -> Measurement:
    """The seconds of the bare passes : those of the engine, turn by turn."""
    with alternate.start(ours) as worker:
        shares = measure.alternated(
            lambda: worker.run("pgd")[0], lambda: worker.run("bare")[0], alternate.TURNS
        )
    return Measurement(
        what=f"{title}: bare passes : PGD7 at {len(RADII)} radii",
        unit="",
        values=shares,
        at_least=FLOOR,
    )


def _memory(ours: Sequence[str], title: str) -> Measurement:
    """Peak memory of an evaluation at all radii : at one, each beyond a process without any."""

    def peak(name: str) -> float:
        return measure.process([*ours, name], env=alternate.environment(os.environ, 1)).memory_mb

    idle = peak("nothing")
    shares = tuple((peak("pgd") - idle) / (peak("pgd_once") - idle) for _ in range(TURNS))
    return Measurement(
        what=f"{title}: memory of {len(RADII)} radii : of one",
        unit="",
        values=shares,
        target=MEMORY,
    )


def autoattack() -> Iterator[Measurement]:
    """AutoAttack (standard, 32 samples, epsilon 0.1) on trained networks of LIF neurons."""
    reference = os.environ.get(REFERENCE)
    if not reference:
        sys.stderr.write(f"set {REFERENCE} to a checkout of github fra31/auto-attack\n")
        return
    with tempfile.TemporaryDirectory() as name:
        ours = [sys.executable, "-m", "tests.bench.engine_autoattack", name]
        yield from _attacked([*ours, "own"], [*ours, "own", reference], "reference on our network")
        checkout, python = os.environ.get(hosnn.CHECKOUT), os.environ.get(hosnn.PYTHON)
        if not checkout or not python:
            sys.stderr.write(f"{hosnn.CHECKOUT} and {hosnn.PYTHON} are not set\n")
            return
        order = hosnn.order(hosnn.WORKS[0], Path(checkout))
        order["config"]["Network"]["model"] = "LIF"
        (Path(name) / "work.json").write_text(json.dumps(order), encoding="utf-8")
        other = [python, "-m", "tests.bench.engine_reference", name, reference]
        yield from _attacked([*ours, "published"], other, "reference on HoSNN's code")


def _attacked(ours: Sequence[str], other: Sequence[str], against: str) -> Iterator[Measurement]:
    _prepared([*ours, "save"])
    with alternate.pair([*ours, "ours"], other) as workers:
        # hundreds of thousands of passes: the first ones are no matter
        timing = alternate.compare(workers, "autoattack", turns=TURNS, warm_up=0)
    robust = " and ".join(f"{count:.0f}" for count in timing.outcomes if count is not None)
    yield from alternate.measurements(timing, f"AutoAttack, {against}, robust {robust}", 2)
