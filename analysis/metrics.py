"""Metrics of networks: masking gap, area under the curve, radius of half, success rates, sparsity."""

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from analysis.naming import THREAT, each
from analysis.selection import (
    CURVE,
    EPSILON,
    NETWORK,
    PANEL,
    all_of,
    attack_names,
    named,
    with_masks,
    with_starts,
)
from analysis.statistics import SETTING, wilson, worst_case
from jobs.errors import UsageError

BLIND = ("square", "noise", "transfer")
"""Attacks that do not look at the gradient of the network that they attack."""
_SUITES = ("autoattack", "snn")
"""Attacks of several members, which partly do."""
_NAMES = ["configuration", "seed", *SETTING, "split"]
_OF_CURVE = [*NETWORK, *_NAMES, "attack", *CURVE]
_OF_POINT = [*NETWORK, *THREAT, *EPSILON]


def attack_success_rate(results: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Share of the samples right without an attack that each attack fools.

    Args:
        results: from `analysis.load("results")`.
        samples: from `analysis.load("samples")`.

    Returns:
        The attacked rows, each with `attackable` (right without an attack), `fooled` (of these),
        `success_rate` = fooled / attackable (NaN if none is) and its 95 % Wilson interval
        `success_low`, `success_high`.

    Raises:
        UsageError: if a network has no clean row on the samples.

    Example:
        >>> import analysis
        >>> rates = analysis.attack_success_rate(*analysis.example_study())
        >>> first = rates.query("neuron == 'lif' and regime == 'clean' and seed == 0").iloc[0]
        >>> first["attack"], int(first["fooled"]), int(first["attackable"])
        ('fgsm', 56, 196)
    """
    found = with_masks(named(results), samples)
    attacked = found[found["attack"] != "clean"].reset_index(drop=True)
    clean = found[found["attack"] == "clean"].groupby(NETWORK)["mask"].agg(all_of)
    index = pd.MultiIndex.from_frame(attacked[NETWORK])
    lost = ~index.isin(clean.index)
    if lost.any():
        raise UsageError(
            f"attack_success_rate: {attacked[lost].iloc[0]['label']} has no clean row, so it is "
            "unknown what was right before; keep the clean rows (analysis.select does)"
        )
    starts = [clean[network] for network in index]
    fooled = np.array([int((s & ~m).sum()) for s, m in zip(starts, attacked["mask"], strict=True)])
    attackable = np.array([int(start.sum()) for start in starts])
    low, high = wilson(fooled, attackable)
    rate = np.where(attackable > 0, fooled / np.maximum(attackable, 1), np.nan)
    counts = {"attackable": attackable, "fooled": fooled, "success_rate": rate}
    return attacked.drop(columns="mask").assign(**counts, success_low=low, success_high=high)


def masking_gap(results: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Robust accuracy against a network's own surrogate gradient less that of the worst case.

    Own are the attacks through the surrogate and gradient rule that the network was trained with;
    the worst case is over these and all others of the threat model, those without gradients too.
    What they alone break was hidden from the own gradient, not defended.

    Args:
        results: from `analysis.load("results")`.
        samples: from `analysis.load("samples")`.

    Returns:
        One row for each network, threat model and radius above 0, with `own_accuracy`,
        `worst_accuracy`, `gap`, its 95 % Wilson interval over samples `gap_low`, `gap_high`, and
        `own_attacks`, `other_attacks`. Without other attacks the gap is NaN: nothing looked for it.

    Raises:
        UsageError: if no attack used the own gradient.

    Example:
        >>> import analysis
        >>> gaps = analysis.masking_gap(*analysis.example_study())
        >>> first = gaps.query("neuron == 'lif' and regime == 'clean' and seed == 0").iloc[0]
        >>> f"{first['gap']:.3f} [{first['gap_low']:.3f}, {first['gap_high']:.3f}]"
        '0.030 [0.014, 0.064]'
        >>> first["other_attacks"]
        'pgd-10 sigmoid(alpha=4)'
    """
    found = named(results)
    own = (found["surrogate"] == "own") & (found["gradient"] == "own")
    own &= ~found["attack"].isin([*BLIND, *_SUITES])
    if not own.any():
        raise UsageError(
            "masking_gap: no attack went through the networks' own surrogate gradient; add one to "
            "the manifest, e.g. `attacks: [pgd]`, or leave it in the selection"
        )
    mine = worst_case(found[own | (found["attack"] == "clean")], samples)
    mine = mine[mine["epsilon_num"] > 0]
    every = worst_case(found, samples)[[*_OF_POINT, "correct", "attacks"]]
    both = mine.merge(every, on=_OF_POINT, suffixes=("", "_all"), validate="one_to_one")
    names = {
        attack: frozenset(attack_names(attack)) for attack in {*both.attacks, *both.attacks_all}
    }
    other = [", ".join(sorted(names[row.attacks_all] - names[row.attacks])) for row in each(both)]
    hidden = (both["correct"] - both["correct_all"]).where(np.array(other, object) != "")
    low, high = wilson(hidden, both["total"])
    kept = both[[*NETWORK, *_NAMES, *THREAT, "epsilon", *EPSILON, "total"]]
    return kept.assign(
        own_accuracy=both["correct"] / both["total"],
        worst_accuracy=both["correct_all"] / both["total"],
        gap=hidden / both["total"],
        gap_low=np.where(hidden.isna(), np.nan, low),
        gap_high=np.where(hidden.isna(), np.nan, high),
        own_attacks=both["attacks"],
        other_attacks=other,
    )


def area_under_curve(results: pd.DataFrame, until: str | Fraction | None = None) -> pd.DataFrame:
    """Mean robust accuracy over radii from 0 to `until`, by the trapezoidal rule.

    Args:
        results: from `analysis.load("results")`, or of `worst_case`.
        until: upper end, e.g. "8/255"; the curves' common end when unset.

    Returns:
        One row for each network and attack, with `area` in [0, 1], `until` and `points`, how many
        radii it rests on.

    Raises:
        UsageError: if curves that would be compared end at different radii, one ends before
            `until`, one has no clean accuracy, or the end is 0.

    Example:
        >>> import analysis
        >>> results, _ = analysis.example_study()
        >>> areas = analysis.area_under_curve(analysis.select(results, attack="fgsm"), "8/255")
        >>> areas[["network", "seed", "area", "points"]].round(3).head(2).values.tolist()
        [['small-lif', 0, 0.903, 3], ['small-lif', 1, 0.893, 3]]
    """
    curves = _curves(results, "area_under_curve")
    if until is None:
        _check_ends(curves)
    rows = []
    for head, points in curves:
        radii, accuracies = (points[name].to_numpy(float) for name in ("epsilon", "accuracy"))
        end = float(Fraction(until)) if until is not None else radii[-1]
        if end <= 0:
            raise UsageError(
                f"area_under_curve: {_curve_text(head)} would end at radius 0, where there is no "
                "area; choose until above 0, or rows that were attacked"
            )
        if radii[-1] < end:
            raise UsageError(
                f"area_under_curve: {_curve_text(head)} ends at {radii[-1]:.4g}, "
                f"before until={until}; choose a smaller one, or evaluate more radii"
            )
        x = [*radii[radii < end], end]
        y = [*accuracies[radii < end], np.interp(end, radii, accuracies)]
        rows.append({**head, "area": np.trapezoid(y, x) / end, "until": end, "points": len(x)})
    return pd.DataFrame(rows, columns=[*_head_columns(results), "area", "until", "points"])


def eps50(results: pd.DataFrame, level: float = 0.5) -> pd.DataFrame:
    """Radius at which robust accuracy first falls to a level, between two radii of the grid.

    Args:
        results: from `analysis.load("results")`, or of `worst_case`.
        level: accuracy, not relative to the clean one.

    Returns:
        One row for each network and attack, with `eps50` (linear in between), `last` (largest
        radius of the grid) and `outside`: "beyond" where the accuracy stays above the level up to
        `last` (eps50 is NaN: it is larger than `last`), "below" where already the clean accuracy
        is lower (eps50 is NaN), else "".

    Raises:
        UsageError: if a curve has no clean accuracy.

    Example:
        >>> import analysis
        >>> worst = analysis.worst_case(*analysis.example_study())
        >>> found = analysis.eps50(analysis.select(worst, neuron="lif", seed=0))
        >>> [(r.regime, f"{255 * r.eps50:.2f}/255", r.outside) for r in found.itertuples()]
        [('adversarial', 'nan/255', 'beyond'), ('clean', '5.47/255', '')]
    """
    rows = []
    for head, points in _curves(results, "eps50"):
        x, y = points["epsilon"].to_numpy(float), points["accuracy"].to_numpy(float)
        at, outside = float("nan"), "below" if y[0] < level else "beyond"
        fallen = np.flatnonzero(y <= level)
        if y[0] >= level and len(fallen):
            n, outside = int(fallen[0]), ""
            # n = 0 if the clean accuracy is the level itself
            at = x[0] if n == 0 else np.interp(level, y[[n, n - 1]], x[[n, n - 1]])
        rows.append({**head, "eps50": float(at), "last": x[-1], "outside": outside})
    return pd.DataFrame(rows, columns=[*_head_columns(results), "eps50", "last", "outside"])


def gradient_sparsity(gradients: pd.DataFrame) -> pd.DataFrame:
    """Share of each network's loss gradient that vanishes.

    Over layers it is weighted by their values and taken where the gradient enters them from
    behind, as in arXiv 2509.23762; at the image it is what an attack in pixel space can follow.

    Args:
        gradients: from `analysis.load("gradients")`.

    Returns:
        One row for each network and stage, with `layers_zero`, `layers_near_zero` (over layers and
        steps), `image_zero`, `image_near_zero`; near zero is at most `threshold` of the sample's
        largest.

    Example:
        >>> import analysis, pandas as pd
        >>> gradients = pd.DataFrame({
        ...     "training_id": "ab", "stage_id": "cd", "model_sha256": "ef", "threshold": 1e-3,
        ...     "kind": ["image", "conv", "neuron"], "output_size": [64, 100, 300],
        ...     "output_zero_share": [0.0, 0.2, 0.6], "output_near_zero_share": [0.1, 0.2, 0.8]})
        >>> analysis.gradient_sparsity(gradients)[["layers_near_zero", "image_near_zero"]]
           layers_near_zero  image_near_zero
        0              0.65              0.1
    """
    keys = ["training_id", "stage_id", "model_sha256", "threshold"]
    found = gradients.assign(
        zero=gradients["output_zero_share"] * gradients["output_size"],
        near_zero=gradients["output_near_zero_share"] * gradients["output_size"],
    )
    image = found["kind"] == "image"
    places = {"layers": ~image & (found["kind"] != "encoder"), "image": image}
    parts = []
    for place, here in places.items():
        sums = found[here].groupby(keys)[["zero", "near_zero", "output_size"]].sum()
        shares = sums[["zero", "near_zero"]].div(sums["output_size"], axis=0)
        parts.append(shares.add_prefix(f"{place}_"))
    return pd.concat(parts, axis=1).reset_index()


def _curves(results: pd.DataFrame, what: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """What each curve of a network is of, and its points by radius, from the clean accuracy on."""
    found = with_starts(results)
    _check_starts(found, what)
    found = found.assign(accuracy=found["correct"] / found["total"])
    curves = []
    for _, points in found.groupby([*NETWORK, *CURVE], dropna=False, sort=True):
        ordered = points.sort_values("epsilon")
        head = {name: ordered[name].iloc[-1] for name in _OF_CURVE}
        if "attacks" in ordered:
            names = {name for text in ordered["attacks"] for name in attack_names(text)}
            head["attacks"] = ", ".join(sorted(names))
        curves.append((head, ordered))
    order = ("dataset", "network", "training", "attack_name", "seed")
    return sorted(curves, key=lambda curve: tuple(curve[0][name] for name in order))


def _head_columns(results: pd.DataFrame) -> list[str]:
    return [*_OF_CURVE, *(["attacks"] if "attacks" in results else [])]


def _check_starts(found: pd.DataFrame, what: str) -> None:
    first = found.groupby([*NETWORK, "attack_setting"])["epsilon_num"].transform("min")
    for lost in found[first > 0].to_dict("records"):
        raise UsageError(
            f"{what}: {_curve_text({str(k): v for k, v in lost.items()})} has no clean accuracy "
            "to start at; keep the clean rows (analysis.select does)"
        )


def _check_ends(curves: list[tuple[dict[str, Any], pd.DataFrame]]) -> None:
    """Refuse areas over different ranges: they would look comparable."""
    ends: dict[tuple[str, ...], dict[float, str]] = {}
    for head, points in curves:
        key = tuple(str(head[name]) for name in (*PANEL, "attack_setting"))
        ends.setdefault(key, {})[points["epsilon"].iloc[-1]] = _curve_text(head)
    for found in ends.values():
        if len(found) > 1:
            (low, first), *_, (high, last) = sorted(found.items())
            shown = Fraction(low).limit_denominator(100_000)
            raise UsageError(
                f"area_under_curve: {first} ends at epsilon {low:.4g}, {last} at {high:.4g}, so "
                f"their areas say different things; choose the end, e.g. until='{shown}'"
            )


def _curve_text(head: dict[str, Any]) -> str:
    return f"{head['network']} {head['training']} seed {head['seed']} under {head['attack_name']}"
