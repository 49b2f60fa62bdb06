"""Records: counts, masks, and names that vouch for content."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from jobs import records
from jobs.errors import CorruptFile
from jobs.layout import CellFiles
from tests.examples import cell, record

ONE = cell()
FGSM_ID = list(ONE.attack_ids)[1]


@pytest.mark.parametrize("total", [0, 1, 7, 8, 9, 400])
def test_masks_survive_packing(total: int) -> None:
    mask = tuple(i % 3 == 0 for i in range(total))
    assert records.unpack(records.pack(mask), total) == mask


def test_the_first_sample_is_the_highest_bit() -> None:
    assert records.pack((True, False, False, False, False, False, False, True, True)) == "gYA="


def test_a_record_reads_as_written(tmp_path: Path) -> None:
    written = record(ONE, FGSM_ID)
    path = records.write(CellFiles(tmp_path), written)
    assert records.read(path) == written


def test_writing_twice_gives_one_file(tmp_path: Path) -> None:
    paths = {records.write(CellFiles(tmp_path), record(ONE, FGSM_ID)) for _ in range(2)}
    assert records.names(CellFiles(tmp_path)) == [p.name for p in paths]


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = records.write(CellFiles(tmp_path), record(ONE, FGSM_ID))
    path.write_bytes(path.read_bytes().replace(b'"correct":7', b'"correct":8'))
    with pytest.raises(CorruptFile, match="does not match its name"):
        records.read(path)


def test_counts_must_agree_with_masks(tmp_path: Path) -> None:
    good = record(ONE, FGSM_ID)
    lie = replace(good, rows=(replace(good.rows[0], correct=9),))
    path = records.write(CellFiles(tmp_path), lie)
    with pytest.raises(CorruptFile, match="mask has 7 correct samples, count says 9"):
        records.read(path)


def test_a_torn_record_is_left_out(tmp_path: Path) -> None:
    paths = CellFiles(tmp_path)
    whole = records.write(paths, record(ONE, FGSM_ID))
    torn = records.write(paths, record(ONE, FGSM_ID, (Fraction(1, 255),)))
    torn.write_bytes(torn.read_bytes()[:-20])
    assert [path for path, _ in records.valid(paths)] == [whole]


def test_row_keys() -> None:
    found = records.rows_of([record(ONE, FGSM_ID)])
    assert found == {f"{FGSM_ID}@2/255", f"{FGSM_ID}@8/255"}
