"""Published data sets in torchvision's layout: which archives, whether whole, and how they are read.

Below the folder of data sets lies what torchvision puts there, so a folder that it filled before
serves as it is. Nothing here uses the network.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnlib.doors import torchvision
from snnlib.errors import DatasetMissing
from snnlib.spec.data import CLASSES, FILES, SHAPES, SIZES, DatasetName

_CLASSES: dict[DatasetName, str] = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
"""Their names in torchvision."""
_IDX = ("mnist", "fashion_mnist")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file as it is published.

    Attributes:
        path: where it belongs, below the folder of data sets.
        urls: where it can be had; the same file everywhere.
        md5: published checksum.
    """

    path: str
    urls: tuple[str, ...]
    md5: str


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images of a published training or test set, in its order.

    Attributes:
        pixels_NCHW: uint8.
        labels_N: int64.
    """

    pixels_NCHW: Tensor
    labels_N: Tensor


def archives(name: DatasetName) -> tuple[Archive, ...]:
    """What has to be downloaded for a data set."""
    kind = _class(name)
    if name in _IDX:
        return tuple(
            Archive(
                path=f"{kind.__name__}/raw/{file}",
                urls=tuple(mirror + file for mirror in kind.mirrors),
                md5=md5,
            )
            for file, md5 in kind.resources
        )
    if name == "svhn":
        wanted = (kind.split_list[part] for part in ("train", "test"))
        return tuple(Archive(path=file, urls=(url,), md5=md5) for url, file, md5 in wanted)
    return (Archive(path=kind.filename, urls=(kind.url,), md5=kind.tgz_md5),)


def intact(path: Path, md5: str) -> bool:
    """Whether a file is there and has its published checksum."""
    return bool(torchvision("torchvision.datasets.utils").check_integrity(path, md5))


def faults(name: DatasetName, folder: Path) -> dict[Path, str]:
    """Files that cannot be used, with what is wrong: "absent" or "damaged"."""
    if not FILES[name]:
        return {}
    sums = dict(_checksums(name))
    found: dict[Path, str] = {}
    for file in FILES[name]:
        path = folder / file
        if not path.is_file():
            found[path] = "absent"
        elif not (intact(path, sums[file]) if file in sums else _unpacked(name, path)):
            found[path] = "damaged"
    return found


def _checksums(name: DatasetName) -> Iterator[tuple[str, str]]:
    """Published checksums of files as they are read; MNIST's are published packed only."""
    if name == "svhn":
        yield from ((archive.path, archive.md5) for archive in archives(name))
    elif name not in _IDX:
        kind = _class(name)
        both = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
        yield from ((f"{kind.base_folder}/{file}", md5) for file, md5 in both)


def _unpacked(name: DatasetName, path: Path) -> bool:
    """Whether a file is what its archive, where it lies beside it, holds.

    The last 8 bytes of a gzip file are checksum and size of its content (RFC 1952, section 2.3.1).
    Without an archive there is nothing to compare with: `read` still checks the number of images.
    """
    packed = path.with_name(f"{path.name}.gz")
    sums = {Path(archive.path).name: archive.md5 for archive in archives(name)}
    if not packed.is_file() or not intact(packed, sums[packed.name]):
        return True
    checksum, size = struct.unpack("<2I", packed.read_bytes()[-8:])
    content = path.read_bytes()
    return (len(content), zlib.crc32(content)) == (size, checksum)


def unpack(name: DatasetName, folder: Path) -> None:
    """Make the files that are read from archives that are there and intact.

    Raises:
        DatasetMissing: if they are not whole afterwards.
    """
    found = faults(name, folder)
    for path, fault in found.items():
        if fault == "damaged" and name in _IDX:
            path.unlink()  # torchvision unpacks MNIST only where a file is absent
    if found and name != "svhn":
        _class(name)(folder, download=True)
    _refuse(name, folder)


def read(name: DatasetName, folder: Path) -> tuple[Images, Images]:
    """Training and test set.

    Raises:
        DatasetMissing: if files are absent or damaged.
    """
    _refuse(name, folder)
    try:
        train, test = (_images(name, folder, train=train) for train in (True, False))
    except (RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
        raise DatasetMissing(
            f"{name} in {folder}: cannot be read ({error}); {way_out(name, folder)}"
        ) from error
    size = SIZES[name]
    for images, wanted in ((train, size["train"] + size["validation"]), (test, size["test"])):
        _check(name, folder, images, wanted)
    return train, test


def _check(name: DatasetName, folder: Path, images: Images, wanted: int) -> None:
    """Refuse another number of images, another size, and labels of no class."""
    shape, labels_N = (wanted, *SHAPES[name]), images.labels_N
    if images.pixels_NCHW.shape == shape and labels_N.shape == (wanted,):
        if int(labels_N.min()) >= 0 and int(labels_N.max()) < CLASSES[name]:
            return
        wrong = f"a label outside 0..{CLASSES[name] - 1}"
    else:
        found = "x".join(map(str, images.pixels_NCHW.shape))
        wrong = f"{found} pixels and {len(labels_N)} labels, expected {'x'.join(map(str, shape))}"
    raise DatasetMissing(f"{name} in {folder}: {wrong}; {way_out(name, folder)}")


def _images(name: DatasetName, folder: Path, *, train: bool) -> Images:
    kind = _class(name)
    if name == "svhn":
        part = kind(folder, split="train" if train else "test")
    else:
        part = kind(folder, train=train)
    pixels = torch.as_tensor(part.data)
    if name in _IDX:
        pixels = pixels[:, None]
    elif name != "svhn":
        pixels = pixels.permute(0, 3, 1, 2)
    labels = part.labels if name == "svhn" else part.targets
    return Images(
        pixels_NCHW=pixels.contiguous(), labels_N=torch.as_tensor(labels, dtype=torch.int64)
    )


def _refuse(name: DatasetName, folder: Path) -> None:
    found = faults(name, folder)
    if found:
        listed = [f"{path} is {fault}" for path, fault in found.items()]
        more = f" and {len(listed) - 2} more" if len(listed) > 2 else ""
        raise DatasetMissing(f"{', '.join(listed[:2])}{more}; {way_out(name, folder)}")


def way_out(name: DatasetName, folder: Path) -> str:
    """What to do about files that are not whole."""
    return f"on a machine with network run: launch.py fetch {name} --data {folder}"


def _class(name: DatasetName) -> Any:
    return getattr(torchvision("torchvision.datasets"), _CLASSES[name])
