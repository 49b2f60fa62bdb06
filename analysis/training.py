"""Training curves: what each epoch of a finished training was like."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.naming import add_training_names, each
from jobs import files
from jobs.errors import CorruptFile, UsageError
from jobs.layout import RunRoot

_NUMBERS = ("epoch", "loss", "train_accuracy", "lr", "seconds")
_COUNTS = ("validation_correct", "validation_total")


def training_curves(trainings: pd.DataFrame) -> pd.DataFrame:
    """One row for each epoch of each training, read from its run root.

    Args:
        trainings: from `analysis.load("trainings")`, whole or filtered; its column `root` says
            where they lie.

    Returns:
        Rows with `training_id`, `configuration`, `network`, `training`, `seed`, `dataset`, `neuron`,
        `epoch` (from 1), `loss`, `train_accuracy`, `validation_correct`, `validation_total`,
        `validation_accuracy` (NaN without validation samples), `accuracy` (validation, else
        training), `lr`, `seconds` and `firing_rate` (mean over spiking layers, of spikes per
        neuron and step; NaN if unknown).

    Raises:
        UsageError: if a run root is not there any more.
        CorruptFile: if training.json does not hold its history.

    Example:
        >>> import analysis, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     curves = analysis.training_curves(analysis.example_trainings(folder))
        >>> curves.query("seed == 0 and neuron == 'lif'")["accuracy"].tolist()
        [0.5, 0.75, 0.9]
    """
    names = ["training_id", "configuration", "network", "training", "seed", "dataset", "neuron"]
    rows = []
    for training in each(add_training_names(trainings)):
        head = {name: getattr(training, name) for name in names}
        rows += [{**head, **epoch} for epoch in _history(training.root, training.training_id)]
    columns = [*names, *_NUMBERS, *_COUNTS, "firing_rate"]
    found = pd.DataFrame(rows, columns=columns)
    validated = (found["validation_correct"] / found["validation_total"]).where(
        found["validation_total"] > 0
    )
    accuracy = validated.fillna(found["train_accuracy"])
    return found.assign(validation_accuracy=validated, accuracy=accuracy)


def _history(root: str, training_id: str) -> list[dict[str, Any]]:
    path = RunRoot(Path(root)).cell(training_id).training
    try:
        history = files.read_json(path)["history"]
        return [_epoch(line) for line in history]
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: is not there, and the table was collected from it; "
            "collect again where the run root lies now"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path}: its history has another shape ({error!r})") from error


def _epoch(line: dict[str, Any]) -> dict[str, Any]:
    rates = list((line.get("firing_rates") or {}).values())
    return {
        **{name: line[name] for name in (*_NUMBERS, *_COUNTS)},
        "firing_rate": sum(rates) / len(rates) if rates else float("nan"),
    }
