"""Training curves: what each epoch of a finished training was like."""

import pandas as pd

from analysis.naming import add_training_names
from jobs.errors import UsageError
from jobs.schema import CURVES

_EPOCH = "epoch_"
_LISTS = [column.name for column in CURVES]
_HEAD = ("training_id", "configuration", "network", "training", "seed", "dataset", "neuron")


def training_curves(trainings: pd.DataFrame) -> pd.DataFrame:
    """One row for each epoch of each training that kept its history.

    Args:
        trainings: from `analysis.load("trainings")`, whole or filtered.

    Returns:
        Rows with `training_id`, `configuration`, `network`, `training`, `seed`, `dataset`, `neuron`,
        `epoch` (from 1), `loss`, `train_accuracy`, `validation_correct`, `validation_total`,
        `validation_accuracy` (NaN without validation samples), `accuracy` (validation, else
        training), `lr`, `seconds` and `firing_rate` (mean over spiking layers, of spikes per
        neuron and step; NaN if unknown).

    Raises:
        UsageError: if the table is older than its columns of epochs.

    Example:
        >>> import analysis
        >>> curves = analysis.training_curves(analysis.example_trainings())
        >>> curves.query("seed == 0 and neuron == 'lif'")["accuracy"].tolist()
        [0.5, 0.75, 0.9]
    """
    if lost := [name for name in _LISTS if name not in trainings]:
        raise UsageError(
            f"trainings: lacks {', '.join(lost)}; take a frame of analysis.load('trainings'), "
            "after `python launch.py collect` if its tables are older"
        )
    told = add_training_names(trainings[trainings["epoch_loss"].notna()])
    found = told[[*_HEAD, *_LISTS]].explode(_LISTS, ignore_index=True)
    found = found.rename(columns=lambda name: name.removeprefix(_EPOCH))
    counts = [f"validation_{part}" for part in ("correct", "total")]
    kinds = {
        name.removeprefix(_EPOCH): "int64" if name.removeprefix(_EPOCH) in counts else "float64"
        for name in _LISTS
    }
    found = found.astype(kinds)
    validated = (found["validation_correct"] / found["validation_total"]).where(
        found["validation_total"] > 0
    )
    accuracy = validated.fillna(found["train_accuracy"])
    number = found.groupby("training_id", sort=False, observed=True).cumcount() + 1
    return found.assign(epoch=number, validation_accuracy=validated, accuracy=accuracy)
