"""Which data a network is trained and judged on."""

from dataclasses import dataclass
from typing import Literal, get_args

from snnlib.spec.values import PositiveInt, Seed, Spec

DatasetName = Literal["digits"]
Augmentation = Literal["none", "shift"]
Split = Literal["test", "validation"]

SHAPES: dict[DatasetName, tuple[int, int, int]] = {"digits": (1, 8, 8)}
"""Image shape [C, H, W] of each dataset."""
CLASSES: dict[DatasetName, int] = {"digits": 10}
SIZES: dict[DatasetName, dict[str, int]] = {
    "digits": {"train": 1197, "validation": 200, "test": 400}
}
"""Number of samples of each split."""

assert set(SHAPES) == set(CLASSES) == set(SIZES) == set(get_args(DatasetName))


@dataclass(frozen=True, kw_only=True)
class Dataset(Spec):
    """Images in [0, 1] with labels, split once and for all into train, validation and test.

    Attributes:
        name: the dataset.
        augment: random transformation of training images; `shift` moves by up to one pixel.
    """

    name: DatasetName
    augment: Augmentation = "none"


@dataclass(frozen=True, kw_only=True)
class Evaluation(Spec):
    """On which samples, and with which randomness, a network is attacked.

    Attributes:
        split: `test` for results, `validation` for tuning.
        samples: how many samples, from the start of the split; all when unset.
        seed: seed of the attacks' randomness.
        batch: samples attacked together; chosen by the worker when unset. It can change the last
            bit of a float and is therefore kept over resumes, but is no part of the attack id.
    """

    split: Split = "test"
    samples: PositiveInt | None = None
    seed: Seed = 0
    batch: PositiveInt | None = None
