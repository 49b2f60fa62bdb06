"""Differences between networks or attacks, paired sample by sample."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.naming import THREAT, add_names
from analysis.selection import EPSILON, Mask, plain
from analysis.statistics import student
from jobs.errors import UsageError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Pairing = Literal["networks", "attacks"]

_PLACE = ["dataset", "split", "samples_sha256", *EPSILON]
_PAIRED: dict[Pairing, list[str]] = {
    "networks": [*_PLACE, *THREAT, "attack_setting", "seed"],
    "attacks": [*_PLACE, "configuration", "training_id", "model_sha256", "seed"],
}
"""What both rows of a pair have in common."""
_SHARED: dict[Pairing, list[str]] = {
    "networks": [*_PLACE, *THREAT, "attack_setting"],
    "attacks": [*_PLACE, "configuration"],
}
"""What all pairs of one comparison have in common, besides what is compared."""


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test (1947, Psychometrika 12, 153-157).

    Args:
        only_a: samples that a alone gets right.
        only_b: samples that b alone gets right.

    Example:
        >>> import analysis
        >>> round(analysis.mcnemar(9, 1), 9)  # 2 (1 + 10) / 2**10
        0.021484375
    """
    return sign_flip(np.repeat([1, -1], [only_a, only_b]))


def sign_flip(differences: npt.ArrayLike) -> float:
    """Exact two-sided p that sums are as large if each sample's sign were a coin's.

    The permutation test for pairs (Fisher 1935, The Design of Experiments, section 21), computed
    from the distribution of the sum. With one pair of networks it is McNemar's exact test; with
    several, all signs of a sample flip together, since they share it.

    Args:
        differences: of each sample [N], whole numbers: pairs that only a gets right, less those
            that only b does.
    """
    found = np.asarray(differences, np.int64)
    sizes, counts = np.unique(np.abs(found[found != 0]), return_counts=True)
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spaced = np.zeros(size * count + 1)
        spaced[::size] = _binomial(count)
        chances = np.convolve(chances, spaced)
    # chances[i]: positive signs add up to i, so that the whole sum is 2 i - top
    top = len(chances) - 1
    sums = np.abs(2 * np.arange(top + 1) - top)
    return float(min(1.0, chances[sums >= abs(int(found.sum()))].sum()))


def holm(p: npt.ArrayLike) -> Floats:
    """P values adjusted for how many there are (Holm 1979, Scand. J. Stat. 6, 65-70).

    Args:
        p: of each test [N]; NaN is no test.

    Example:
        >>> import analysis
        >>> analysis.holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values)
    tests = int(np.isfinite(values).sum())
    factors = np.maximum(tests - np.arange(len(values)), 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    of: Pairing = "networks",
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """How much more a gets right than b, sample by sample.

    Networks are paired with networks of the same seed under the same attack; attacks with attacks
    on the same network. Only equal evaluation sets, threat models and radii meet.

    Args:
        a: rows with masks, of `worst_case` or `with_masks`, of one or several settings (attacks).
        b: rows of the one setting (attack) that they are compared with.
        of: what differs between a and b.
        seed: of the bootstrap.
        resamples: draws of the bootstrap.
        confidence: of the intervals, and 1 less the level of `significant`.

    Returns:
        One row for each setting of a, attack and radius, with
        - `seeds`, `seed_list`: pairs of networks, those seeds that both sides have;
        - `accuracy_a`, `accuracy_b`, `difference`: means over the pairs;
        - `sample_low`, `sample_high`: bootstrap interval of the difference over the samples, drawn
          together for all pairs (Efron 1979, percentile);
        - `seed_low`, `seed_high`: Student's interval over the seeds, NaN for one;
        - `only_a`, `only_b`: samples that one side alone gets right, added over the pairs;
        - `p`: McNemar's exact test; over several seeds its form of `sign_flip`;
        - `p_holm`: adjusted for all rows of this frame;
        - `significant`: p_holm is small enough, and if there are several seeds, their interval
          leaves 0 out as well.

    Raises:
        UsageError: if there are no masks, nothing can be paired, or b is not one setting (attack).

    Example:
        >>> import analysis
        >>> worst = analysis.worst_case(*analysis.example_study())
        >>> hard = analysis.select(worst, regime="adversarial", epsilon_num=16)
        >>> plif, lif = (analysis.select(hard, neuron=name) for name in ("plif", "lif"))
        >>> found = analysis.compare(plif, lif).query("epsilon_num == 16").iloc[0]
        >>> f"{found['difference']:.2f} over {found['seeds']} seeds: {found['significant']}"
        '0.13 over 3 seeds: True'
    """
    left, right = _sides(a, b, of)
    one = "configuration" if of == "networks" else "attack_setting"
    _check_single(right, one)
    pairs = left.merge(right, on=_PAIRED[of], suffixes=("_a", "_b"), how="inner")
    if pairs.empty:
        raise UsageError(f"compare: nothing to pair: {_why(left, right, _PAIRED[of])}")
    _check_pairs(pairs, of)
    keys = [*_SHARED[of], f"{one}_a"]
    rows = []
    for _, group in pairs.groupby(keys, dropna=False, sort=True):
        rows.append({**_names(group, of), **_difference(group, seed, resamples, confidence)})
    found = pd.DataFrame(rows)
    found["p_holm"] = holm(found["p"])
    clear = (found["seeds"] == 1) | (found["seed_low"] > 0) | (found["seed_high"] < 0)
    found["significant"] = (found["p_holm"] <= 1 - confidence) & clear
    return found.sort_values(["a", "attack", "epsilon"], ignore_index=True)


def _sides(a: pd.DataFrame, b: pd.DataFrame, of: Pairing) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both sides with names that tell all of them apart; attacks without the clean rows."""
    for name, side in (("a", a), ("b", b)):
        if "mask" not in side:
            raise UsageError(
                f"compare: {name} has no masks; pass analysis.worst_case(results, samples) or "
                "analysis.with_masks(results, samples)"
            )
        if side.empty:
            raise UsageError(f"compare: {name} has no rows")
    left, right = plain(a), plain(b)
    if "attack_name" not in left or "attack_name" not in right:
        both = plain(add_names(pd.concat([left, right], ignore_index=True)))
        left, right = both.iloc[: len(left)], both.iloc[len(left) :]
    if of == "attacks":
        left, right = (side[side["attack"] != "clean"] for side in (left, right))
    return left, right


def _check_single(side: pd.DataFrame, column: str) -> None:
    ids = list(side[column].unique())
    if len(ids) > 1:
        shown = ["network", "training"] if column == "configuration" else ["attack_name"]
        names = [" ".join(row) for row in side.drop_duplicates(column)[shown].to_numpy()]
        raise UsageError(
            f"compare: b is {len(ids)} of them ({', '.join(names[:6])}); choose the one to compare "
            f"with, e.g. analysis.select(b, {column}={ids[0]!r})"
        )


def _why(left: pd.DataFrame, right: pd.DataFrame, keys: list[str]) -> str:
    """Which column keeps the two sides apart."""
    place = ("dataset", "split", "samples_sha256", *THREAT)
    for key in (*place, "attack_setting", "seed", "training_id"):
        if key in keys:
            mine, theirs = _values(left, right, key)
            if mine and theirs and not mine & theirs:
                return (
                    f"a and b share no {key} (a: {', '.join(sorted(mine)[:4])}; "
                    f"b: {', '.join(sorted(theirs)[:4])}); choose rows that agree in it"
                )
    return f"no row of a and row of b agree in all of {', '.join(keys)}"


def _values(left: pd.DataFrame, right: pd.DataFrame, key: str) -> tuple[set[str], set[str]]:
    """Values of a column on both sides; attacks by their names, if those tell them apart."""
    mine, theirs = ({str(v)[:12] for v in side[key].dropna()} for side in (left, right))
    if key == "attack_setting" and not mine & theirs:
        names = set(left["attack_name"]), set(right["attack_name"])
        return (mine, theirs) if names[0] & names[1] else names
    return mine, theirs


def _check_pairs(pairs: pd.DataFrame, of: Pairing) -> None:
    networks = ["configuration_a", "configuration_b"] if of == "networks" else ["configuration"]
    attack = "attack_setting"
    attacks = [attack] if of == "networks" else [f"{attack}_a", f"{attack}_b"]
    twice = pairs.duplicated([*_PLACE, *networks, *attacks, "seed"])
    if twice.any():
        row = pairs[twice].iloc[0]
        raise UsageError(
            f"compare: seed {row['seed']} stands several times at epsilon {row['epsilon_a']:.4g}; "
            "choose one network of each seed by model_sha256"
        )
    other = [c for c in (*THREAT, "attacks") if f"{c}_a" in pairs]
    for column in other:
        a, b = pairs[f"{column}_a"].astype(str), pairs[f"{column}_b"].astype(str)
        if (a != b).any():
            raise UsageError(
                f"compare: {column} is {a[a != b].iloc[0]} in a and {b[a != b].iloc[0]} in b, so "
                "their numbers say different things; choose rows that agree in it"
            )


def _names(pairs: pd.DataFrame, of: Pairing) -> dict[str, Any]:
    row = pairs.iloc[0]
    sides = {
        side: " ".join(
            str(row[f"{part}_{side}"])
            for part in (("network", "training") if of == "networks" else ("attack_name",))
        )
        for side in ("a", "b")
    }
    threat = {name: row[name if of == "networks" else f"{name}_a"] for name in THREAT}
    place = {name: row[name] for name in ("dataset", "split", "samples_sha256")}
    radius = {name: row[name] for name in EPSILON}
    both = {
        "configuration_a": row.get("configuration_a", row.get("configuration")),
        "configuration_b": row.get("configuration_b", row.get("configuration")),
        "attack": row["attack_name_a"] if of == "networks" else "",
    }
    return {**sides, **both, **place, **threat, "epsilon": row["epsilon_a"], **radius}


def _difference(
    pairs: pd.DataFrame, seed: int, resamples: int, confidence: float
) -> dict[str, Any]:
    """Statistics of one group of pairs; masks [S, N]."""
    a, b = (np.stack(list(pairs[f"mask_{side}"])) for side in ("a", "b"))
    differences = (a.astype(np.int64) - b).sum(0)
    low, high = _bootstrap(differences / len(a), seed, resamples, confidence)
    by_seed = a.mean(1) - b.mean(1)
    deviation = float(by_seed.std(ddof=1)) if len(a) > 1 else float("nan")
    half = float(student(deviation, len(a), confidence))
    centre = float(by_seed.mean())
    return {
        "seeds": len(a),
        "seed_list": tuple(sorted(pairs["seed"].tolist())),
        "total": a.shape[1],
        "accuracy_a": float(a.mean()),
        "accuracy_b": float(b.mean()),
        "difference": centre,
        "sample_low": low,
        "sample_high": high,
        "seed_low": centre - half,
        "seed_high": centre + half,
        "only_a": only(a, b),
        "only_b": only(b, a),
        "p": sign_flip(differences),
    }


def only(a: Mask, b: Mask) -> int:
    """How many are set in a alone."""
    return int((a & ~b).sum())


def _bootstrap(
    differences: Floats, seed: int, resamples: int, confidence: float
) -> tuple[float, float]:
    """Percentile interval of the mean of samples' values [N]."""
    values, counts = np.unique(differences, return_counts=True)
    total = len(differences)
    # to draw samples is to draw how often each value comes
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, size=resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn @ values / total, [tail, 1 - tail])
    return float(low), float(high)


def _binomial(count: int) -> Floats:
    """Chances of 0 to `count` heads of a fair coin."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    return np.asarray(np.exp(logs[-1] - logs - logs[::-1] - count * np.log(2)))
