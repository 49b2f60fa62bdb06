"""Results as a LaTeX table that a paper can take as it is."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Literal

import pandas as pd

from analysis.comparison import compare, holm
from analysis.naming import THREAT, each, epsilon_text, in_grey_levels, seeds_text
from analysis.selection import NETWORK, check_one_panel, check_same_attacks, named
from analysis.statistics import summary
from jobs.errors import UsageError

Spread = Literal["interval", "deviation"]
_Column = tuple[str, float]
"""Name of the attack (empty for none) and radius."""

_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "ε": r"$\varepsilon$",
    "∞": r"$\infty$",
    "±": r"$\pm$",
}
_SPREADS: dict[Spread, str] = {
    "interval": r"half of Student's {level:g}\,\% interval of the mean over seeds",
    "deviation": "standard deviation over seeds",
}
_PAIR = 2
_NORMS = {"linf": r"$\ell_\infty$", "l2": r"$\ell_2$"}


def to_latex(
    frame: pd.DataFrame,
    *,
    epsilons: Sequence[str | Fraction] | None = None,
    label: str = "tab:robustness",
    spread: Spread = "interval",
    confidence: float = 0.95,
) -> str:
    r"""A booktabs table: a row for each network and regime, a column for each attack and radius.

    Bold is the best of a column only where all rows have the same seeds and it is significantly
    better than every other: by McNemar's exact test over the samples, with Holm's correction over
    the table, and by the seeds if there are several (`compare`).

    Args:
        frame: rows with masks, of `worst_case`, or of `with_masks` for single attacks.
        epsilons: radii to show, e.g. ["2/255", "8/255"]; all when unset. Clean comes by itself.
        label: for `\ref`.
        spread: what follows the mean.
        confidence: of intervals, and 1 less the level of the tests.

    Returns:
        Text of a `table` environment; it needs the package booktabs.

    Raises:
        UsageError: if there are no masks, a radius is not there, or rows are of several datasets,
            evaluation sets or threat models.

    Example:
        >>> import analysis
        >>> worst = analysis.worst_case(*analysis.example_study())
        >>> text = analysis.to_latex(analysis.select(worst, regime="adversarial"), epsilons=["16/255"])
        >>> print("\n".join(line for line in text.splitlines() if line.startswith("small")))
        small-lif & adversarial fgsm@8/255 & $95.0 \pm 2.5$ & $50.0 \pm 2.5$ \\
        small-plif & adversarial fgsm@8/255 & $96.0 \pm 2.5$ & $\mathbf{63.0 \pm 2.5}$ \\
    """
    rows = _prepared(frame, epsilons)
    points = summary(rows, confidence)
    best, tests = _best(rows, points, confidence)
    columns = sorted({(_attack(r), r.epsilon) for r in each(points)})
    settings = points.drop_duplicates("configuration").sort_values(["network", "training"])
    cells = {
        (r.configuration, (_attack(r), r.epsilon)): _cell(r, spread, bold=r.Index in best)
        for r in each(points)
    }
    body = [
        " & ".join(
            [escape(r.network), escape(r.training)]
            + [cells.get((r.configuration, column), "--") for column in columns]
        )
        for r in each(settings)
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{_caption(points, spread, confidence, tests)}}}",
        f"\\label{{{label}}}",
        f"\\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        r"\toprule",
        *_heads(columns, points),
        r"\midrule",
        *(f"{line} \\\\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    Example:
        >>> import analysis
        >>> print(analysis.escape("ta_lif & 50 %"))
        ta\_lif \& 50 \%
    """
    return "".join(_ESCAPES.get(c, c) for c in text if c.isprintable())


def _prepared(frame: pd.DataFrame, epsilons: Sequence[str | Fraction] | None) -> pd.DataFrame:
    """Rows of the radii wanted, with one name for what is not attacked."""
    if "mask" not in frame:
        raise UsageError(
            "to_latex: no masks, so nothing tells whether the best is significantly so; pass "
            "analysis.worst_case(results, samples) or analysis.with_masks(results, samples)"
        )
    rows = named(frame)
    check_one_panel(rows, "to_latex")
    clean = rows["epsilon_num"] == 0
    if epsilons is not None:
        rows = rows[clean | _chosen(rows, epsilons)]
    if rows.empty:
        raise UsageError("to_latex: no rows; is there a collected result that was selected?")
    clean = rows["epsilon_num"] == 0
    without = (
        rows[clean].drop_duplicates(NETWORK).assign(attack_setting="clean", attack_name="clean")
    )
    rows = pd.concat([without, rows[~clean]], ignore_index=True)
    # equal in all rows, or clean ones, which have none, would be other points
    threat = rows.loc[rows["epsilon_num"] > 0, THREAT].drop_duplicates()
    rows[THREAT] = threat.iloc[0].tolist() if len(threat) else [None, None, None]
    check_same_attacks(rows, "to_latex")
    return rows


def _chosen(rows: pd.DataFrame, epsilons: Iterable[str | Fraction]) -> "pd.Series[bool]":
    pairs = list(zip(rows["epsilon_num"].tolist(), rows["epsilon_den"].tolist(), strict=True))
    wanted = {Fraction(epsilon) for epsilon in epsilons}
    known = {Fraction(*pair) for pair in pairs}
    if lost := wanted - known:
        there = ", ".join(_radius(e.numerator, e.denominator) for e in sorted(known))
        raise UsageError(f"to_latex: no rows at epsilon {min(lost)}; there are {there}")
    return pd.Series([Fraction(*pair) in wanted for pair in pairs], index=rows.index)


def _best(rows: pd.DataFrame, points: pd.DataFrame, confidence: float) -> tuple[set[Any], int]:
    """Index of the points that are significantly best in their column; how many tests it took."""
    found = []
    for _, column in points.groupby(["attack_name", "epsilon"], sort=True):
        place = int(column["mean"].to_numpy().argmax())
        top = column.iloc[place]
        mine = rows["configuration"] == top["configuration"]
        here = (rows["attack_name"] == top["attack_name"]) & (rows["epsilon"] == top["epsilon"])
        leader, rivals = rows[here & mine], rows[here & ~mine]
        own = set(leader["seed"])
        shown = rivals.groupby("configuration")["seed"].agg(set)
        # the test pairs seeds: of other ones it would speak of other numbers than those shown
        if len(shown) and all(seeds == own for seeds in shown):
            tests = compare(rivals, leader, resamples=1)
            found.append(tests.assign(point=column.index[place]))
    if not found:
        return set(), 0
    tests = pd.concat(found, ignore_index=True)
    behind = (tests["seed_high"] < 0) | (tests["seeds"] == 1)
    small = pd.Series(holm(tests["p"]), index=tests.index) <= 1 - confidence
    clear = small & behind & (tests["difference"] < 0)
    best = clear.groupby(tests["point"]).all()
    return set(best.index[best]), len(tests)


def _attack(row: Any) -> str:
    return "" if row.epsilon_num == 0 else str(row.attack_name)


def _cell(row: Any, spread: Spread, *, bold: bool) -> str:
    """Mean in percent and its spread over seeds, if there are several."""
    text = f"{100 * row.mean:.1f}"
    if row.seeds > 1:
        width = row.deviation if spread == "deviation" else _half(row)
        text += f" \\pm {100 * width:.1f}"
    return f"$\\mathbf{{{text}}}$" if bold else f"${text}$"


def _half(row: Any) -> float:
    """Half of Student's interval; of two seeds it would say little but that they are two."""
    half = (row.highest - row.lowest) / 2 if row.seeds == _PAIR else row.mean - row.seed_low
    return float(half)


def _radius(numerator: int, denominator: int, *, grey: bool = False) -> str:
    return epsilon_text(numerator, denominator, grey=grey)


def _heads(columns: list[_Column], points: pd.DataFrame) -> list[str]:
    """Names of the attacks over their radii, and a rule below each."""
    grey = in_grey_levels(points)
    texts = {r.epsilon: _radius(r.epsilon_num, r.epsilon_den, grey=grey) for r in each(points)}
    attacks = [attack for attack, _ in columns]
    spans, rules, at = [" & "], [], 3
    for attack in dict.fromkeys(attacks):
        width = attacks.count(attack)
        name = f"\\multicolumn{{{width}}}{{c}}{{{escape(attack)}}}" if attack else ""
        spans.append(f" & {name}".rstrip())
        if attack:
            rules.append(f"\\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    radii = [f"${texts[epsilon]}$" if attack else "Clean" for attack, epsilon in columns]
    second = " & ".join(["Network", "Training", *radii])
    if not any(attacks):
        return [f"{second} \\\\"]
    return [f"{''.join(spans).strip()} \\\\", "".join(rules), f"{second} \\\\"]


def _over(points: pd.DataFrame) -> str:
    """The attacks of a worst case; where radii differ in them, each set with its radii."""
    grey = in_grey_levels(points)
    radii: dict[str, dict[str, None]] = {}
    for row in each(points[points["attacks"] != ""].sort_values("epsilon")):
        text = _radius(row.epsilon_num, row.epsilon_den, grey=grey)
        radii.setdefault(row.attacks, {})[f"${text}$"] = None
    if len(radii) == 1:
        return f"over {escape(next(iter(radii)))}"
    return "; ".join(f"at {', '.join(at)} over {escape(names)}" for names, at in radii.items())


def _spread_text(points: pd.DataFrame, spread: Spread, confidence: float) -> str:
    text = _SPREADS[spread].format(level=100 * confidence)
    pairs = points["seeds"] == _PAIR
    if spread == "deviation" or not pairs.any():
        return text
    more = (points["seeds"] > _PAIR).any()
    return f"{text}, of two seeds half their range" if more else "half the range of two seeds"


def _caption(points: pd.DataFrame, spread: Spread, confidence: float, tests: int) -> str:
    """What the numbers are, of how many, and what is bold."""
    first = points.iloc[0]
    mean = f"mean over {seeds_text(points)}"
    if points["seeds"].max() > 1:
        mean += f" $\\pm$ {_spread_text(points, spread, confidence)}"
    words = [
        f"Accuracy in \\% ({mean}) on {escape(first['dataset'])}, {escape(first['split'])} split, "
        f"$n = {first['total']}$ samples for each network."
    ]
    if (points["epsilon_num"] > 0).any():
        clip = "clipped to $[0, 1]$" if first["clip"] else "not clipped"
        norm = _NORMS.get(first["norm"], escape(str(first["norm"])))
        words.append(f"Attacks: {norm} in {escape(first['space'])} space, {clip}.")
    if "attacks" in points and (points["attacks"] != "").any():
        words.append(f"Worst case for each sample {_over(points)}.")
    if tests:
        words.append(
            "Bold: significantly better than every other row "
            f"(McNemar's exact test, Holm over {tests} comparisons, $p \\le {1 - confidence:.2g}$"
            + (", and the seeds' interval of the difference" if points["seeds"].max() > 1 else "")
            + ")."
        )
    return " ".join(words)
