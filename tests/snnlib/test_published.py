"""The published data sets, read from small files in their true formats."""

from pathlib import Path
from typing import Any

import pytest
import torch

from snnlib import datasets, published
from snnlib.doors import torchvision
from snnlib.errors import DatasetMissing
from snnlib.spec.data import FILES, Dataset, DatasetName
from tests.snnlib.small_published import NAMES, TEST, TRAIN, VALIDATION, Small, publish

pytestmark = pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")


def laid(name: DatasetName, folder: Path, patch: pytest.MonkeyPatch) -> Small:
    small = publish(name, patch)
    small.lay(folder)
    published.unpack(name, folder)
    return small


@pytest.mark.parametrize("name", NAMES)
def test_what_was_published_is_read(
    name: DatasetName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = laid(name, tmp_path, monkeypatch)
    data = datasets.load(Dataset(name=name), tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [40, VALIDATION, TEST]
    for split, part, first in ((data.train, 0, 0), (data.validation, 0, 0), (data.test, 1, TRAIN)):
        rows = split.indices_N - first
        wanted = torch.from_numpy(small.pixels[part])[rows]
        assert torch.equal(split.images(slice(None)), wanted.to(torch.float32) / 255)
        assert split.labels_N.tolist() == [small.labels[part][row] for row in rows]
    both = torch.cat([data.train.indices_N, data.validation.indices_N])
    assert torch.equal(both.sort().values, torch.arange(TRAIN))


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_that_torchvision_reads(name: DatasetName) -> None:
    kind: Any = getattr(torchvision("torchvision.datasets"), published._CLASSES[name])
    if name == "svhn":
        wanted = {kind.split_list[part][1] for part in ("train", "test")}
    elif "mnist" in name:
        wanted = {f"{kind.__name__}/raw/{file.removesuffix('.gz')}" for file, _ in kind.resources}
    else:
        names = [file for file, _ in (*kind.train_list, *kind.test_list)]
        wanted = {f"{kind.base_folder}/{file}" for file in (*names, kind.meta["filename"])}
    assert set(FILES[name]) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_absent_files_name_the_command_that_brings_them(name: DatasetName, tmp_path: Path) -> None:
    file = FILES[name][0]
    with pytest.raises(DatasetMissing, match="is absent, ") as caught:
        datasets.load(Dataset(name=name), tmp_path)
    assert f"{tmp_path / file} is absent" in str(caught.value)
    assert f"launch.py fetch {name} --data {tmp_path}" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_one_wrong_byte_is_found_and_mended(
    name: DatasetName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = laid(name, tmp_path, monkeypatch)
    path = tmp_path / FILES[name][0]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DatasetMissing, match=f"{path} is damaged; .*launch.py fetch {name}"):
        datasets.load(Dataset(name=name), tmp_path)
    small.lay(tmp_path)
    published.unpack(name, tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("train-labels-idx1-ubyte", b"\0\0\x08\1\0\0\0\2\1\2", "60x1x28x28 pixels and 2 labels"),
        ("train-labels-idx1-ubyte", b"\0\0\x08\1\0\0\0\x3c" + bytes(59) + b"\n", "label outside"),
        ("train-labels-idx1-ubyte", b"\0\0\x08\1\0\0\0\2\1", "cannot be read"),
        ("t10k-images-idx3-ubyte", b"", "cannot be read"),
    ],
)
def test_without_archives_what_is_read_is_still_checked(
    file: str, content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid("mnist", tmp_path, monkeypatch)
    raw = tmp_path / "MNIST/raw"
    for archive in raw.glob("*.gz"):
        archive.unlink()
    datasets.load(Dataset(name="mnist"), tmp_path)
    (raw / file).write_bytes(content)
    with pytest.raises(DatasetMissing, match=words):
        datasets.load(Dataset(name="mnist"), tmp_path)


def test_no_folder_is_an_error() -> None:
    with pytest.raises(DatasetMissing, match="svhn: no folder of data sets was named"):
        datasets.load(Dataset(name="svhn"))


@pytest.mark.parametrize("name", ["mnist", "cifar100"])
def test_without_validation_the_published_order_stays(
    name: DatasetName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid(name, tmp_path, monkeypatch)
    data = datasets.load(Dataset(name=name, validation=0), tmp_path)
    assert (len(data.validation), len(data.test)) == (0, TEST)
    assert data.train.indices_N.tolist() == list(range(TRAIN))
