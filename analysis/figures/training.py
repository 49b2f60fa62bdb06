"""Training curves: loss and accuracy over epochs."""

import json

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.style import Drawing, Line
from analysis.naming import each, seeds_text
from analysis.training import training_curves
from jobs.errors import UsageError

_HEIGHT = 2.8
_JUDGES = {
    "test": "clean test samples",
    "validation": "validation samples (under the regime's attack, if it has one)",
    "training": "training samples",
}
"""What an accuracy after an epoch can be on, in the order of the caption."""


def draw_training(trainings: pd.DataFrame) -> Drawing:
    """Loss, and accuracy on validation samples, over epochs: a line for each setting.

    Where the network was chosen on test images, the accuracy is on those. Of training samples it is
    only if no setting has others: side by side the two would look comparable.

    Args:
        trainings: from `analysis.load("trainings")`, of one dataset.

    Raises:
        UsageError: if there is none, or they are of several datasets.

    Example:
        >>> import analysis
        >>> drawing = analysis.draw_training(analysis.example_trainings())
        >>> drawing.name
        'training-digits'
    """
    if trainings.empty:
        raise UsageError("training: nothing to draw, no training has finished and is collected")
    datasets = sorted(set(trainings["dataset"]))
    if len(datasets) > 1:
        raise UsageError(
            f"training: {len(datasets)} datasets ({', '.join(datasets)}); choose one, e.g. "
            f"trainings[trainings['dataset'] == {datasets[0]!r}]"
        )
    curves = training_curves(trainings)
    if curves.empty:
        raise UsageError("training: nothing to draw, no training kept the history of its epochs")
    curves = curves.assign(judge=_judges(curves, trainings))
    judged = curves[curves["judge"] != "training"]
    judged = curves if judged.empty else judged
    lines = style.line_styles(curves)
    with style.styled():
        made, (loss, accuracy) = style.figure(_HEIGHT + style.legend_in(lines), rows=2)
        for (network, regime), line in lines.items():
            mine = curves[(curves["network"] == network) & (curves["training"] == regime)]
            for _, one in mine.groupby("configuration", sort=True):
                _draw(loss, one, "loss", line)
                seen = one[one.index.isin(judged.index)]
                if not seen.empty:
                    _draw(accuracy, seen.assign(right=100 * seen["accuracy"]), "right", line)
        loss.set_ylabel("training loss")
        loss.set_ylim(bottom=0)
        judges = [judge for judge in _JUDGES if judge in set(judged["judge"])]
        accuracy.set_ylabel(f"{' or '.join(judges)} accuracy (%)")
        accuracy.set_ylim(top=100)
        accuracy.set_xlabel("epoch")
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.add_legend(made, lines)
        style.settle(made)
    seeds = curves.groupby("configuration", as_index=False).agg(seeds=("seed", "nunique"))
    caption = (
        f"Loss as trained on, and accuracy on {_judges_text(judged, judges)}, over epochs. "
        f"{datasets[0]}; mean over {seeds_text(seeds)}; band: lowest to highest seed."
    )
    if lost := curves["configuration"].nunique() - judged["configuration"].nunique():
        whose = "1 setting has" if lost == 1 else f"{lost} settings have"
        caption += f" {whose} no such samples, so that only the loss is shown."
    return Drawing(made, style.stem("training", datasets[0]), caption)


def _judges(curves: pd.DataFrame, trainings: pd.DataFrame) -> "pd.Series[str]":
    """On which samples each epoch's accuracy is."""
    chosen = set(trainings.loc[trainings["spec"].map(_chosen_on_test), "training_id"])
    held = np.where(curves["training_id"].isin(chosen), "test", "validation")
    return pd.Series(held, curves.index).where(curves["validation_total"] > 0, "training")


def _chosen_on_test(spec: object) -> bool:
    """Whether a training's network is the best on test images, in the place of validation."""
    if not isinstance(spec, str):
        return False
    return bool(json.loads(spec)["regime"].get("select") == "best_test")


def _judges_text(judged: pd.DataFrame, judges: list[str]) -> str:
    """What the accuracies are on; where settings differ in it, which are on what."""
    if len(judges) == 1:
        return _JUDGES[judges[0]]
    told = []
    for judge in judges:
        mine = judged[judged["judge"] == judge].drop_duplicates(["network", "training"])
        names = [f"{row.network} {row.training}" for row in each(mine)]
        told.append(f"{_JUDGES[judge]} of {', '.join(sorted(names))}")
    return " or ".join(told)


def _draw(axes: Axes, curve: pd.DataFrame, column: str, line: Line) -> None:
    values = curve.groupby("epoch")[column]
    mean = values.mean()
    axes.fill_between(mean.index, values.min(), values.max(), color=line.colour, alpha=0.18, lw=0)
    every = max(1, len(mean) // 6)
    axes.plot(mean.index, mean, markevery=every, **line.style(size=2.8))
