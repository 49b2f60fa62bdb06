"""How a chunk stands follows from the files of its tries, whoever is at it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import files, processes
from jobs.dispatch import chunks, ledger, liveness
from jobs.dispatch.chunks import Try
from jobs.dispatch.ledger import Standing
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.slurm_text import JobAnswer, Limits
from jobs.layout import RunRoot, SubmissionFiles
from tests.examples import cell, run_root, submission

DEAD = {**processes.this().data(), "start": 1}
ELSEWHERE = {**DEAD, "host": "elsewhere"}
CELLS = [cell(seed) for seed in range(4)]


def tried(paths: SubmissionFiles, who: dict[str, object], *, decided: bool = True) -> None:
    """The first try of the first chunk, begun at 100 and decided at 101."""
    line = {"at": 100.0, "tasks": [0, 1, 2, 3], **who}
    files.create(paths.intent(0), files.dumps(line))
    if decided:
        files.create(paths.decision(0), files.dumps({"at": 101.0, "void": False, **who}))


def standing(tmp_path: Path, now: float = 200.0) -> Standing:
    found = ledger.read(RunRoot(tmp_path / "runs"), 1)
    return found.standing(found.chunks[-1], now)


def answer(*jobs: tuple[str, float], at: float) -> Answer:
    told = {i: JobAnswer(i, "job-1-000", "pending", True, "", "", "0:0", when) for i, when in jobs}
    return Answer(at, reachable=True, source=("squeue",), jobs=told, limits=Limits())


@pytest.mark.parametrize(
    ("who", "decided", "now", "wanted"),
    [
        (processes.this().data(), True, 9e9, "sending"),
        (DEAD, True, 200.0, "doubtful"),
        (DEAD, False, 200.0, "waiting"),
        (ELSEWHERE, True, 200.0, "sending"),
        (ELSEWHERE, True, 701.0, "doubtful"),
        (ELSEWHERE, False, 701.0, "waiting"),
    ],
)
def test_a_try_without_an_outcome(
    tmp_path: Path, who: dict[str, object], decided: bool, now: float, wanted: Standing
) -> None:
    tried(submission(run_root(tmp_path), CELLS), who, decided=decided)
    assert standing(tmp_path, now) == wanted


def test_an_intent_of_an_older_version_may_have_come_to_sbatch(tmp_path: Path) -> None:
    paths = submission(run_root(tmp_path), CELLS)
    files.create(paths.intent(0), files.dumps({"at": 100.0, **DEAD}))
    assert standing(tmp_path) == "doubtful"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("limit", "waiting"), ("long", "waiting"), ("unknown", "waiting"), ("final", "given_up")],
)
def test_a_refused_try(tmp_path: Path, kind: chunks.Refusal, wanted: Standing) -> None:
    paths = submission(run_root(tmp_path), CELLS)
    tried(paths, processes.this().data())
    chunks.refused(paths, 0, "sbatch: no", 102.0, kind=kind)
    assert standing(tmp_path) == wanted


def test_a_refusal_of_an_older_version_was_final(tmp_path: Path) -> None:
    paths = submission(run_root(tmp_path), CELLS)
    files.create(paths.refused(0), files.dumps({"words": "no", "at": 1.0}))
    assert standing(tmp_path) == "given_up"


@pytest.mark.parametrize(("taken", "wanted"), [(True, False), (False, True)])
def test_one_word_decides_whether_a_try_comes_to_sbatch(
    tmp_path: Path, taken: bool, wanted: bool
) -> None:
    paths = submission(run_root(tmp_path), CELLS)
    tried(paths, processes.this().data(), decided=False)
    if taken:
        chunks.decide(paths, 0, 5.0, number=0, void=True)
    assert chunks.decide(paths, 0, 6.0, number=0, void=False) is wanted
    assert standing(tmp_path) == ("waiting" if taken else "sending")


def test_what_is_left_of_a_chunk_is_a_part_by_itself(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, CELLS)
    chunks.intend(paths, 0, 1.0, tasks=[0, 1])
    chunks.sent(paths, 0, "7", [0, 1], 2.0)
    ledger.skip(paths, 3, "taken")
    sent, left = ledger.read(root, 1).chunks
    assert (sent.tasks, sent.position_job(1), left.tasks, left.job_id) == (
        (0, 1),
        "7_1",
        (2,),
        None,
    )
    assert (left.tries, left.size) == (1, 8)


@pytest.mark.parametrize(
    ("fates", "size"),
    [
        ([], None),
        ([(60, "limit")], 60),
        ([(60, "long")], 15),
        ([(60, "long"), (15, "long"), (3, "long")], 1),
        ([(60, "long"), (15, "sent")], 60),
        ([(60, "long"), (15, "sent"), (45, "limit")], 15),
        ([(60, "unknown")], None),
    ],
)
def test_the_next_size_follows_from_how_others_fared(
    fates: list[tuple[int, str]], size: int | None
) -> None:
    made = [
        Try(number=n, tasks=tuple(range(count)), job_id="7")
        if fate == "sent"
        else Try(number=n, tasks=tuple(range(count)), refusal=fate)  # type: ignore[arg-type]
        for n, (count, fate) in enumerate(fates)
    ]
    assert chunks.next_size(made) == size


@pytest.mark.parametrize(
    ("told", "unheard"),
    [
        (answer(at=110.0), False),
        (answer(at=161.0), True),
        (answer(("7", 102.0), at=161.0), False),
        (answer(("7", 102.0 - 7200), at=161.0), True),
    ],
)
def test_when_nobody_knows_a_job(tmp_path: Path, told: Answer, unheard: bool) -> None:
    root = run_root(tmp_path)
    tried(submission(root, CELLS), DEAD)
    (chunk,) = ledger.read(root, 1).chunks
    assert chunks.unheard_of(chunk, told, frozenset()) is unheard


@pytest.mark.parametrize(
    ("told", "state"),
    [(None, "unknown"), (answer(at=110.0), "unknown"), (answer(at=161.0), "held")],
)
def test_cells_in_doubt(tmp_path: Path, told: Answer | None, state: str) -> None:
    root = run_root(tmp_path)
    tried(submission(root, CELLS), DEAD)
    found = liveness.live(liveness.submissions(root), {}, told, 200.0)
    assert {one.state for one in found.values()} == {state}
    assert len(found) == len(CELLS)


def test_cancelled_tasks_hold_nothing(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, CELLS)
    tried(paths, DEAD)
    ledger.cancel(paths, [1], 150.0)
    held = liveness.live(liveness.submissions(root), {}, None, 200.0)
    assert CELLS[1].training_id not in held
    assert len(held) == len(CELLS) - 1


def test_what_was_never_begun_is_given_up_once(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, CELLS)
    (chunk,) = ledger.read(root, 1).chunks
    chunks.give_up(paths, chunk, "stopped by the user", 5.0)
    assert standing(tmp_path) == "given_up"
    assert not chunks.decide(paths, 0, 6.0, number=0, void=False)
    assert sorted(name for name in os.listdir(paths.folder) if "chunk" in name) == [
        "chunk-000.decision.json",
        "chunk-000.refused.json",
    ]


def test_an_id_that_slurm_used_again_holds_no_cell(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, CELLS)
    chunks.intend(paths, 0, 1.0)
    chunks.sent(paths, 0, "7", [0, 1, 2, 3], 2.0)
    others = [JobAnswer(f"7_{i}", "theirs", "running", True, "n1", "", "", 3.0) for i in range(4)]
    told = replace(answer(at=9.0), jobs={job.job_id: job for job in others})
    assert liveness.live(liveness.submissions(root), {}, told, 10.0) == {}
