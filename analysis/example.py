"""A small invented study, for examples and for trying functions without a run root."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.collecting import parquet
from analysis.tables import frame
from jobs.schema import TABLES, TableName

TOTAL = 200
"""Samples of its test set."""
RADII = (4, 8, 16)
"""Its radii, in 255ths."""

_SETTINGS = {
    ("lif", "clean"): (98, (70, 40, 8)),
    ("lif", "adversarial"): (96, (91, 83, 60)),
    ("plif", "clean"): (98, (74, 45, 10)),
    ("plif", "adversarial"): (97, (94, 89, 73)),
}
"""Percent right: clean, and under FGSM at each radius."""
_OWN: dict[str, Any] = {"norm": "linf", "space": "pixel", "clip": True, "loss": "cross_entropy"}
_OWN |= {"surrogate": "own", "gradient": "own"}
_PGD = {**_OWN, "attack": "pgd", "steps": 10, "step_size": "eps/4", "restarts": 1}
_ATTACKS: dict[str, dict[str, Any]] = {
    "clean": {"attack": "clean"},
    "fgsm": {**_OWN, "attack": "fgsm"},
    "pgd": _PGD,
    "sigmoid": {**_PGD, "surrogate": "sigmoid(alpha=4)"},
}
_LOST = {"fgsm": 0, "pgd": 6, "sigmoid": 9}
"""Percent more that an attack takes than FGSM does."""


def study() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two neurons, two regimes, three seeds, under FGSM and two kinds of PGD; numbers invented.

    Returns:
        Frames as of `analysis.load("results")` and `analysis.load("samples")`.

    Example:
        >>> import analysis
        >>> results, samples = analysis.example_study()
        >>> len(results), sorted(results["attack"].unique())
        (120, ['clean', 'fgsm', 'pgd'])
        >>> samples["mask"][0].shape
        (200,)
    """
    rows = [
        row
        for (neuron, regime), (clean, robust) in _SETTINGS.items()
        for seed in range(3)
        for row in _network(neuron, regime, seed, (clean, *robust))
    ]
    rows.sort(key=lambda row: (row["training_id"], row["attack_id"], row["epsilon"]))
    return _frame("results", rows), _frame("samples", rows)


def trainings() -> pd.DataFrame:
    """Trainings of `study`'s networks on clean images, of three epochs, with their curves.

    Returns:
        A frame as of `analysis.load("trainings")`.

    Example:
        >>> import analysis
        >>> len(analysis.example_trainings())
        6
    """
    rows = []
    for neuron, seed in itertools.product(("lif", "plif"), range(3)):
        right = [100 - seed, 150 - seed, 180 - seed]
        epochs = {
            "epoch_loss": [2.0, 1.0, 2 / 3],
            "epoch_train_accuracy": [count / TOTAL for count in right],
            "epoch_validation_correct": right,
            "epoch_validation_total": [TOTAL] * 3,
            "epoch_lr": [0.02] * 3,
            "epoch_firing_rate": [0.2] * 3,
            "epoch_seconds": [1.0] * 3,
        }
        rows.append({**_setting(neuron, "clean", seed), "epochs": 3, "steps": 57, **epochs})
    return _frame("trainings", rows)


def _frame(name: TableName, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    columns = TABLES[name].columns
    arrays = [parquet.array(column, [row.get(column.name) for row in rows]) for column in columns]
    return frame(name, pa.Table.from_arrays(arrays, [column.name for column in columns]))


def _id(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _setting(neuron: str, regime: str, seed: int) -> dict[str, Any]:
    adversarial = regime == "adversarial"
    return {
        "training_id": _id(neuron, regime, str(seed)),
        "configuration": _id(neuron, regime),
        "label": f"digits/small-{neuron}/{regime}/s{seed}",
        "dataset": "digits",
        "model": "small",
        "neuron": neuron,
        "encoder": "direct",
        "time_steps": 4,
        "regime": regime,
        "train_attack": "fgsm" if adversarial else None,
        "train_epsilon": "8/255" if adversarial else None,
        "seed": seed,
        "model_sha256": 4 * _id("weights", neuron, regime, str(seed)),
    }


def _network(neuron: str, regime: str, seed: int, percent: Sequence[int]) -> list[dict[str, Any]]:
    """All rows of one network."""
    # the same samples are hard for all networks; seeds differ a little
    own = np.random.default_rng([seed, len(neuron), len(regime)]).normal(size=TOTAL)
    order = np.argsort(np.random.default_rng(0).permutation(TOTAL) + 7 * own)
    clean, *robust = (share - seed for share in percent)
    found = [_row("clean", 0, order[: TOTAL * clean // 100])]
    for attack, lost in _LOST.items():
        for radius, share in zip(RADII, robust, strict=True):
            found.append(_row(attack, radius, order[: TOTAL * max(0, share - lost) // 100]))
    return [{**_setting(neuron, regime, seed), **row} for row in found]


def _row(attack: str, radius: int, right: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What one attack at one radius left; `right` are the samples still correct."""
    mask = np.zeros(TOTAL, np.uint8)
    mask[right] = 1
    return {
        **_ATTACKS[attack],
        "attack_id": _id(attack),
        "epsilon_num": radius,
        "epsilon_den": 255 if radius else 1,
        "epsilon": radius / 255,
        "split": "test",
        "evaluation_seed": 0,
        "samples_sha256": "5" * 64,
        "correct": len(right),
        "total": TOTAL,
        "zero_gradient": 0,
        "mask": np.packbits(mask).tobytes(),
        "code": "c0de",
        "record": "",
        "root": "runs",
    }
