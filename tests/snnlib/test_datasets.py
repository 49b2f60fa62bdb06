"""The embedded digits, and what splits promise."""

from pathlib import Path

import pytest
import torch

from snnlib import datasets
from snnlib.datasets import Data
from snnlib.errors import DatasetMissing
from snnlib.spec.data import SIZES, Dataset, sizes

FINGERPRINTS = {
    "train": "a4f193bafb06dcc51f6537b203bc631ca52f4c559afe5a4fa3588f33c148d2e4",
    "validation": "062d9c0388a5e4670849f0e48f4cb252aa700a180616f6850df8c4fab9dda35d",
    "test": "9191ec4467dc348ebe232587b4e7ac56b9fc8ace4021011d149db707d4f99635",
}


@pytest.fixture(scope="module")
def digits() -> Data:
    return datasets.load(Dataset(name="digits"))


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_split_is_the_committed_one(digits: Data, name: str) -> None:
    split: datasets.Split = getattr(digits, name)
    assert len(split) == SIZES["digits"][name]
    assert split.images_NCHW.shape == (len(split), *digits.shape)
    assert split.fingerprint == FINGERPRINTS[name]


def test_splits_share_no_sample_and_hold_all(digits: Data) -> None:
    indices = [s.indices_N for s in (digits.train, digits.validation, digits.test)]
    assert torch.equal(torch.cat(indices).sort().values, torch.arange(1797))


def test_images_fill_the_unit_range_and_classes_are_balanced(digits: Data) -> None:
    images, counts = digits.train.images_NCHW, digits.test.labels_N.bincount()
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert len(counts) == digits.classes
    assert counts.min() >= 38


def test_fingerprint_knows_content_and_order(digits: Data) -> None:
    split = digits.validation
    turned = datasets.Split(
        images_NCHW=split.images_NCHW.flip(0),
        labels_N=split.labels_N.flip(0),
        indices_N=split.indices_N.flip(0),
    )
    assert len({split.fingerprint, turned.fingerprint, split.first(10).fingerprint}) == 3
    assert split.first(None).fingerprint == split.fingerprint


def test_more_samples_than_there_are_is_an_error(digits: Data) -> None:
    with pytest.raises(ValueError, match="201 samples wanted, the split has 200"):
        digits.validation.first(201)


def test_last_batch_is_padded_with_its_last_sample(digits: Data) -> None:
    batch = digits.validation.batch(range(198, 200), 4)
    assert batch.count == 2
    assert batch.samples_B.tolist() == digits.validation.indices_N[[198, 199, 199, 199]].tolist()


def test_absent_file_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"digits\.npz: not found; .* restore it"):
        datasets.read_npz(tmp_path / "digits.npz", brightest=16)


LABELS = torch.tensor([0] * 700 + [1] * 200 + [2] * 100).reshape(10, 100).T.flatten()


@pytest.mark.parametrize("count", [1, 10, 99, 500, 999])
def test_each_class_gives_its_share_to_validation(count: int) -> None:
    rows = datasets.validation_rows(LABELS, count)
    given = LABELS[rows].bincount(minlength=3)
    assert len(set(rows.tolist())) == count
    assert ((given - count * LABELS.bincount() / 1000).abs() < 1).all()


def test_a_larger_validation_split_holds_the_smaller() -> None:
    small, large = (datasets.validation_rows(LABELS, count) for count in (50, 300))
    assert set(small.tolist()) < set(large.tolist())


def test_the_choice_for_validation_is_pinned_and_no_mere_beginning() -> None:
    labels = torch.arange(1000) % 10
    assert datasets.validation_rows(labels, 5).tolist() == [470, 131, 162, 583, 754]
    assert not torch.equal(datasets.validation_rows(labels, 10) // 10, torch.zeros(10).long())


def test_bytes_become_the_nearest_floats() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1)
    split = datasets.Split(
        images_NCHW=levels, labels_N=torch.zeros(256).long(), indices_N=torch.arange(256)
    )
    wanted = (torch.arange(256).double() / 255).to(torch.float32)
    assert torch.equal(split.images(slice(None)).flatten(), wanted)
    assert torch.equal(split.batch(range(3, 5), 3).images_BCHW.flatten(), wanted[[3, 4, 4]])
    assert split.fingerprint != split.first(255).fingerprint


def test_without_validation_all_the_rest_is_for_training(digits: Data) -> None:
    whole = datasets.load(Dataset(name="digits", validation=0))
    assert len(whole.validation) == 0
    assert whole.test.fingerprint == digits.test.fingerprint
    both = torch.cat((digits.train.indices_N, digits.validation.indices_N))
    assert torch.equal(whole.train.indices_N, both)
    assert len(whole.train) == sizes(Dataset(name="digits", validation=0))["train"] == 1397


def test_sizes_follow_the_number_for_validation() -> None:
    assert sizes(Dataset(name="mnist")) == SIZES["mnist"]
    assert sizes(Dataset(name="cifar10", validation=1000)) == {
        "train": 49_000,
        "validation": 1000,
        "test": 10_000,
    }


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Dataset(name="digits", validation=100), "'digits' comes split, with 200 samples"),
        (Dataset(name="svhn", validation=73_257), "leave none to train on; 'svhn' has 73257"),
    ],
)
def test_a_split_that_cannot_be_had_is_refused(spec: Dataset, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        datasets.load(spec)
