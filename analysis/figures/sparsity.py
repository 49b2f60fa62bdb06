"""Gradient sparsity against masking gap: does a vanishing gradient defend, or only hide?"""

from fractions import Fraction
from typing import Literal

import numpy as np
import pandas as pd

from analysis.figures import style
from analysis.figures.style import Drawing
from analysis.metrics import gradient_sparsity, masking_gap
from analysis.naming import each, radii_text
from analysis.selection import check_one_panel, named
from jobs.errors import UsageError

_HEIGHT = 2.2
_SHUFFLES = 10_000
Where = Literal["layers_zero", "layers_near_zero", "image_zero", "image_near_zero"]
_AXES: dict[Where, str] = {
    "layers_zero": "exact zeros, gradient of all layers (%)",
    "layers_near_zero": "near-zero values, gradient of all layers (%)",
    "image_zero": "exact zeros, gradient of the image (%)",
    "image_near_zero": "near-zero values, gradient of the image (%)",
}


def sparsity_and_gap(
    gradients: pd.DataFrame, results: pd.DataFrame, samples: pd.DataFrame
) -> pd.DataFrame:
    """`masking_gap` of each network beside its `gradient_sparsity`.

    Args:
        gradients: from `analysis.load("gradients")`; of several stages of a network the first.
        results: from `analysis.load("results")`.
        samples: from `analysis.load("samples")`.

    Raises:
        UsageError: if no network has both.

    Example:
        >>> import analysis, pandas as pd
        >>> results, samples = analysis.example_study()
        >>> networks = results[["training_id", "model_sha256"]].drop_duplicates()
        >>> gradients = networks.assign(stage_id="s", threshold=1e-3, kind="conv", output_size=64,
        ...     output_zero_share=0.25, output_near_zero_share=0.5)
        >>> found = analysis.sparsity_and_gap(gradients, results, samples)
        >>> found[["gap", "layers_zero"]].round(3).head(1).values.tolist()
        [[0.03, 0.25]]
    """
    sparsity = gradient_sparsity(gradients)
    sparsity = sparsity.sort_values("stage_id").drop_duplicates(["training_id", "model_sha256"])
    gaps = masking_gap(results, samples)
    found = gaps.merge(sparsity, on=["training_id", "model_sha256"])
    if found.empty:
        raise UsageError(
            "sparsity: no network has both tracked gradients and results; give the cells "
            "`stages: [gradients]`, submit and collect again"
        )
    return found


def draw_sparsity(
    gradients: pd.DataFrame,
    results: pd.DataFrame,
    samples: pd.DataFrame,
    *,
    epsilon: str | Fraction | None = None,
    where: Where = "layers_near_zero",
) -> Drawing:
    """Masking gap against gradient sparsity: a mark for each network, with its sample interval.

    Args:
        gradients: from `analysis.load("gradients")`.
        results: from `analysis.load("results")`, of one dataset and threat model.
        samples: from `analysis.load("samples")`.
        epsilon: the radius, e.g. "8/255"; when unset that of the largest gaps.
        where: which share of the gradient (`gradient_sparsity`).

    Raises:
        UsageError: if no network has both, no attack but those of the own gradient was made, or
            rows are of several datasets, evaluation sets or threat models.

    Example:
        >>> import analysis, pandas as pd
        >>> results, samples = analysis.example_study()
        >>> networks = results[["training_id", "model_sha256"]].drop_duplicates()
        >>> gradients = networks.assign(stage_id="s", threshold=1e-3, kind="conv", output_size=64,
        ...     output_zero_share=0.0, output_near_zero_share=[n / 20 for n in range(12)])
        >>> analysis.draw_sparsity(gradients, results, samples, epsilon="8/255").name
        'sparsity-digits-linf-pixel-layers-near-zero-8-255'
    """
    check_one_panel(named(results), "sparsity")
    found = sparsity_and_gap(gradients, results, samples).dropna(subset=["gap", where])
    if found.empty:
        raise UsageError(
            "sparsity: no gap to draw: besides attacks through the own surrogate others are "
            "needed, e.g. `{name: pgd, surrogate: {name: sigmoid, alpha: 4}}` or square"
        )
    means = found.groupby("epsilon")["gap"].mean()
    at = float(Fraction(epsilon)) if epsilon else style.most_telling(found, means, "sparsity")
    points = found[found["epsilon"] == at]
    if points.empty:
        there = radii_text(found)
        raise UsageError(f"sparsity: no network has epsilon {epsilon}; there are {there}")
    lines = style.line_styles(points)
    with style.styled():
        made, (axes,) = style.figure(_HEIGHT + style.legend_in(lines))
        for row in each(points):
            gap, share = 100 * row.gap, 100 * getattr(row, where)
            width = [[gap - 100 * row.gap_low], [100 * row.gap_high - gap]]
            look = {**lines[row.network, row.training].style(), "linestyle": "none"}
            axes.errorbar([share], [gap], yerr=width, elinewidth=0.5, **look)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(_AXES[where])
        axes.set_ylabel(f"masking gap at ε = {style.radius_text(points)} (points)")
        style.add_legend(made, lines, dashes=False)
        style.settle(made)
    rho, p = spearman(points[where], points["gap"])
    first = points.iloc[0]
    near = f", near zero: at most {first['threshold']:g} of a sample's largest"
    caption = (
        f"Masking gap (accuracy against the own surrogate gradient less the worst case, epsilon "
        f"{style.radius_text(points)}) against gradient sparsity{near if 'near' in where else ''}. "
        f"{first['dataset']}, {first['split']} split, n = {first['total']:,} samples; a mark for "
        f"each of {len(points)} networks; bars: Wilson's 95 % interval over samples. "
        f"Spearman's rho = {rho:.2f} (permutation p = {p:.2g})."
    )
    parts = ("sparsity", first["dataset"], first["norm"], first["space"], where)
    return Drawing(made, style.stem(*parts, style.radius_text(points)), caption)


def spearman(x: "pd.Series[float]", y: "pd.Series[float]", seed: int = 0) -> tuple[float, float]:
    """Rank correlation (Spearman 1904, Am. J. Psychol. 15, 72-101) and its two-sided p.

    Args:
        x: values [N].
        y: values [N].
        seed: of the permutations (10,000) that p comes from; networks count as independent.

    Returns:
        NaN for both where either is constant.
    """
    a, b = (v.rank().to_numpy(float) - (len(v) + 1) / 2 for v in (x, y))
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if size == 0:
        return float("nan"), float("nan")
    rho = float(a @ b) / size
    shuffled = np.random.default_rng(seed).permuted(np.tile(b, (_SHUFFLES, 1)), axis=1) @ a / size
    as_large = int((np.abs(shuffled) >= abs(rho) - 1e-12).sum())
    return rho, (1 + as_large) / (1 + _SHUFFLES)
