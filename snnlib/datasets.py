"""Data sets as tensors in memory, split once and for all."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snnlib.errors import DatasetMissing
from snnlib.spec.data import CLASSES, SHAPES, Dataset, DatasetName

EMBEDDED = Path(__file__).parent / "data"
"""Folder of the data that come with the program."""


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
        images_NCHW: float32 in [0, 1].
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
            images_BCHW=self.images_NCHW[rows],
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
        DatasetMissing: if its files are not there.
    """
    train, validation, test = LOADERS[spec.name](folder)
    return Data(
        train=train,
        validation=validation,
        test=test,
        classes=CLASSES[spec.name],
        shape=SHAPES[spec.name],
    )


Splits = tuple[Split, Split, Split]


def _digits(_folder: Path | None) -> Splits:
    return read_npz(EMBEDDED / "digits.npz", brightest=16)


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


LOADERS: dict[DatasetName, Callable[[Path | None], Splits]] = {"digits": _digits}
