"""Finished batches on disk: what is whole is taken, everything else is passed over."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, files, records
from jobs.breaks import Breaks
from jobs.layout import CellFiles
from jobs.planning import survey
from jobs.running import partial
from jobs.running.partial import Found, Part, Points, Subject, Writer
from tests.examples import cell as example
from tests.examples import finish, run_root
from tests.planning.test_survey import settled

ONE = example()
LOW, HIGH = RADII = (Fraction(2, 255), Fraction(8, 255))
SUBJECT = Subject(
    attack_id="a" * 16, model_sha256="0" * 64, samples_sha256="1" * 64, total=10, batch=4
)
MADE = {"device": "cpu", "threads": 1, "versions": {}, "world_size": 1, "codes": ["c0de"]}


def row(epsilon: Fraction = LOW, count: int = 4, *, first: bool = True) -> Part:
    mask = (first, *[False, True, True][: count - 1])
    return Part(epsilon=epsilon, correct=sum(mask), total=count, mask=mask, zero_gradient=1)


def write(
    folder: Path,
    starts: Sequence[int],
    name: str = "a0001.r0.jsonl",
    subject: Subject = SUBJECT,
    **more: Any,
) -> Path:
    """The file of one rank that has finished the batches at some positions."""
    writer = Writer(folder / name, partial.header(subject, {**MADE, **more}))
    for start in starts:
        rows = [row(epsilon, subject.count(start)) for epsilon in RADII]
        writer.add(partial.batch(start, rows, seconds=3.0))
    writer.save()
    return folder / name


def read(folder: Path, subject: Subject = SUBJECT) -> Found:
    return partial.read(folder, subject, RADII)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, [0, 8])
    found = read(tmp_path)
    assert found.parts == {(s, e): row(e, n) for s, n in ((0, 4), (8, 2)) for e in RADII}
    assert (found.made, found.seconds, found.refused) == ([MADE], 6.0, [])


TOLD = replace(
    row(),
    breaks=Breaks(step=(12,), member=(3,), linf=1 / 3, l2=2 / 3),
    points=Points(shape=(2, 1), data=b"\0\0\x80?\0\0\0@", predicted=(7, 3)),
)


def test_how_samples_fell_and_their_examples_come_back(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a0001.r0.jsonl", partial.header(SUBJECT, MADE))
    writer.add(partial.batch(0, [TOLD, row(HIGH)], seconds=3.0))
    writer.save()
    parts = read(tmp_path).parts
    assert parts == {(0, LOW): TOLD, (0, HIGH): row(HIGH)}
    assert parts[0, LOW].points == TOLD.points
    assert [part.seconds for part in parts.values()] == [1.5, 1.5]


def test_a_batch_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a0001.r0.jsonl", partial.header(SUBJECT, MADE))
    fell = Breaks(step=(12, 9), member=(0, 0), linf=1.0, l2=1.0)
    writer.add(partial.batch(0, [replace(row(), breaks=fell)], 1.0))
    writer.save()
    found = read(tmp_path)
    assert found.parts == {}
    assert "2 numbers for 1 broken samples" in found.refused[0][1]


def test_nothing_is_found_where_nothing_was_begun(tmp_path: Path) -> None:
    assert read(tmp_path / "absent") == Found()


@pytest.mark.parametrize("cut", [1, 9, 60])
def test_a_torn_last_line_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, [0, 4])
    path.write_bytes(path.read_bytes()[:-cut])
    found = read(tmp_path)
    kept = {0} if cut > 1 else {0, 4}  # the last byte is the line break
    assert {start for start, _ in found.parts} == kept


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    data = path.read_bytes()
    for place in range(len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        found = read(tmp_path)
        assert found.parts == {}
        assert found.refused


@pytest.mark.parametrize(
    "other",
    [{"model_sha256": "2" * 64}, {"samples_sha256": "2" * 64}, {"batch": 2}, {"attack_id": "b"}],
)
def test_batches_of_another_subject_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    write(tmp_path, [0])
    found = read(tmp_path, replace(SUBJECT, **other))
    assert found.parts == {}
    assert found.refused == [("a0001.r0.jsonl", f"is of another {next(iter(other))}")]


def test_a_file_of_a_newer_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [0])
    monkeypatch.setattr(partial, "SCHEMA_VERSION", 0)
    assert read(tmp_path).refused[0][1] == "has format 1, this program writes 0"


def test_a_batch_at_another_position_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a0001.r0.jsonl", partial.header(SUBJECT, MADE))
    writer.add(partial.batch(2, [row()], 1.0))
    writer.save()
    assert "no batch begins at sample 2" in read(tmp_path).refused[0][1]


def test_ranks_and_attempts_add_up(tmp_path: Path) -> None:
    write(tmp_path, [0], "a0001.r0.jsonl", world_size=2)
    write(tmp_path, [8], "a0001.r1.jsonl", world_size=2)
    write(tmp_path, [4], "a0002.r0.jsonl")
    found = read(tmp_path)
    assert sorted(found.parts) == [(start, e) for start in (0, 4, 8) for e in RADII]
    assert (found.seconds, found.refused) == (1.5 + 1.5 + 3.0, [])


def test_of_a_batch_that_two_attempts_finished_the_first_counts(tmp_path: Path) -> None:
    write(tmp_path, [0, 4])
    writer = Writer(tmp_path / "a0002.r0.jsonl", partial.header(SUBJECT, MADE))
    writer.add(partial.batch(0, [row()], 1.0))
    writer.add(partial.batch(4, [row(first=False)], 1.0))
    writer.save()
    found = read(tmp_path)
    assert found.parts[4, LOW] == row()
    assert (found.made, found.seconds) == ([MADE], 6.0)
    assert found.refused == [("a0002.r0.jsonl", "1 outcomes differ from an earlier file's")]


def pointed(count: int) -> Part:
    points = Points(shape=(count, 1), data=bytes(4 * count), predicted=(0,) * count)
    return replace(row(), points=points)


@pytest.mark.parametrize(
    ("attempts", "shown"),
    [((row(), pointed(2)), 2), ((pointed(2), row()), 2), ((row(), pointed(1), pointed(3)), 3)],
)
def test_the_most_points_count(tmp_path: Path, attempts: Sequence[Part], shown: int) -> None:
    for number, part in enumerate(attempts, 1):
        writer = Writer(tmp_path / f"a{number:04d}.r0.jsonl", partial.header(SUBJECT, MADE))
        writer.add(partial.batch(0, [part], 1.0))
        writer.save()
    found = read(tmp_path)
    assert found.parts[0, LOW].shown == shown
    assert (found.seconds, found.refused) == (1.0, [])


def test_other_radii_and_foreign_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, [0])
    (tmp_path / ".tmp-7").write_text("{")
    found = partial.read(tmp_path, SUBJECT, [HIGH])
    assert list(found.parts) == [(0, HIGH)]
    assert found.refused == []


def test_a_fast_evaluation_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path / "folder" / "a0001.r0.jsonl", partial.header(SUBJECT, MADE))
    writer.add(partial.batch(0, [row()], 1.0))
    assert (writer.saved, list(tmp_path.iterdir())) == (0, [])
    monkeypatch.setattr(partial, "SAVE_S", 0.0)
    writer.add(partial.batch(4, [row()], 1.0))
    assert (writer.saved, len(read(tmp_path / "folder").parts)) == (2, 2)


class Clock:
    """Time as a test sets it."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_writes_become_rarer_the_longer_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(partial, "time", clock)
    writer = Writer(tmp_path / "a0001.r0.jsonl", partial.header(SUBJECT, MADE))
    saved = []
    for second in range(30, 36_000, 30):
        clock.now = second
        writer.add(partial.batch(0, [row()], 1.0))
        saved.append(writer.saved)
    writes = [later - earlier for earlier, later in itertools.pairwise(saved) if later > earlier]
    assert writes[:90] == [1] * 90
    assert writes[-1] == 12  # a hundredth of ten hours
    assert len(writes) < 400


def test_a_superseded_attempt_may_lose_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    writer = Writer(folder / "a0001.r0.jsonl", partial.header(SUBJECT, MADE))
    for start in (0, 4):
        writer.add(partial.batch(start, [row()], 1.0))
        writer.save()
        partial.remove(folder)
        assert not folder.exists()


def test_names_say_attempt_and_rank() -> None:
    path = CellFiles(Path("cell")).finished_batches("ab12", attempt=3, rank=1)
    assert str(path) == "cell/evaluations/ab12.partial/a0003.r1.jsonl"


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], ""),
        ([{"event": "partial", "name": "pgd", "done": 34, "of": 100}], "pgd 34 of 100 batches"),
        ([{"event": "partial", "name": "pgd", "done": 9, "of": 9}, {"event": "recorded"}], ""),
    ],
)
def test_progress_is_that_of_the_attack_that_runs(events: list[dict[str, Any]], text: str) -> None:
    assert partial.progress(events) == text


def test_a_running_evaluation_leaves_records_and_progress_as_they_are(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    before = settled(root)
    cell = root.cell(ONE.training_id)
    path = cell.finished_batches(list(ONE.attack_ids)[1], 1, 0)
    write(path.parent, [0], path.name)
    assert [record.attack["name"] for _, record in records.valid(cell)] == ["clean"]
    known = survey.progress(root, [ONE], before)[ONE.training_id]
    assert (known.trained, known.rows) == (True, frozenset(ONE.rows[:1]))
    partial.remove(path.parent)
    finish(root, ONE)
    assert survey.progress(root, [ONE], before)[ONE.training_id].rows == frozenset(ONE.rows)


def test_a_killed_attempt_with_finished_batches_has_advanced(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    paths = cell.attempt(attempts.claim(cell, {}, b"{}"))
    files.append(paths.events, {"event": "partial", "name": "pgd", "done": 1, "of": 9})
    assert attempts.read(cell, 1).advanced
