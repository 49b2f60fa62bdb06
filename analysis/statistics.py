"""Statistics of results: intervals, means over seeds, worst cases over attacks, curves.

Two uncertainties stay apart: that of the seeds (another training gives another network) and that
of the samples (another test set gives another count). Numbers of different evaluation sets or
threat models are never averaged.
"""

from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.naming import THREAT
from analysis.selection import (
    CURVE,
    EPSILON,
    NETWORK,
    all_of,
    named,
    start_of,
    with_masks,
    with_starts,
)
from jobs.errors import UsageError

Floats = npt.NDArray[np.float64]

SETTING = [
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
_POINT = ["configuration", *CURVE, "split", "samples_sha256", "epsilon", *EPSILON]
_KEYS = [*_POINT, "attacks", "own_attacks", "other_attacks", "until"]
"""What may tell two means apart; over fewer attacks, a worst case or gap is another quantity."""


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

    Example:
        >>> import analysis
        >>> low, high = analysis.wilson(81, 263)
        >>> round(float(low), 4), round(float(high), 4)
        (0.2553, 0.3662)
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    x, n = np.broadcast_arrays(np.asarray(correct, np.float64), np.asarray(total, np.float64))
    centre = (x + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(x * (n - x) / np.maximum(n, 1) + z * z / 4)
    low, high = np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
    return np.where(x == 0, 0.0, low), np.where(x == n, 1.0, high)


def student(deviation: npt.ArrayLike, count: npt.ArrayLike, confidence: float = 0.95) -> Floats:
    """Half the width of Student's interval of a mean (1908, Biometrika 6, 1-25).

    Args:
        deviation: sample standard deviations [N].
        count: of how many values [N]; 1 gives NaN, for one value says nothing of its spread.
        confidence: coverage in (0, 1).
    """
    # here, because it takes longer to load than to use
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    n = np.asarray(count, np.float64)
    quantile = stdtrit(np.where(n > 1, n - 1, np.nan), (1 + confidence) / 2)
    return np.asarray(quantile * np.asarray(deviation, np.float64) / np.sqrt(n))


def over_seeds(frame: pd.DataFrame, value: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of a column over the seeds of each setting, attack and radius.

    Args:
        frame: one row for each network, as of `summary`'s input or `masking_gap`,
            `area_under_curve`, `eps50`.
        value: column to average; NaN makes the mean NaN.
        confidence: of the seed interval.

    Returns:
        One row for each point, with `seeds` (how many), `seed_list`, `mean`, `deviation` (sample
        standard deviation), `lowest` and `highest` (range), and `seed_low`, `seed_high`:
        Student's interval of the mean over seeds, NaN for one seed.

    Raises:
        UsageError: if a seed stands twice in one mean.

    Example:
        >>> import analysis
        >>> areas = analysis.area_under_curve(analysis.worst_case(*analysis.example_study()))
        >>> means = analysis.over_seeds(areas, "area")
        >>> means[["network", "training", "seeds", "mean"]].round(2).values.tolist()[0]
        ['small-lif', 'adversarial fgsm@8/255', 3, 0.72]
    """
    keys = [key for key in _KEYS if key in frame]
    kept = [name for name in (*SETTING, "attack", "total") if name in frame]
    groups = frame.groupby(keys, dropna=False, sort=True)
    found = groups[kept].first()
    found["seeds"] = groups["seed"].nunique()
    _check_seeds(found, groups.size())
    found["seed_list"] = groups["seed"].agg(_distinct)
    values = groups[value]
    found["mean"] = values.mean().where(values.count() == found["seeds"])
    found[["deviation", "lowest", "highest"]] = values.agg(["std", "min", "max"])
    half = student(found["deviation"], found["seeds"], confidence)
    found = found.assign(seed_low=found["mean"] - half, seed_high=found["mean"] + half)
    return found.reset_index()


def summary(results: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Mean accuracy over seeds of each setting, attack and epsilon, with two intervals.

    Args:
        results: from `analysis.load("results")`, or of `worst_case`.
        confidence: of both intervals.

    Returns:
        As `over_seeds`, with `total` (samples of each network) and `sample_low`, `sample_high`:
        the Wilson interval of the mean count, for the samples alone. `seed_low`, `seed_high` is
        the interval for other seeds on these samples. Networks judged on the same samples share
        their luck, so counts of seeds are never pooled.

    Example:
        >>> import analysis
        >>> results, _ = analysis.example_study()
        >>> chosen = analysis.select(results, neuron="lif", regime="clean", attack="clean")
        >>> analysis.summary(chosen)[["mean", "seed_low", "seed_high", "sample_low"]].round(3)
           mean  seed_low  seed_high  sample_low
        0  0.97     0.945      0.995       0.936
    """
    points = named(results)
    points = points.assign(accuracy=points["correct"] / points["total"])
    found = over_seeds(points, "accuracy", confidence)
    low, high = wilson(found["mean"] * found["total"], found["total"], confidence)
    return found.assign(sample_low=low, sample_high=high)


def robustness_curves(results: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Points of robust accuracy against epsilon, each curve starting at the clean accuracy.

    Args:
        results: from `analysis.load("results")`, or of `worst_case`.
        confidence: of the intervals.

    Returns:
        As `summary`; epsilon 0 is the clean accuracy on the same samples, in every curve.

    Example:
        >>> import analysis
        >>> results, _ = analysis.example_study()
        >>> curves = analysis.robustness_curves(analysis.select(results, attack="fgsm"))
        >>> curves.loc[curves["network"] == "small-lif", "epsilon_num"].tolist()[:4]
        [0, 4, 8, 16]
    """
    return summary(with_starts(results), confidence)


def worst_case(results: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Per-sample worst case over all attacks of one threat model at each epsilon.

    A sample counts as correct only if it is so under every attack and without one: the image
    itself lies in the ball. Masks are combined only where the weights and the samples agree.

    Args:
        results: from `analysis.load("results")`, whole or filtered to the attacks wanted.
        samples: from `analysis.load("samples")`.

    Returns:
        One row for each (network, samples, threat model, epsilon), epsilon 0 included, with
        `correct`, `total`, `accuracy`, `attacks`, the names of those combined, and `mask`.

    Example:
        >>> import analysis
        >>> worst = analysis.worst_case(*analysis.example_study())
        >>> worst.query("seed == 0 and neuron == 'lif' and regime == 'clean'")["correct"].tolist()
        [196, 122, 62, 0]
        >>> worst["attacks"].iloc[-1]
        'fgsm, pgd-10, pgd-10 sigmoid(alpha=4)'
    """
    found = with_masks(named(results), samples)
    clean = found[found["attack"] == "clean"].groupby(NETWORK)["mask"].agg(all_of)
    attacked = found[found["attack"] != "clean"]
    points = attacked.groupby([*NETWORK, *THREAT, *EPSILON], dropna=False, sort=True)
    worst = points.first()
    worst["mask"] = points["mask"].agg(all_of)
    worst["attacks"] = points["attack_name"].agg(lambda names: ", ".join(sorted(set(names))))
    worst = worst.reset_index()
    # on equal samples, not networks: one that has no attacked row yet shows its clean accuracy
    start = start_of(worst, found, THREAT, on=["samples_sha256"], how="left").assign(attacks="")
    found = pd.concat([start, worst], ignore_index=True)
    found = found.assign(attack="worst", attack_setting="worst", attack_name="worst case")
    index = pd.MultiIndex.from_frame(found[NETWORK])
    masks = [
        mask & clean[network] if network in clean.index else mask
        for network, mask in zip(index, found["mask"], strict=True)
    ]
    correct = np.array([int(mask.sum()) for mask in masks], np.int64)
    found = found.assign(mask=masks, correct=correct, accuracy=correct / found["total"])
    wanted = ["configuration", "training_id", "seed", *SETTING, *_POINT[1:], "model_sha256"]
    counts = ["correct", "total", "accuracy", "attack", "attacks", "mask"]
    return found[list(dict.fromkeys([*wanted, *counts]))]


def _distinct(seeds: "pd.Series[int]") -> Any:
    return tuple(sorted(set(seeds)))


def _check_seeds(found: pd.DataFrame, sizes: "pd.Series[int]") -> None:
    """Refuse a mean in which one seed counts twice."""
    twice = sizes > found["seeds"]
    if twice.any():
        point = found[twice].reset_index().iloc[0]
        where = " ".join(
            str(point[key]) for key in ("network", "training", "attack_name") if key in point
        )
        raise UsageError(
            f"{where} at epsilon {point['epsilon']:.4g}: {sizes[twice].iloc[0]} rows for "
            f"{point['seeds']} seeds; one seed would count twice; drop the double rows, "
            "or choose one network of a seed by model_sha256"
        )
