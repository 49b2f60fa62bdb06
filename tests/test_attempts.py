"""Attempts are numbered, claimed and ended once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs import attempts, files
from jobs.layout import CellFiles


def test_claims_count_up(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    assert [attempts.claim(cell, {}, b"{}") for _ in range(3)] == [1, 2, 3]
    assert cell.spec.read_bytes() == b"{}"


def test_no_number_is_given_twice(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: attempts.claim(cell, {}, b"{}"), range(40)))
    assert sorted(found) == list(range(1, 41))


def test_the_first_end_counts(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    paths = cell.attempt(attempts.claim(cell, {}, b"{}"))
    assert attempts.end(paths, "preempted", "a signal")
    assert not attempts.end(paths, "failed", "later")
    assert attempts.read(cell, 1).state == "preempted"


def test_a_younger_attempt_fences_an_older_one(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    attempts.claim(cell, {}, b"{}")
    assert not attempts.fenced(cell, 1)
    attempts.claim(cell, {}, b"{}")
    assert attempts.fenced(cell, 1)


def test_a_killed_attempt_advanced_if_its_events_say_so(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    paths = cell.attempt(attempts.claim(cell, {}, b"{}"))
    files.append(paths.events, {"event": "resumed"})
    assert not attempts.read(cell, 1).advanced
    files.append(paths.events, {"event": "saved", "step": 20})
    assert attempts.read(cell, 1).advanced


def test_an_attempt_of_this_process_is_running_here(tmp_path: Path) -> None:
    cell = CellFiles(tmp_path)
    attempts.claim(cell, {}, b"{}")
    found = [attempts.read(cell, 1)]
    assert attempts.running_here(found) is found[0]
    attempts.end(cell.attempt(1), "completed", "")
    assert attempts.running_here([attempts.read(cell, 1)]) is None


def test_signatures_leave_out_what_differs() -> None:
    a = attempts.signature("OSError", "[Errno 28] no space: '/scratch/u1/ab12.pt' at 0x7f3a")
    b = attempts.signature("OSError", "[Errno 28] no space: '/scratch/u2/cd34.pt' at 0x11aa")
    assert a == b == "OSError: [Errno #] no space: '<path>' at #"
