"""The numbers of a report: means over seeds of every attack, and of the worst case over attacks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from analysis.collecting.audits import judged
from analysis.metrics import BLIND, masking_gap
from analysis.naming import THREAT
from analysis.report.study import CellState, Tables
from analysis.selection import named
from analysis.statistics import summary, worst_case
from analysis.summary_text import comparable
from snnlib.spec.attack import SuiteName
from snnlib.spec.audit import LIMITS, VERDICTS

BLOCK = ["dataset", "split", "samples_sha256", *THREAT]
"""What numbers must have in common to be compared."""
POINT = ["configuration", "split", "samples_sha256", "attack_setting", "epsilon_num", "epsilon_den"]
MASKED = ["configuration", "split", "samples_sha256", *THREAT]
"""Of what it can be said that a gradient is masked."""
SERIES = ["network", "training"]
WORST = "worst case"
MASKED_GAP = LIMITS["masking_gap"].suspicious
"""Share of samples that only attacks beside a network's own gradient find, from which that gradient
counts as masked; the audit's own limit."""
ZERO_SHARE = LIMITS["zero_gradient"].suspicious
"""Share of samples without any gradient, from which the same holds."""


@dataclass(frozen=True, kw_only=True)
class Masked:
    """What speaks against an accuracy: the network's own gradient does not lead to its errors.

    Attributes:
        gap: accuracy under attacks by its own gradient minus that of the worst case, mean over the
            seeds that other attacks met, too.
        at: radius of the largest gap, as numerator and denominator.
        zero: largest share of samples whose gradient was 0 in every step of an attack or suite.
    """

    gap: float
    at: tuple[int, int]
    zero: float


@dataclass(frozen=True, kw_only=True)
class Points:
    """All that the page says about accuracy.

    Attributes:
        attacked: as `summary`, for each attack and the clean images; `counts` holds the correct
            ones of each seed, `zero` the share of samples without a gradient, `broken_by` and
            `mean_linf` how samples fell.
        worst: as `attacked`, for the worst case over attacks, radius 0 included; `partial` where
            other networks met more attacks, or the study asks for more.
        masked: values of `MASKED` → why that accuracy is doubtful.
        verdicts: (configuration, space) → the worst verdict of its audits, and whom they judged if
            not every seed under its own gradient.
    """

    attacked: pd.DataFrame
    worst: pd.DataFrame
    masked: dict[tuple[Any, ...], Masked]
    verdicts: dict[tuple[str, str], tuple[str, str]]

    def doubt(self, row: Any) -> Masked | None:
        """What speaks against a row of either frame."""
        return self.masked.get(tuple(getattr(row, name) for name in MASKED))


def points(tables: Tables, cells: Sequence[CellState]) -> Points:
    """Means over seeds of a study's results.

    Args:
        tables: of the study.
        cells: the study's own.
    """
    # names are made once: those of a part of the rows could differ
    rows = named(tables.results)
    options = rows.drop_duplicates("attack_setting")
    options = options[["attack_setting", "surrogate", "gradient", "loss"]]
    attacked = summary(rows).merge(options, on="attack_setting", how="left")
    attacked = attacked.merge(_counts(rows, POINT), on=POINT, how="left")
    attacked = attacked.merge(_falls(rows), on=POINT, how="left")
    every = worst_case(rows, tables.samples)
    # where some seeds met fewer attacks, these are two quantities
    keys = [*POINT, *THREAT, "attacks"]
    counts = _counts(every.assign(zero_gradient=0), keys).drop(columns="zero")
    worst = comparable(every).merge(counts, on=keys, how="left")
    early = _unfinished(rows, cells)
    here = zip(worst["configuration"], *(worst[name] for name in THREAT), strict=True)
    worst["partial"] |= np.array([key in early for key in here], bool) & (worst["epsilon"] > 0)
    return Points(
        attacked=attacked,
        worst=worst,
        masked=_masked(rows, tables.samples, attacked),
        verdicts=_verdicts(tables),
    )


def _unfinished(rows: pd.DataFrame, cells: Sequence[CellState]) -> set[tuple[Any, ...]]:
    """Configurations, with the threat model, that attacks which the study asks for have not met."""
    settings = dict(zip(rows["training_id"], rows["configuration"], strict=True))
    met = set(zip(rows["training_id"], rows["attack_id"], strict=True))
    return {
        (settings[cell.training_id], *threat)
        for cell in cells
        for attack_id, threat in cell.attacks.items()
        if threat and cell.training_id in settings and (cell.training_id, attack_id) not in met
    }


def _counts(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Correct samples of each seed, in the order of the seeds, and the share without a gradient."""
    groups = rows.sort_values("seed").groupby(keys, observed=True, dropna=False)
    found = groups.agg(
        counts=("correct", tuple), zero=("zero_gradient", "sum"), judged=("total", "sum")
    )
    found["zero"] /= found.pop("judged")
    return found.reset_index()


def _falls(rows: pd.DataFrame) -> pd.DataFrame:
    """Who broke the samples of a suite, of all seeds, and by how large a change."""
    told = rows[rows["broken_by"].notna() | rows["mean_linf"].notna()]
    groups = told.groupby(POINT, observed=True, dropna=False)
    return groups.agg(
        broken_by=("broken_by", _added), mean_linf=("mean_linf", "mean")
    ).reset_index()


def _added(texts: "pd.Series[str]") -> str:
    """Counts such as "apgd:120,square:3" of several rows, added up for each name."""
    tally: Counter[str] = Counter()
    for part in ",".join(texts.dropna()).split(","):
        name, _, number = part.rpartition(":")
        if name and number.isdecimal():
            tally[name] += int(number)
    return ", ".join(f"{name} {number:,}" for name, number in tally.items())


def _masked(
    rows: pd.DataFrame, samples: pd.DataFrame, attacked: pd.DataFrame
) -> dict[tuple[Any, ...], Masked]:
    """Networks whose own gradient finds less than others do, or vanishes."""
    own = attacked[(attacked["surrogate"] == "own") & (attacked["gradient"] == "own")]
    own = own[~own["attack"].isin(BLIND)]
    zeros = own.groupby(MASKED, dropna=False)["zero"].max()
    # a suite's members follow other gradients, too
    alone = (~own["attack"].isin(get_args(SuiteName))).sum()
    others = 0 < alone < (attacked["attack"] != "clean").sum()
    gaps = _gaps(masking_gap(rows, samples)) if others else {}
    found: dict[tuple[Any, ...], Masked] = {}
    for key, zero in zip(zeros.index.to_list(), zeros, strict=True):
        gap, at = gaps.get(key, (0.0, (0, 1)))
        if gap >= MASKED_GAP or zero >= ZERO_SHARE:
            found[key] = Masked(gap=gap, at=at, zero=float(zero))
    return found


def _gaps(gaps: pd.DataFrame) -> dict[tuple[Any, ...], tuple[float, tuple[int, int]]]:
    """The largest mean gap over seeds of each value of `MASKED`, and its radius."""
    told = gaps[gaps["gap"].notna()]
    means = told.groupby([*MASKED, "epsilon_num", "epsilon_den"], dropna=False)["gap"].mean()
    found: dict[tuple[Any, ...], tuple[float, tuple[int, int]]] = {}
    for index, gap in zip(means.index.to_list(), means, strict=True):
        *key, over, under = index
        if gap > found.get(tuple(key), (-1.0, None))[0]:
            found[tuple(key)] = float(gap), (int(over), int(under))
    return found


def _verdicts(tables: Tables) -> dict[tuple[str, str], tuple[str, str]]:
    """The worst verdict of each setting, over its seeds and audits, and whom they judged."""
    trainings = tables.trainings[["training_id", "configuration"]]
    seeds = trainings.groupby("configuration", observed=True)["training_id"].nunique().to_dict()
    # tables are written one after the other: an audit may be read whose training is still to come
    known = tables.audits.merge(trainings, on="training_id")
    return {
        (str(key), str(space)): (worst_verdict(rows["verdict"]), judged(rows, seeds[key]))
        for (key, space), rows in known.groupby(["configuration", "space"], observed=True)
    }


def worst_verdict(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts; one that is not known is worse than all."""
    order: list[str] = list(VERDICTS)
    return max(verdicts, key=lambda one: order.index(one) if one in order else len(order))
