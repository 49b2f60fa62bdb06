"""Training curves: loss and accuracy over epochs."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.style import Drawing, Line
from analysis.naming import seeds_text
from analysis.training import training_curves
from jobs.errors import UsageError

_HEIGHT = 2.8


def draw_training(trainings: pd.DataFrame) -> Drawing:
    """Loss, and accuracy in training and validation, over epochs: a line for each setting.

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
    lines = style.line_styles(curves)
    with style.styled():
        made, (loss, accuracy) = style.figure(_HEIGHT + style.legend_in(lines), rows=2)
        for (network, regime), line in lines.items():
            mine = curves[(curves["network"] == network) & (curves["training"] == regime)]
            for _, one in mine.groupby("configuration", sort=True):
                _draw(loss, one, "loss", line)
                _draw(accuracy, one.assign(right=100 * one["accuracy"]), "right", line)
        loss.set_ylabel("training loss")
        loss.set_ylim(bottom=0)
        validated = bool((curves["validation_total"] > 0).any())
        accuracy.set_ylabel("validation accuracy (%)" if validated else "training accuracy (%)")
        accuracy.set_ylim(top=100)
        accuracy.set_xlabel("epoch")
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.add_legend(made, lines)
        style.settle(made)
    seeds = curves.groupby("configuration", as_index=False).agg(seeds=("seed", "nunique"))
    attacked = " (under the regime's attack, if it has one)" if validated else ""
    caption = (
        f"Loss as trained on, and accuracy on {'validation' if validated else 'training'} "
        f"samples{attacked}, over epochs. {datasets[0]}; mean over {seeds_text(seeds)}; "
        "band: lowest to highest seed."
    )
    return Drawing(made, style.stem("training", datasets[0]), caption)


def _draw(axes: Axes, curve: pd.DataFrame, column: str, line: Line) -> None:
    values = curve.groupby("epoch")[column]
    mean = values.mean()
    axes.fill_between(mean.index, values.min(), values.max(), color=line.colour, alpha=0.18, lw=0)
    every = max(1, len(mean) // 6)
    axes.plot(mean.index, mean, markevery=every, **line.style(size=2.8))
