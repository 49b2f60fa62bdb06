"""Which data a network is trained and judged on."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from snnlib.spec.values import NaturalInt, PositiveInt, Seed, Spec

DatasetName = Literal["digits", "mnist", "fashion_mnist", "svhn", "cifar10", "cifar100"]
Augmentation = Literal["none", "shift", "flip", "crop", "crop_flip", "trivial", "crop_flip_trivial"]
Split = Literal["test", "validation"]
MOST_EXAMPLES = 1000
"""Samples whose adversarial examples can be kept; they wait in memory until all are there."""

SHAPES: dict[DatasetName, tuple[int, int, int]] = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "svhn": (3, 32, 32),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
}
"""Image shape [C, H, W] of each dataset."""
CLASSES: dict[DatasetName, int] = {
    "digits": 10,
    "mnist": 10,
    "fashion_mnist": 10,
    "svhn": 10,
    "cifar10": 10,
    "cifar100": 100,
}
SIZES: dict[DatasetName, dict[str, int]] = {
    "digits": {"train": 1197, "validation": 200, "test": 400},
    "mnist": {"train": 55_000, "validation": 5_000, "test": 10_000},
    "fashion_mnist": {"train": 55_000, "validation": 5_000, "test": 10_000},
    "svhn": {"train": 68_257, "validation": 5_000, "test": 26_032},
    "cifar10": {"train": 45_000, "validation": 5_000, "test": 10_000},
    "cifar100": {"train": 45_000, "validation": 5_000, "test": 10_000},
}
"""Number of samples of each split, with the usual number for validation."""

_MNIST_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_CIFAR10_FILES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")
FILES: dict[DatasetName, tuple[str, ...]] = {
    "digits": (),
    "mnist": tuple(f"MNIST/raw/{name}" for name in _MNIST_FILES),
    "fashion_mnist": tuple(f"FashionMNIST/raw/{name}" for name in _MNIST_FILES),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
    "cifar10": tuple(f"cifar-10-batches-py/{name}" for name in _CIFAR10_FILES),
    "cifar100": tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
}
"""What is read of each dataset, below the folder of data sets; as torchvision lays it out."""

assert set(SHAPES) == set(CLASSES) == set(SIZES) == set(FILES) == set(get_args(DatasetName))


@dataclass(frozen=True, kw_only=True)
class Dataset(Spec):
    """Images in [0, 1] with labels, split once and for all into train, validation and test.

    Attributes:
        name: the dataset.
        augment: random transformation of training images; `shift` moves by up to one pixel, `crop`
            by up to four, with black at the border; `flip` mirrors left and right every other time;
            `trivial` is TrivialAugmentWide, one of 14 operations at one of 31 strengths.
        validation: samples of the published training set that are kept for validation; the usual
            number when unset, and unset when the usual number is written. With 0 the network learns
            from all of them, and nothing is left to choose an epoch by.
    """

    name: DatasetName
    augment: Augmentation = "none"
    validation: NaturalInt | None = None

    def __post_init__(self) -> None:
        # one training, one id: the usual number is the same data as none at all
        if self.validation == SIZES[self.name]["validation"]:
            object.__setattr__(self, "validation", None)


def sizes(dataset: Dataset) -> dict[str, int]:
    """Number of samples of each split.

    Raises:
        ValueError: if `validation` cannot be had; says what can.
    """
    usual = SIZES[dataset.name]
    kept = dataset.validation
    if kept is None:
        return usual
    if kept and not FILES[dataset.name]:
        raise ValueError(
            f"'{dataset.name}' comes split, with {usual['validation']} samples for validation; "
            "leave the key out, or write 0 to train on them too"
        )
    whole = usual["train"] + usual["validation"]
    if kept >= whole:
        raise ValueError(
            f"{kept} samples for validation leave none to train on; "
            f"'{dataset.name}' has {whole} of both"
        )
    return {**usual, "train": whole - kept, "validation": kept}


@dataclass(frozen=True, kw_only=True)
class Evaluation(Spec):
    """On which samples, and with which randomness, a network is attacked.

    Attributes:
        split: `test` for results, `validation` for tuning.
        samples: how many samples, from the start of the split; all when unset.
        seed: seed of the attacks' randomness.
        draws: of the noise of a random encoder; the network decides by the mean of its logits over
            them. With one, the noise is that of the seed: the control of a fixed seed.
        batch: samples attacked together; chosen by the worker when unset. It can change the last
            bit of a float and is therefore kept over resumes, but is no part of the attack id.
        save_examples: of how many samples, from the first on, adversarial examples are kept beside
            each record that is made; no part of the attack id, so it makes no record by itself.
    """

    split: Split = "test"
    samples: PositiveInt | None = None
    seed: Seed = 0
    draws: PositiveInt = 1
    batch: PositiveInt | None = None
    save_examples: Annotated[NaturalInt, Field(le=MOST_EXAMPLES)] = 0
