"""Which rows go together: outcomes with their samples, curves with their start, one threat model."""

from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.naming import THREAT, add_names, each, radii_text, threat_text
from jobs.errors import UsageError

Mask = npt.NDArray[np.bool_]

NETWORK = ["training_id", "model_sha256", "samples_sha256"]
"""One network judged on one evaluation set."""
EPSILON = ["epsilon_num", "epsilon_den"]
MASKS = [*NETWORK, "attack_id", *EPSILON, "mask"]
"""Columns of samples that `with_masks` needs: who loads no others reads a fraction."""
CURVE = ["attack_setting", "attack_name", *THREAT]
"""What one curve of a network has in common, besides the network."""
PANEL = ["dataset", "split", "samples_sha256", *THREAT]
"""Where numbers can be compared: one evaluation set under one threat model."""
_OF_ATTACKS = {
    *("attack", "attack_id", "steps", "step_size", "restarts", "random_start", "alpha"),
    *(*THREAT, "loss", "surrogate", "gradient", "attack_name", "attack_setting"),
}


def select(results: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Rows whose columns have the given values; clean rows stay where attacks are chosen.

    Args:
        results: from `analysis.load("results")`, or any frame with its columns.
        **wanted: column = value, or a list of values; `epsilon` as "8/255", too.

    Raises:
        UsageError: if there is no such column, or no row has the value.

    Example:
        >>> import analysis
        >>> results, _ = analysis.example_study()
        >>> chosen = analysis.select(results, neuron="lif", attack="pgd", surrogate="own")
        >>> chosen.groupby(["regime", "attack"], observed=True).size().to_dict()
        {('adversarial', 'clean'): 3, ('adversarial', 'pgd'): 9, ('clean', 'clean'): 3, ('clean', 'pgd'): 9}
    """
    found = results
    for column, value in wanted.items():
        if column not in found:
            raise UsageError(f"select: no column {column!r} (choose {', '.join(results.columns)})")
        values = value if isinstance(value, list | tuple | set) else [value]
        if column == "epsilon":
            values = [_radius(one) for one in values]
        kept = found[column].isin(values).fillna(value=False).astype(bool)
        if not kept.any() and len(found):
            known = radii_text(found) if column == "epsilon" else _known(found[column])
            raise UsageError(f"select: no row has {column}={value!r}; there is {known or 'none'}")
        if column in _OF_ATTACKS:
            kept |= (found["attack"] == "clean") | (found["epsilon_num"] == 0)
        found = found[kept]
    return found


def _known(column: "pd.Series[Any]") -> str:
    return ", ".join(sorted({str(v) for v in column.dropna()})[:12])


def _radius(value: object) -> object:
    """A radius as the column has it; text such as "8/255" is a fraction."""
    try:
        return float(Fraction(value)) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        return value


def with_masks(results: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Results with a column `mask`: which samples are still classified correctly.

    Args:
        results: from `analysis.load("results")`.
        samples: from `analysis.load("samples")`, or its columns `MASKS`.

    Raises:
        UsageError: if rows have no samples, or those of another collection.

    Example:
        >>> import analysis
        >>> results, samples = analysis.example_study()
        >>> found = analysis.with_masks(results, samples)
        >>> bool(found["mask"][0].sum() == found["correct"][0])
        True
    """
    keys = MASKS[:-1]
    found = results.merge(samples[MASKS], on=keys, how="left", validate="one_to_one")
    lost = found["mask"].isna()
    right = found["mask"].map(np.sum, na_action="ignore")
    for wrong, what in (
        (lost, "have no samples"),
        (~lost & (right != found["correct"]), "count otherwise than their samples"),
    ):
        if wrong.any():
            first = found[wrong].iloc[0]
            raise UsageError(
                f"{wrong.sum()} of {len(found)} results {what}, first {first['label']} under "
                f"{first['attack']}; load both tables from one run root, after one `collect`"
            )
    return found


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with names for people and categories as text."""
    return plain(frame if "attack_name" in frame else add_names(frame))


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Categories as text, so that parts of several tables go together."""
    texts = frame.select_dtypes("category").columns
    return frame.astype(dict.fromkeys(texts, "object"))


def with_starts(results: pd.DataFrame) -> pd.DataFrame:
    """Curves of each network: its attacked rows, and its clean row once for each attack.

    Args:
        results: from `analysis.load("results")`; of `worst_case` they are whole already.
    """
    found = named(results)
    if (found["attack"] == "worst").any():
        return found
    attacked = found[found["attack"] != "clean"]
    return pd.concat([start_of(attacked, found, CURVE, on=NETWORK), attacked], ignore_index=True)


def start_of(
    curves: pd.DataFrame,
    found: pd.DataFrame,
    columns: list[str],
    *,
    on: list[str],
    how: Literal["inner", "left"] = "inner",
) -> pd.DataFrame:
    """The clean rows, once for each curve that agrees with them in the columns `on`."""
    clean = found[found["attack"] == "clean"].drop(columns=columns)
    clean = clean.drop_duplicates(NETWORK)
    return clean.merge(curves[[*on, *columns]].drop_duplicates(), on=on, how=how)


def all_of(masks: "pd.Series[Any]") -> Mask:
    """Samples that are correct in every one of the masks."""
    return np.asarray(np.logical_and.reduce(np.stack(list(masks))))


def check_one_panel(frame: pd.DataFrame, what: str) -> None:
    """Refuse to put numbers side by side that say different things.

    Args:
        frame: with names.
        what: would be done, for the message.

    Raises:
        UsageError: rows are of several datasets, evaluation sets or threat models.
    """
    attacked = frame[frame["epsilon_num"] > 0]
    for columns, kind, why in (
        (["dataset"], "datasets", "accuracies on them cannot be compared"),
        (["split", "samples_sha256"], "evaluation sets", "nothing is paired between them"),
        (THREAT, "threat models", "a radius means another thing in each"),
    ):
        rows = (attacked if columns is THREAT else frame).drop_duplicates(columns)
        if len(rows) <= 1:
            continue
        texts = [_panel_text(row, columns) for row in each(rows)]
        raise UsageError(
            f"{what}: {len(rows)} {kind} ({'; '.join(texts)}); {why}; "
            f"choose one, e.g. analysis.select(results, {_chosen(rows, columns)})"
        )


def check_same_attacks(frame: pd.DataFrame, what: str) -> None:
    """Refuse worst cases over different attacks side by side.

    Args:
        frame: of `worst_case`; anything else passes.
        what: would be done, for the message.

    Raises:
        UsageError: at some radius networks met different attacks.
    """
    if "attacks" not in frame:
        return
    met = frame[frame["epsilon_num"] > 0].groupby("epsilon")["attacks"].unique()
    for epsilon, attacks in zip(met.index.tolist(), met.tolist(), strict=True):
        if len(attacks) > 1:
            raise UsageError(
                f"{what}: at epsilon {epsilon:.4g} some networks met {attacks[0]}, others "
                f"{attacks[1]}, so their worst cases say different things; take those under the "
                "most attacks by analysis.most_attacked(worst), or select attacks that all met"
            )


def most_attacked(worst: pd.DataFrame) -> pd.DataFrame:
    """Worst cases that can be compared: at each radius those over the most attacks.

    Args:
        worst: of `worst_case`; while a grid runs some networks have met fewer attacks.

    Returns:
        Without the rows over fewer; clean rows stay.

    Example:
        >>> import analysis
        >>> results, samples = analysis.example_study()
        >>> some = results[(results["seed"] < 2) | (results["attack"] != "pgd")]
        >>> worst = analysis.worst_case(some, samples)
        >>> len(worst), len(analysis.most_attacked(worst))
        (48, 36)
    """
    return worst[worst["attacks"] == most_met(worst, pd.Series(1, worst.index))]


def most_met(points: pd.DataFrame, networks: "pd.Series[int]") -> "pd.Series[str]":
    """The one set of attacks under which the points of a panel are compared at their radius.

    The largest; of equally large ones that of more networks, then the first by name.

    Args:
        points: with the columns of `PANEL` and `EPSILON`, and `attacks`, names joined by commas.
        networks: how many each point stands for.

    Returns:
        For each point the set of its panel and radius.
    """
    place = points.groupby([*PANEL, *EPSILON], dropna=False).ngroup()
    sets = pd.DataFrame({"place": place, "attacks": points["attacks"], "networks": networks})
    sets = sets.groupby(["place", "attacks"]).sum().reset_index()
    sets["size"] = sets["attacks"].map(lambda names: len(attack_names(names)))
    order = {"size": False, "networks": False, "attacks": True}
    sets = sets.sort_values(list(order), ascending=list(order.values()))
    return place.map(sets.drop_duplicates("place").set_index("place")["attacks"])


def attack_names(attacks: str) -> list[str]:
    """The names in a worst case's column `attacks`; none of a clean row."""
    return attacks.split(", ") if attacks else []


def _panel_text(row: Any, columns: list[str]) -> str:
    if columns is THREAT:
        return threat_text(row.norm, row.space, row.clip)
    return " ".join(str(getattr(row, column))[:12] for column in columns)


def _chosen(rows: pd.DataFrame, columns: list[str]) -> str:
    """The columns that differ, with the values of the first row."""
    values = {c: rows[c].iloc[0] for c in columns if rows[c].nunique() > 1}
    texts = {c: v if isinstance(v, str) else bool(v) for c, v in values.items()}
    return ", ".join(f"{column}={value!r}" for column, value in texts.items())
