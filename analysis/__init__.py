"""From records to tables, statistics and figures for pandas: `analysis.load("results")`."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.schema import TableName

if TYPE_CHECKING:
    import pandas as pd

    from analysis.checks import check
    from analysis.comparison import compare, holm, mcnemar
    from analysis.example import study as example_study
    from analysis.example import trainings as example_trainings
    from analysis.figures.robustness import draw_curves
    from analysis.figures.sparsity import draw_sparsity, sparsity_and_gap
    from analysis.figures.tradeoff import draw_tradeoff
    from analysis.figures.training import draw_training
    from analysis.latex import escape, to_latex
    from analysis.metrics import (
        area_under_curve,
        attack_success_rate,
        eps50,
        gradient_sparsity,
        masking_gap,
    )
    from analysis.selection import most_attacked, select, with_masks
    from analysis.statistics import over_seeds, robustness_curves, summary, wilson, worst_case
    from analysis.training import training_curves

_WHERE = {
    "area_under_curve": ("metrics", "area_under_curve"),
    "attack_success_rate": ("metrics", "attack_success_rate"),
    "check": ("checks", "check"),
    "compare": ("comparison", "compare"),
    "draw_curves": ("figures.robustness", "draw_curves"),
    "draw_sparsity": ("figures.sparsity", "draw_sparsity"),
    "draw_tradeoff": ("figures.tradeoff", "draw_tradeoff"),
    "draw_training": ("figures.training", "draw_training"),
    "eps50": ("metrics", "eps50"),
    "escape": ("latex", "escape"),
    "example_study": ("example", "study"),
    "example_trainings": ("example", "trainings"),
    "gradient_sparsity": ("metrics", "gradient_sparsity"),
    "holm": ("comparison", "holm"),
    "masking_gap": ("metrics", "masking_gap"),
    "mcnemar": ("comparison", "mcnemar"),
    "most_attacked": ("selection", "most_attacked"),
    "over_seeds": ("statistics", "over_seeds"),
    "robustness_curves": ("statistics", "robustness_curves"),
    "select": ("selection", "select"),
    "sparsity_and_gap": ("figures.sparsity", "sparsity_and_gap"),
    "summary": ("statistics", "summary"),
    "to_latex": ("latex", "to_latex"),
    "training_curves": ("training", "training_curves"),
    "wilson": ("statistics", "wilson"),
    "with_masks": ("selection", "with_masks"),
    "worst_case": ("statistics", "worst_case"),
}
"""Name for notebooks → module and name there."""

__all__ = [
    "area_under_curve",
    "attack_success_rate",
    "check",
    "compare",
    "draw_curves",
    "draw_sparsity",
    "draw_tradeoff",
    "draw_training",
    "eps50",
    "escape",
    "example_study",
    "example_trainings",
    "gradient_sparsity",
    "holm",
    "load",
    "masking_gap",
    "mcnemar",
    "most_attacked",
    "over_seeds",
    "robustness_curves",
    "select",
    "sparsity_and_gap",
    "summary",
    "to_latex",
    "training_curves",
    "wilson",
    "with_masks",
    "worst_case",
]


def load(
    table: TableName = "results",
    root: Path | str | None = None,
    columns: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """Load a collected table as a typed DataFrame; see `analysis.tables.load`."""
    # here, because pandas and pyarrow take longer to import than most commands to run
    from analysis import tables

    return tables.load(table, root, columns)


def __getattr__(name: str) -> Any:
    """The functions for notebooks, loaded when they are first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(f"analysis.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
