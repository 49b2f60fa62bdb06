"""A synthetic run root with everything that a report can show, hostile words among it."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.study import CellState, Study, Tables
from jobs import files, identity
from snnlib.spec.attack import FGSM, PGD
from snnlib.spec.neuron import Rectangle
from tests.analysis.synthetic import SyntheticRoot, mask, quickstart, spec

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31mred\x1b[0m\u202egnirts & \"'\x07"
SEEN = "</script><img src=x onerror=alert(1)>\ufffd[31mred\ufffd[0m\ufffdgnirts & \"'\ufffd"
"""The same as a reader shall see it."""
GRID = tuple(Fraction(n, 255) for n in (4, 8, 16, 24, 32))
RECTANGLE = PGD(surrogate=Rectangle())
REPEATED = FGSM(space="repeated")
MANIFEST = f"""\
version: 1
name: shown
defaults:
  dataset: digits
  epsilons: ["4/255", "8/255", "16/255", "24/255", "32/255"]
  attacks: [fgsm, pgd, {{name: pgd, surrogate: rectangle}}, {{name: fgsm, space: repeated}}]
grid:
  model: [{{name: small, neuron: if, time_steps: 4}}, {{name: small, neuron: lif, time_steps: 4}}]
  regime: [clean, {{name: adversarial, epsilon: "8/255"}}]
  seed: [0, 1, 2]
reference:
  - {{where: {{model.neuron: lif, regime: clean}}, attack: clean, epsilon: 0, value: 98.2, source: "a paper, table 1"}}
  - {{where: {{regime: adversarial}}, attack: fgsm, epsilon: "8/255", value: 50, source: {json.dumps(HOSTILE)}}}
  - {{where: {{model: {{neuron: if}}}}, attack: bim, epsilon: "8/255", value: 1.5, source: other}}
resources: {{gpus_per_node: 1}}
"""


def write(folder: Path) -> Path:
    """The manifest, and in `runs` its first two seeds; of the third, one cell failed.

    Returns:
        The manifest's path.
    """
    made = quickstart(folder / "runs")
    for seed in (0, 1):
        for neuron in ("if", "lif"):
            for adversarial in (False, True):
                what = spec(seed, neuron, adversarial=adversarial)
                # the clean LIF network hides from its own gradient
                right = 40 if neuron == "lif" and not adversarial else 300
                made.evaluate(what, RECTANGLE, {e: mask(right, 400, 3) for e in GRID})
                made.evaluate(what, REPEATED, {e: mask(200, 400, 9) for e in GRID})
    _fail(made)
    path = folder / "shown.yaml"
    path.write_text(MANIFEST)
    return path


def _fail(made: SyntheticRoot) -> None:
    """Three attempts that ended with one error, the last with its log."""
    for number in (1, 2, 3):
        end = {"state": "failed", "reason": HOSTILE, "signature": f"RuntimeError: {HOSTILE}"}
        tail = [HOSTILE, "x" * 5000, "RuntimeError: it broke"]
        kept = {"deterministic": True, "seconds": 720.0, "ended": 1e9 + 720, "tail": tail}
        made.attempt(spec(2), number, {**end, **kept})
        claim = made.root.cell(identity.training_id(spec(2))).attempt(number).claim
        files.replace(claim, files.dumps({**files.read_json(claim), "host": HOSTILE}))


def study(of: Tables, **more: Any) -> Study:
    """A study of all networks in some tables, completed."""
    pairs = of.results.groupby("training_id")["attack_id"].agg(frozenset)
    labels = dict(zip(of.trainings["training_id"], of.trainings["label"], strict=True))
    cells = [
        CellState(
            training_id=str(key),
            label=labels[key],
            state="completed",
            attacks=dict.fromkeys(attacks),
        )
        for key, attacks in pairs.items()
    ]
    made = Study(
        name="shown",
        source="shown.yaml",
        manifest=MANIFEST,
        root="/runs",
        at=1e9,
        cells=tuple(cells),
    )
    return replace(made, **more)


def multiplied(of: Tables, times: int) -> Tables:
    """The same networks again and again under other names, with other ids."""

    def changed(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
        for number in range(times):
            new: dict[str, Any] = {
                key: frame[key].astype(str).str.slice(0, 12) + f"{number:04d}"
                for key in ("training_id", "configuration")
                if key in frame
            }
            if "model" in frame:
                new["model"] = f"wide_network_{number}"
            yield frame.assign(**new)

    parts = {field.name: getattr(of, field.name) for field in fields(Tables)}
    frames = {name: part for name, part in parts.items() if isinstance(part, pd.DataFrame)}
    many: dict[str, Any] = {
        name: pd.concat(list(changed(frame)), ignore_index=True) for name, frame in frames.items()
    }
    return replace(of, **many)
