"""Records: counts, masks, and names that vouch for content."""

import base64
import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from jobs import files, records
from jobs.breaks import Breaks
from jobs.errors import CorruptFile
from jobs.layout import CellFiles
from jobs.records import Record, Row
from tests.examples import cell, record

ONE = cell()
FGSM_ID = list(ONE.attack_ids)[1]
OLDER = Path(__file__).parent / "data" / "records"
SUITE = ("apgd", "square")
FELL = Breaks(step=(3, 20, 5000), member=(0, 0, 1), linf=0.09, l2=2.5)


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


def test_packed_rows_say_the_same(tmp_path: Path) -> None:
    path = records.write(CellFiles(tmp_path), told())
    found, usual = records.read_packed(str(path)), records.read(path)
    assert (found.members, found.head["measured"]) == (usual.members, usual.measured)
    for packed, row in zip(found.rows, usual.rows, strict=True):
        assert packed.mask == base64.b64decode(records.pack(row.mask))
        assert Fraction(*packed.epsilon) == row.epsilon
        assert packed[1:4] == (row.correct, row.total, row.zero_gradient)


def test_what_fills_the_last_byte_becomes_zero(tmp_path: Path) -> None:
    data = records.encode(record(ONE, FGSM_ID))
    mask = records.pack(record(ONE, FGSM_ID).rows[0].mask)
    filled = base64.b64decode(mask)[:-1] + bytes([base64.b64decode(mask)[-1] | 1])
    data = data.replace(mask.encode(), base64.b64encode(filled), 1)
    path = tmp_path / f"{FGSM_ID}-{records.content_hash(data)}.json"
    path.write_bytes(data)
    assert records.read_packed(str(path)).rows[0].mask == base64.b64decode(mask)
    assert records.read(path) == record(ONE, FGSM_ID)


def test_row_keys() -> None:
    found = records.rows_of([record(ONE, FGSM_ID)])
    assert found == {f"{FGSM_ID}@2/255", f"{FGSM_ID}@8/255"}


def told(fell: Breaks | None = FELL, members: tuple[str, ...] = SUITE) -> Record:
    """A record of a suite that says how samples fell at its first radius."""
    plain = record(ONE, FGSM_ID)
    first, second = plain.rows
    return replace(plain, members=members, rows=(replace(first, breaks=fell), second))


def test_how_samples_fell_is_read_as_written(tmp_path: Path) -> None:
    path = records.write(CellFiles(tmp_path), told())
    assert records.read(path) == told()
    assert records.read_rows(str(path), "") == {f"{FGSM_ID}@2/255", f"{FGSM_ID}@8/255"}


@pytest.mark.parametrize(
    ("fell", "error"),
    [
        (replace(FELL, step=(3, 20)), "2 numbers for 3 broken samples"),
        (replace(FELL, member=(0, 0, 2)), "member 2 broke a sample, there are 2"),
        (replace(FELL, linf=-1.0), "the sum of linf norms is -1"),
    ],
)
def test_how_samples_fell_must_agree_with_the_counts(
    tmp_path: Path, fell: Breaks, error: str
) -> None:
    path = records.write(CellFiles(tmp_path), told(fell))
    for read in (records.read, records.read_packed):
        with pytest.raises(CorruptFile, match=error):
            read(str(path))


def test_damage_that_the_name_vouches_for_is_noticed(tmp_path: Path) -> None:
    data = records.encode(told()).replace(b'"breaks":"', b'"breaks":"AAAA')
    path = tmp_path / f"{FGSM_ID}-{records.content_hash(data)}.json"
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match="how samples fell is damaged"):
        records.read(path)


def test_a_record_of_an_older_version_is_read_for_ever() -> None:
    (path,) = OLDER.iterdir()
    found = records.read(path)
    assert found == record(ONE, FGSM_ID)
    assert [row.breaks for row in found.rows] == [None, None]
    assert records.encode(found) == path.read_bytes()


@pytest.mark.parametrize("steps", [(7,), range(1, 101), range(1, 5001)], ids=len)
def test_a_record_of_ten_thousand_samples_stays_small(steps: Sequence[int]) -> None:
    draw, total = random.Random(0), 10_000
    rows = []
    for level in range(1, 11):
        broken = total * level // 10  # up to all of them
        step = tuple(draw.choice(steps) for _ in range(broken))
        member = tuple(draw.randrange(40) for _ in range(broken))
        fell = Breaks(step=step, member=member, linf=1.0, l2=1.0)
        mask = tuple(n >= broken for n in range(total))
        row = Row(epsilon=Fraction(level, 255), correct=sum(mask), total=total, mask=mask,
                  zero_gradient=0, breaks=fell)  # fmt: skip
        rows.append(row)
    suite = replace(told(), rows=tuple(rows), members=tuple(map(str, range(40))))
    assert len(records.encode(suite)) < 300_000


def test_examples_stand_before_the_record_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    whole = files.create

    def create(path: Path, data: bytes) -> bool:
        written.append(path.name)
        return whole(path, data)

    monkeypatch.setattr(files, "create", create)
    path = records.write(CellFiles(tmp_path), record(ONE, FGSM_ID), b"tensors")
    beside = CellFiles(tmp_path).examples(path.name)
    assert written == [beside.name, path.name]
    assert beside.read_bytes() == b"tensors"
    assert records.names(CellFiles(tmp_path)) == [path.name]
