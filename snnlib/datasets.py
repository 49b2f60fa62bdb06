"""Data sets as tensors in memory, split once and for all."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snnlib import noise, published
from snnlib.errors import DatasetMissing
from snnlib.spec.data import CLASSES, FILES, SHAPES, Dataset, DatasetName, sizes

EMBEDDED = Path(__file__).parent / "data"
"""Folder of the data that come with the program."""
WHITE = 255
"""Pixel value that becomes 1 where images are kept as bytes."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples that are processed together.

    Attributes:
        images_BCHW: float32 in [0, 1].
        labels_B: int64.
        samples_B: identity of each sample, int64.
        count: how many of them count; the rest pads the batch to a fixed shape.
    """

    images_BCHW: Tensor
    labels_B: Tensor
    samples_B: Tensor
    count: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """Ordered samples.

    Attributes:
        images_NCHW: float32 in [0, 1], or uint8 up to WHITE, which takes a quarter of the memory.
        labels_N: int64.
        indices_N: identity of each sample in its data set, over all splits; int64.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    indices_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of images, labels and their order; 64 hex characters."""
        digest = hashlib.sha256(f"{tuple(self.images_NCHW.shape)}".encode())
        for part in (self.images_NCHW, self.labels_N, self.indices_N):
            array = part.cpu().numpy()
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def images(self, rows: Tensor | slice) -> Tensor:
        """The images at some positions, float32 [B, C, H, W] in [0, 1]."""
        chosen_BCHW = self.images_NCHW[rows]
        if chosen_BCHW.dtype != torch.uint8:
            return chosen_BCHW
        # a number would make a GPU multiply by its rounded inverse, and give other bits than a CPU
        white = torch.full((), WHITE, dtype=torch.float32, device=chosen_BCHW.device)
        return chosen_BCHW.to(torch.float32).div_(white)

    def first(self, count: int | None) -> "Split":
        """The first `count` samples; all if None."""
        if count is None:
            return self
        if count > len(self):
            raise ValueError(f"{count} samples wanted, the split has {len(self)}")
        return Split(
            images_NCHW=self.images_NCHW[:count],
            labels_N=self.labels_N[:count],
            indices_N=self.indices_N[:count],
        )

    def followed_by(self, other: "Split") -> "Split":
        """The samples of two splits, one after the other."""
        return Split(
            images_NCHW=torch.cat((self.images_NCHW, other.images_NCHW)),
            labels_N=torch.cat((self.labels_N, other.labels_N)),
            indices_N=torch.cat((self.indices_N, other.indices_N)),
        )

    def to(self, device: torch.device) -> "Split":
        """The same samples on a device."""
        return Split(
            images_NCHW=self.images_NCHW.to(device),
            labels_N=self.labels_N.to(device),
            indices_N=self.indices_N.to(device),
        )

    def batch(self, chosen: range, size: int) -> Batch:
        """Consecutive samples, padded to a fixed shape by repeating the last one.

        A kernel may round differently for another batch size, so a short last batch would
        get other bits than the same samples in a full one.

        Args:
            chosen: positions in this split, at least one.
            size: samples of the batch, padding included.
        """
        device = self.labels_N.device
        rows = torch.arange(chosen.start, chosen.start + size, device=device)
        rows = rows.clamp(max=chosen.stop - 1)
        return Batch(
            images_BCHW=self.images(rows),
            labels_B=self.labels_N[rows],
            samples_B=self.indices_N[rows],
            count=len(chosen),
        )


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set in its three splits.

    Attributes:
        train: what the network learns from.
        validation: what checkpoints are selected on.
        test: what results are measured on, and nothing else.
        classes: number of classes K.
        shape: of one image, [C, H, W].
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    shape: tuple[int, int, int]


def load(spec: Dataset, folder: Path | None = None) -> Data:
    """Read a data set.

    Args:
        spec: which one.
        folder: where data sets lie that do not come with the program.

    Raises:
        DatasetMissing: if its files are not there, or damaged.
        ValueError: if it cannot be split as `spec` says.
    """
    kept = sizes(spec)["validation"]
    train, validation, test = LOADERS[spec.name](spec.name, folder, kept)
    return Data(
        train=train,
        validation=validation,
        test=test,
        classes=CLASSES[spec.name],
        shape=SHAPES[spec.name],
    )


Splits = tuple[Split, Split, Split]


def _digits(_name: DatasetName, _folder: Path | None, kept: int) -> Splits:
    train, validation, test = read_npz(EMBEDDED / "digits.npz", brightest=16)
    if kept:
        return train, validation, test
    return train.followed_by(validation), validation.first(0), test


def read_npz(path: Path, *, brightest: int) -> Splits:
    """Read images, labels and the positions of three splits from one file without pickles.

    Args:
        path: holds `images` [N, H, W] and `labels` [N], and the positions `train`, `validation`
            and `test`.
        brightest: pixel value that becomes 1.

    Raises:
        DatasetMissing: if the file is not there.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = {name: arrays[name].astype(np.int64) for name in arrays.files}
    except FileNotFoundError:
        raise DatasetMissing(
            f"{path}: not found; this file belongs to the program, restore it from the repository"
        ) from None

    def split(name: str) -> Split:
        rows = torch.from_numpy(content[name])
        images = torch.from_numpy(content["images"])[rows, None]
        return Split(
            images_NCHW=images.to(torch.float32) / brightest,
            labels_N=torch.from_numpy(content["labels"])[rows],
            indices_N=rows,
        )

    return split("train"), split("validation"), split("test")


def _published(name: DatasetName, folder: Path | None, kept: int) -> Splits:
    """A published training set in two parts, and the test set."""
    if folder is None:
        raise DatasetMissing(f"{name}: no folder of data sets was named")
    train, test = published.read(name, folder)
    validates_N = torch.zeros(len(train.labels_N), dtype=torch.bool)
    validates_N[validation_rows(train.labels_N, kept)] = True

    def split(images: published.Images, rows: Tensor, first: int) -> Split:
        return Split(
            images_NCHW=images.pixels_NCHW[rows],
            labels_N=images.labels_N[rows],
            indices_N=rows + first,
        )

    every = torch.arange(len(test.labels_N))
    return (
        split(train, torch.nonzero(~validates_N)[:, 0], 0),
        split(train, torch.nonzero(validates_N)[:, 0], 0),
        split(test, every, len(train.labels_N)),
    )


def validation_rows(labels_N: Tensor, count: int) -> Tensor:
    """Which samples of a training set are kept for validation; they depend on the labels alone.

    The samples are shuffled, always alike, and each class gives the same share of its own, but for
    one or two. Those of a smaller `count` are among those of a larger one.

    Args:
        labels_N: int64, in the published order.
        count: samples to keep.

    Returns:
        Their positions, int64 [count].
    """
    key = noise.Key(seed=0, stream="validation", samples_B=torch.arange(len(labels_N)))
    shuffled_N = torch.argsort(noise.bits(1, key)[:, 0], stable=True)
    rows_N = shuffled_N[torch.argsort(labels_N[shuffled_N], stable=True)]
    sizes_K = labels_N.bincount()
    begins_K = sizes_K.cumsum(0) - sizes_K
    classes_N = labels_N[rows_N]
    places_N = torch.arange(len(labels_N)) - begins_K[classes_N]
    # how far down its class a sample stands: taken in this order, all classes go down together
    depths_N = (2 * places_N + 1).double() / sizes_K[classes_N]
    return rows_N[torch.argsort(depths_N, stable=True)[:count]]


LOADERS: dict[DatasetName, Callable[[DatasetName, Path | None, int], Splits]] = {
    "digits": _digits,
    **{name: _published for name, files in FILES.items() if files},
}
