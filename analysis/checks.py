"""What should not be: results that speak of a mistake, in the attack or in what is compared.

Comparisons are paired sample by sample (McNemar's exact test), with Holm's correction over all
pairs that one check looks at: what is found is beyond sampling error.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import pandas as pd

from analysis.comparison import holm, mcnemar, only
from analysis.metrics import BLIND
from analysis.naming import THREAT, each, epsilon_text, threat_text
from analysis.selection import EPSILON, NETWORK, Mask, all_of, named, with_masks
from analysis.statistics import wilson
from snnlib.spec.data import CLASSES

Severity = Literal["error", "warning", "note"]

LEVEL = 0.05
ZERO_SHARE = 0.05
"""Samples whose input gradient is exactly 0 in every step: more than this share is a finding."""
ITERATIVE = ("bim", "pgd", "mifgsm", "apgd", "sapgd")

_NEEDED = [
    *("configuration", "dataset", "label", "network", "training", "seed", "split", "code", "mask"),
    *(*NETWORK, "attack", "attack_id", "attack_name", *THREAT, "loss", "surrogate", "gradient"),
    *("epsilon", *EPSILON, "correct", "total", "zero_gradient"),
]
_MORE_STEPS = "attack with more steps, restarts or another surrogate before you report it"
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that should not be.

    Attributes:
        severity: `error`: numbers must not be used so; `warning`: look before you do; `note`: know
            it.
        check: name of the check.
        where: network, attack, radii.
        what: was found.
        way_out: how to go on.
    """

    severity: Severity
    check: str
    where: str
    what: str
    way_out: str


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two outcomes on the same samples, of which `low` should not be right more often than `high`."""

    network: str
    attack: str
    radius: str
    low: Mask
    high: Mask


def check(
    results: pd.DataFrame, samples: pd.DataFrame, attempts: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Look for results that should not be.

    Args:
        results: from `analysis.load("results")`, whole or filtered.
        samples: from `analysis.load("samples")`.
        attempts: from `analysis.load("attempts")`, to name cells that left no result.

    Returns:
        One row for each finding, the gravest first, with `severity` (error, warning, note),
        `check`, `where`, `what` and `way_out`; empty if there is none. The checks are:
        - robust_above_clean, rising_with_epsilon, iterative_weaker, blind_stronger,
          unbounded_survived, zero_gradients: signs that attacks failed, not that networks hold;
        - two_networks, test_sets, threat_models, code_versions: what must not be compared as it
          stands;
        - missing_seeds, missing_rows, missing_cells: what the grid lacks.

    Example:
        >>> import analysis
        >>> results, samples = analysis.example_study()
        >>> analysis.check(results, samples).empty
        True
        >>> lost = results[(results["seed"] != 2) | (results["neuron"] != "lif")]
        >>> analysis.check(lost, samples)[["severity", "check", "where"]].values.tolist()[0]
        ['warning', 'missing_seeds', 'digits small-lif adversarial fgsm@8/255']
    """
    names = [field.name for field in fields(Finding)]
    if results.empty:
        return pd.DataFrame(columns=names)
    found = with_masks(named(results), samples)[_NEEDED]
    found = found.assign(label=_told_apart(found))
    findings = [
        *_weak_attacks(found),
        *_survived(found),
        *_zero_gradients(found),
        *_incomparable(found),
        *_missing_seeds(found),
        *_missing_rows(found),
        *(_missing_cells(found, attempts) if attempts is not None else ()),
    ]
    findings.sort(key=lambda one: (_ORDER[one.severity], one.check, one.where))
    return pd.DataFrame([asdict(one) for one in findings], columns=names)


def _told_apart(found: pd.DataFrame) -> "pd.Series[str]":
    """Labels, with a piece of the id behind those that trainings of several manifests share."""
    shared = found.groupby("label")["training_id"].transform("nunique") > 1
    longer = found["label"] + " #" + found["training_id"].str[:8]
    return found["label"].mask(shared, longer)


def _weak_attacks(found: pd.DataFrame) -> Iterator[Finding]:
    """Pairs of outcomes in the wrong order."""
    yield from _reversed(
        _against_clean(found),
        "robust_above_clean",
        "right more often under attack than without one ({})",
        "the attack climbs another loss than the decision, or the tables mix networks; "
        "check its loss and gradient, then attack again",
    )
    yield from _reversed(
        _over_radii(found),
        "rising_with_epsilon",
        "right more often at a larger radius than at the one before ({})",
        f"the attack stops short: {_MORE_STEPS}",
    )
    yield from _reversed(
        _steps(found),
        "iterative_weaker",
        "right more often than under FGSM ({})",
        f"gradients mislead, or the step size is wrong: {_MORE_STEPS}",
    )
    yield from _reversed(
        _blind(found),
        "blind_stronger",
        "finds what all attacks along its own gradients together miss ({})",
        "gradients are masked: attack with other surrogates, report the worst case over all",
    )


def _reversed(pairs: Iterator[_Pair], check: str, what: str, way_out: str) -> Iterator[Finding]:
    """A finding for each network and attack whose pairs are in the wrong order beyond chance."""
    listed = list(pairs)
    lost = [(only(pair.low, pair.high), only(pair.high, pair.low)) for pair in listed]
    adjusted = holm([mcnemar(a, b) if a > b else 1.0 for a, b in lost])
    groups: dict[tuple[str, str], list[str]] = {}
    for pair, (a, b), p in zip(listed, lost, adjusted.tolist(), strict=True):
        if a > b and p <= LEVEL:
            text = f"{pair.radius}: {a} samples gained, {b} lost"
            groups.setdefault((pair.network, pair.attack), []).append(text)
    for (network, attack), texts in groups.items():
        where = f"{network} under {attack}"
        yield Finding(
            severity="error" if check == "robust_above_clean" else "warning",
            check=check,
            where=where,
            what=what.format("; ".join(texts)),
            way_out=way_out,
        )


def _against_clean(found: pd.DataFrame) -> Iterator[_Pair]:
    clean = found[found["attack"] == "clean"].groupby(NETWORK)["mask"].agg(all_of)
    for row in each(found[found["attack"] != "clean"]):
        network = (row.training_id, row.model_sha256, row.samples_sha256)
        if network in clean.index:
            yield _pair(row, row.mask, clean[network])


def _over_radii(found: pd.DataFrame) -> Iterator[_Pair]:
    keys = [*NETWORK, "attack_id"]
    attacked = found[found["attack"] != "clean"].sort_values([*keys, "epsilon"])
    same = attacked.duplicated(keys)
    rows = zip(each(attacked), same.tolist(), strict=True)
    for (before, _), (row, goes_on) in itertools.pairwise(rows):
        if goes_on:
            yield _pair(row, row.mask, before.mask)


def _steps(found: pd.DataFrame) -> Iterator[_Pair]:
    alike = [*NETWORK, *THREAT, "epsilon", "loss", "surrogate", "gradient"]
    one = found[found["attack"] == "fgsm"][[*alike, "mask"]]
    both = found[found["attack"].isin(ITERATIVE)].merge(one, on=alike, suffixes=("", "_fgsm"))
    for row in each(both):
        yield _pair(row, row.mask, row.mask_fgsm)


def _blind(found: pd.DataFrame) -> Iterator[_Pair]:
    at = [*NETWORK, *THREAT, "epsilon"]
    seeing = found[found["surrogate"].notna() & ~found["attack"].isin(BLIND)]
    best = seeing.groupby(at, dropna=False)["mask"].agg(all_of).rename("mask_seeing")
    both = found[found["attack"].isin(BLIND)].merge(best.reset_index(), on=at)
    for row in each(both):
        yield _pair(row, row.mask_seeing, row.mask)


def _pair(row: Any, low: Mask, high: Mask) -> _Pair:
    return _Pair(
        network=row.label,
        attack=row.attack_name,
        radius=epsilon_text(row.epsilon_num, row.epsilon_den),
        low=low,
        high=high,
    )


def _survived(found: pd.DataFrame) -> Iterator[Finding]:
    """An attack that may change everything must reach chance."""
    free = found[(found["norm"] == "linf") & (found["epsilon"] >= 1) & ~found["attack"].isin(BLIND)]
    for (label, *_), rows in free.groupby(["label", *NETWORK, *THREAT], sort=True):
        worst = rows.iloc[int(rows["correct"].to_numpy().argmin())]
        chance = 1 / CLASSES[worst["dataset"]]
        low, _ = wilson(worst["correct"], worst["total"])
        if low > chance:
            yield Finding(
                severity="warning",
                check="unbounded_survived",
                where=f"{label} under {worst['attack_name']}",
                what=f"{worst['correct']} of {worst['total']} samples withstand a radius of 1 "
                f"in {worst['space']} space, where any image is allowed; chance is {chance:.0%}",
                way_out=f"the attack does not follow the loss: {_MORE_STEPS}",
            )


def _zero_gradients(found: pd.DataFrame) -> Iterator[Finding]:
    shares = found.assign(share=found["zero_gradient"] / found["total"])
    high = shares[shares["share"] > ZERO_SHARE].sort_values("share", ascending=False)
    for worst in each(high.drop_duplicates(["label", "attack_name"])):
        radius = epsilon_text(worst.epsilon_num, worst.epsilon_den)
        yield Finding(
            severity="warning",
            check="zero_gradients",
            where=f"{worst.label} under {worst.attack_name}",
            what=f"{worst.zero_gradient} of {worst.total} samples have no input gradient "
            f"in any step at {radius}: they were not attacked",
            way_out="give the attack a wider surrogate, the margin loss or random starts",
        )


def _incomparable(found: pd.DataFrame) -> Iterator[Finding]:
    """Networks, evaluation sets, threat models and codes that a comparison would mix."""
    for (label, _), rows in found.groupby(["label", "training_id"], sort=True):
        if (count := rows["model_sha256"].nunique()) > 1:
            yield Finding(
                severity="error",
                check="two_networks",
                where=str(label),
                what=f"results of {count} different networks under one training",
                way_out="choose one: analysis.select(results, model_sha256=…)",
            )
    for (dataset, split), rows in found.groupby(["dataset", "split"], sort=True):
        yield from _test_sets(f"{dataset} {split}", rows)
        yield from _codes(f"{dataset} {split}", rows)
    threats = found[found["epsilon_num"] > 0].drop_duplicates(THREAT)
    if len(threats) > 1:
        texts = [threat_text(row.norm, row.space, row.clip) for row in each(threats)]
        yield Finding(
            severity="note",
            check="threat_models",
            where="; ".join(sorted(texts)),
            what="a radius means another thing in each",
            way_out="choose one: analysis.select(results, space='pixel', norm='linf')",
        )


def _test_sets(where: str, rows: pd.DataFrame) -> Iterator[Finding]:
    sets = rows.drop_duplicates("samples_sha256")
    if len(sets) <= 1:
        return
    same_size = bool(sets["total"].duplicated().any())
    sizes = ", ".join(f"{r.samples_sha256[:8]} of {r.total:,}" for r in each(sets))
    yield Finding(
        severity="error" if same_size else "note",
        check="test_sets",
        where=where,
        what=f"{len(sets)} evaluation sets ({sizes} samples)"
        + (": equal in size, not in content" if same_size else ""),
        way_out="compare only within one: analysis.select(results, samples_sha256=…)"
        + ("; then verify the dataset's files" if same_size else ""),
    )


def _codes(where: str, rows: pd.DataFrame) -> Iterator[Finding]:
    for attack, mine in rows.groupby("attack_name", sort=True):
        codes = mine["code"].value_counts()
        if len(codes) > 1:
            counts = ", ".join(f"{str(code)[:8]}: {n} rows" for code, n in codes.items())
            yield Finding(
                severity="warning",
                check="code_versions",
                where=f"{where} under {attack}",
                what=f"{len(codes)} versions of the code attacked ({counts})",
                way_out="if an attack changed between them, invalidate the older and resume",
            )


def _missing_seeds(found: pd.DataFrame) -> Iterator[Finding]:
    """Seeds that other networks on the same samples have."""
    for (dataset, _, _), rows in found.groupby(["dataset", "split", "samples_sha256"], sort=True):
        wanted = set(rows["seed"])
        for _, mine in rows.groupby("configuration", sort=True):
            if lost := sorted(wanted - set(mine["seed"])):
                first = mine.iloc[0]
                yield Finding(
                    severity="warning",
                    check="missing_seeds",
                    where=f"{dataset} {first['network']} {first['training']}",
                    what=f"no results for seeds {', '.join(map(str, lost))}, which others have",
                    way_out="python launch.py resume, then collect; or select seeds that all have",
                )


def _missing_rows(found: pd.DataFrame) -> Iterator[Finding]:
    """Attacks and radii that other networks on the same samples have."""
    point = ["attack_name", "epsilon_num", "epsilon_den"]
    for _, rows in found.groupby(["dataset", "split", "samples_sha256"], sort=True):
        wanted = set(rows[point].itertuples(index=False, name=None))
        for label, mine in rows.groupby("label", sort=True):
            lost = sorted(wanted - set(mine[point].itertuples(index=False, name=None)))
            if lost:
                texts = [f"{attack} at {epsilon_text(n, d)}" for attack, n, d in lost]
                more = f" and {len(texts) - 4} more" if len(texts) > 4 else ""
                yield Finding(
                    severity="warning",
                    check="missing_rows",
                    where=str(label),
                    what=f"lacks {', '.join(texts[:4])}{more}, which others have",
                    way_out="python launch.py resume, then collect; or select what all have",
                )


def _missing_cells(found: pd.DataFrame, attempts: pd.DataFrame) -> Iterator[Finding]:
    last = attempts.sort_values("number").drop_duplicates("training_id", keep="last")
    for row in each(last[~last["training_id"].isin(set(found["training_id"]))]):
        reason = f" ({row.reason})" if isinstance(row.reason, str) and row.reason else ""
        yield Finding(
            severity="warning",
            check="missing_cells",
            where=str(row.label),
            what=f"has no result; its attempt {row.number} is {row.state}{reason}",
            way_out=f"python launch.py logs {row.training_id[:8]}, then resume",
        )
