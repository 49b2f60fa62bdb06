"""Small data sets in the true formats of the published ones, with checksums of their own."""

import gzip
import hashlib
import importlib
import io
import pickle
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snnlib import published
from snnlib.doors import torchvision
from snnlib.spec.data import CLASSES, SHAPES, SIZES, DatasetName

TRAIN, TEST, VALIDATION = 60, 12, 20
NAMES: tuple[DatasetName, ...] = ("mnist", "fashion_mnist", "svhn", "cifar10", "cifar100")
Pixels = NDArray[np.uint8]
CLASSES_OF = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}


@dataclass(frozen=True)
class Small:
    """What a small data set holds.

    Attributes:
        archives: content of each file as it is published, by path.
        pixels: uint8 [N, C, H, W] of the training and of the test set.
        labels: of both.
    """

    archives: dict[str, bytes]
    pixels: tuple[Pixels, Pixels]
    labels: tuple[list[int], list[int]]

    def lay(self, folder: Path) -> None:
        """Put the archives where a download would."""
        for path, content in self.archives.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


def publish(name: DatasetName, patch: pytest.MonkeyPatch, server: str = "") -> Small:
    """A small data set that the program takes for the published one.

    Args:
        name: the data set.
        patch: sets checksums, sizes and addresses for the time of a test.
        server: where the archives can be had.
    """
    random = np.random.default_rng(len(name))
    shape, classes = SHAPES[name], CLASSES[name]
    pixels = [random.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (TRAIN, TEST)]
    labels = [[n * 7 % classes for n in range(count)] for count in (TRAIN, TEST)]
    sizes = {"train": TRAIN - VALIDATION, "validation": VALIDATION, "test": TEST}
    patch.setitem(SIZES, name, sizes)
    kind: Any = getattr(torchvision("torchvision.datasets"), CLASSES_OF[name])
    make = {"svhn": _svhn, "cifar10": _cifar, "cifar100": _cifar}.get(name, _mnist)
    archives = make(kind, pixels, labels, patch, server)
    assert set(archives) == {archive.path for archive in published.archives(name)}
    return Small(archives, (pixels[0], pixels[1]), (labels[0], labels[1]))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _mnist(
    kind: Any, pixels: list[Pixels], labels: list[list[int]], patch: pytest.MonkeyPatch, server: str
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part, images, classes in zip(("train", "t10k"), pixels, labels, strict=True):
        both = {"images-idx3": images[:, 0], "labels-idx1": np.array(classes, dtype=np.uint8)}
        for what, values in both.items():
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
            found[f"{part}-{what}-ubyte.gz"] = gzip.compress(head + values.tobytes(), mtime=0)
    patch.setattr(kind, "resources", [(file, _md5(data)) for file, data in found.items()])
    patch.setattr(kind, "mirrors", [f"{server}/absent/", f"{server}/{kind.__name__}/raw/"])
    return {f"{kind.__name__}/raw/{file}": data for file, data in found.items()}


def _svhn(
    kind: Any, pixels: list[Pixels], labels: list[list[int]], patch: pytest.MonkeyPatch, server: str
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    parts = {}
    for part, images, classes in zip(("train", "test"), pixels, labels, strict=True):
        file = io.BytesIO()
        tens = np.array([label or 10 for label in classes], dtype=np.uint8)
        content = {"X": images.transpose(2, 3, 1, 0), "y": tens[:, None]}
        importlib.import_module("scipy.io").savemat(file, content)
        name = f"{part}_32x32.mat"
        found[name] = file.getvalue()
        parts[part] = [f"{server}/{name}", name, _md5(found[name])]
    patch.setattr(kind, "split_list", parts)
    return found


def _cifar(
    kind: Any, pixels: list[Pixels], labels: list[list[int]], patch: pytest.MonkeyPatch, server: str
) -> dict[str, bytes]:
    files: dict[str, bytes] = {kind.meta["filename"]: pickle.dumps({kind.meta["key"]: ["a", "b"]})}
    lists = (kind.train_list, kind.test_list)
    for named, images, classes in zip(lists, pixels, labels, strict=True):
        rows = np.array_split(np.arange(len(images)), len(named))
        for (file, _), chosen in zip(named, rows, strict=True):
            key = "fine_labels" if "100" in kind.__name__ else "labels"
            data = images[chosen].reshape(len(chosen), -1)
            content = {"data": data, key: [classes[row] for row in chosen]}
            files[file] = pickle.dumps(content, protocol=2)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file, content_ in files.items():
            about = tarfile.TarInfo(f"{kind.base_folder}/{file}")
            about.size = len(content_)
            tar.addfile(about, io.BytesIO(content_))
    for attribute, named in zip(("train_list", "test_list"), lists, strict=True):
        patch.setattr(kind, attribute, [[file, _md5(files[file])] for file, _ in named])
    meta = kind.meta["filename"]
    patch.setattr(kind, "meta", {**kind.meta, "md5": _md5(files[meta])})
    patch.setattr(kind, "url", f"{server}/{kind.filename}")
    patch.setattr(kind, "tgz_md5", _md5(packed.getvalue()))
    return {kind.filename: packed.getvalue()}
