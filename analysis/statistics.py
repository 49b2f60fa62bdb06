"""Statistics of results: intervals, means over seeds, worst cases over attacks, curves.

Two uncertainties stay apart: that of the seeds (another training gives another network) and that
of the samples (another test set gives another count).
"""

from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.naming import THREAT, add_names

Floats = npt.NDArray[np.float64]

_SETTING = [
    "dataset",
    "model",
    "neuron",
    "encoder",
    "time_steps",
    "regime",
    "train_attack",
    "train_epsilon",
    "network",
    "training",
]
_EPSILON = ["epsilon_num", "epsilon_den"]
_NETWORK = ["training_id", "model_sha256", "samples_sha256"]
_CURVE = ["attack_id", "attack_name", *THREAT]
_POINT = ["configuration", *_CURVE, "split", "samples_sha256", "epsilon", *_EPSILON]


def wilson(
    correct: npt.ArrayLike, total: npt.ArrayLike, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212).

    Args:
        correct: counts [N]; means of counts are allowed.
        total: of how many [N]; 0 gives the whole range.
        confidence: coverage in (0, 1).

    Returns:
        Lower and upper limits [N], within [0, 1].
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    x, n = np.broadcast_arrays(np.asarray(correct, np.float64), np.asarray(total, np.float64))
    centre = (x + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(x * (n - x) / np.maximum(n, 1) + z * z / 4)
    low, high = np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
    return np.where(x == 0, 0.0, low), np.where(x == n, 1.0, high)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each setting, attack and epsilon.

    Args:
        results: from `analysis.load("results")`, or `worst_case`.

    Returns:
        One row for each point (and set of attacks, of a worst case), with `seeds` (how many), `seed_list`, `mean`, `lowest` and
        `highest` (the range over seeds), `total` (samples of each network) and `sample_low`,
        `sample_high`: the 95 % Wilson interval of the mean count, for the samples alone. Networks
        judged on the same samples share their luck, so counts of seeds are never pooled.
    """
    points = _plain(results if "attack_name" in results else add_names(results))
    points = points.assign(accuracy=points["correct"] / points["total"])
    # a worst case over fewer attacks is another quantity
    keys = [*_POINT, "attacks"] if "attacks" in points else _POINT
    groups = points.groupby(keys, dropna=False, sort=True)
    kept = [*_SETTING, "attack", "total"]
    found = groups[kept].first()
    found["seeds"] = groups["seed"].nunique()
    found["seed_list"] = groups["seed"].agg(_distinct)
    spread = groups["accuracy"].agg(["mean", "min", "max"])
    found[["mean", "lowest", "highest"]] = spread
    low, high = wilson(groups["correct"].mean().to_numpy(), found["total"].to_numpy())
    return found.assign(sample_low=low, sample_high=high).reset_index()


def robustness_curves(results: pd.DataFrame) -> pd.DataFrame:
    """Points of robust accuracy against epsilon, each curve starting at the clean accuracy.

    Args:
        results: from `analysis.load("results")`.

    Returns:
        As `summary`; epsilon 0 is the clean accuracy on the same samples, in every curve.
    """
    named = _plain(add_names(results))
    attacked = named[named["attack"] != "clean"]
    start = _start_of(attacked, named, _CURVE, on=_NETWORK)
    return summary(pd.concat([start, attacked], ignore_index=True))


def worst_case(results: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Per-sample worst case over all attacks of one threat model at each epsilon.

    A sample counts as correct only if it is so under every attack and without one: the image
    itself lies in the ball. Masks are combined only where the weights and the samples agree.

    Args:
        results: from `analysis.load("results")`, whole or filtered to the attacks wanted.
        samples: from `analysis.load("samples")`.

    Returns:
        One row for each (network, samples, threat model, epsilon), epsilon 0 included, with
        `correct`, `total`, `accuracy` and `attacks`, the names of those combined.
    """
    keys = [*_NETWORK, "attack_id", *_EPSILON]
    named = _plain(add_names(results)).merge(
        samples[[*keys, "mask"]], on=keys, validate="one_to_one"
    )
    clean = named[named["attack"] == "clean"].groupby(_NETWORK)["mask"].agg(_all)
    attacked = named[named["attack"] != "clean"]
    points = attacked.groupby([*_NETWORK, *THREAT, *_EPSILON], dropna=False, sort=True)
    worst = points.first()
    worst["mask"] = points["mask"].agg(_all)
    worst["attacks"] = points["attack_name"].agg(lambda names: ", ".join(sorted(set(names))))
    worst = worst.reset_index()
    # on equal samples, not networks: one that has no attacked row yet shows its clean accuracy
    start = _start_of(worst, named, THREAT, on=["samples_sha256"], how="left").assign(attacks="")
    found = pd.concat([start, worst], ignore_index=True)
    found = found.assign(attack="worst", attack_id="worst", attack_name="worst case")
    index = pd.MultiIndex.from_frame(found[_NETWORK])
    masks = [
        mask & clean[network] if network in clean.index else mask
        for network, mask in zip(index, found["mask"], strict=True)
    ]
    correct = np.array([int(mask.sum()) for mask in masks], np.int64)
    found = found.assign(correct=correct, accuracy=correct / found["total"])
    wanted = ["configuration", "training_id", "seed", *_SETTING, *_POINT[1:], "model_sha256"]
    counts = ["correct", "total", "accuracy", "attack", "attacks"]
    return found[list(dict.fromkeys([*wanted, *counts]))]


def _distinct(seeds: "pd.Series[int]") -> Any:
    return tuple(sorted(set(seeds)))


def _all(masks: "pd.Series[Any]") -> npt.NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduce(np.stack(list(masks))))


def _start_of(
    curves: pd.DataFrame,
    named: pd.DataFrame,
    columns: list[str],
    *,
    on: list[str],
    how: Literal["inner", "left"] = "inner",
) -> pd.DataFrame:
    """The clean rows, once for each curve that agrees with them in the columns `on`."""
    clean = named[named["attack"] == "clean"].drop(columns=columns)
    clean = clean.drop_duplicates(_NETWORK)
    return clean.merge(curves[[*on, *columns]].drop_duplicates(), on=on, how=how)


def _plain(results: pd.DataFrame) -> pd.DataFrame:
    """Categories as text, so that parts of several tables go together."""
    texts = results.select_dtypes("category").columns
    return results.astype(dict.fromkeys(texts, "object"))
