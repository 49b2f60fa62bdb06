"""The masking gap: what an attack along another gradient leaves standing, and what really stands."""

from collections.abc import Iterator

import pandas as pd

from analysis.naming import THREAT, each, epsilon_text, in_grey_levels

_SAME = [
    *("training_id", "model_sha256", "attack", "steps", "step_size", "restarts", "random_start"),
    *("alpha", *THREAT, "loss", "surrogate", "draws"),
    *("source_attack", "source_training_id", "source_sha256"),
]
_ON = ["samples_sha256", "evaluation_seed", "evaluation_draws"]
_RADIUS = ["epsilon_num", "epsilon_den"]


def gaps(results: pd.DataFrame) -> pd.DataFrame:
    """Pairs of rows of one network and attack that differ in the gradient rule alone.

    Args:
        results: from `analysis.load("results")`.

    Returns:
        A row for each network, radius and other rule (`gradient`), with `told`, the accuracy along
        that rule, `own`, that along the network's own, and `gap`, their difference; shares.
    """
    attacked = results[results["epsilon"] > 0]
    own = attacked[attacked["gradient"] == "own"]
    other = attacked[attacked["gradient"] != "own"].assign(told=lambda rows: rows["accuracy"])
    keys = [*_SAME, *_ON, *_RADIUS]
    pairs = other.merge(own[[*keys, "accuracy"]], on=keys, suffixes=("", "_own"))
    pairs = pairs.assign(own=pairs["accuracy_own"], gap=pairs["told"] - pairs["accuracy_own"])
    return pairs.sort_values(["model", "neuron", "seed", "epsilon"])


def gap_lines(results: pd.DataFrame) -> Iterator[str]:
    """A line for each network and other rule, at the radius where the two differ most."""
    pairs = gaps(results)
    for _, rows in pairs.groupby(["training_id", "gradient"], sort=False, observed=True):
        widest = rows.loc[[rows["gap"].abs().idxmax()]]
        (row,) = each(widest)
        radius = epsilon_text(row.epsilon_num, row.epsilon_den, grey=in_grey_levels(widest))
        yield (
            f"{row.model}-{row.neuron} at epsilon {radius}: {100 * row.told:.1f} % stand under "
            f"{row.attack} along {row.gradient}, {100 * row.own:.1f} % along the network's own "
            f"gradient: a masking gap of {100 * row.gap:.1f} points"
        )
