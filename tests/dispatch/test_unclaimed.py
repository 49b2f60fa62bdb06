"""Jobs that end before they claim a cell are counted as attempts, whoever notices them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import attempts
from jobs.attempts import Attempt
from jobs.dispatch import chunks, ledger, liveness, unclaimed
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.slurm_text import JobAnswer, Limits
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning import survey
from jobs.planning.index import Index
from jobs.planning.plan import Planned, Progress, plan
from jobs.upkeep import tombstones
from tests.examples import cell, finish, run_root, submission

CELLS = [cell(0), cell(1)]
KEYS = {one.training_id for one in CELLS}


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return run_root(tmp_path)


@pytest.fixture
def paths(root: RunRoot) -> SubmissionFiles:
    made = submission(root, CELLS)
    chunks.intend(made, 0, 150.0, tasks=[0, 1])
    chunks.sent(made, 0, "77", [0, 1], 151.0)
    return made


def job(task: int, state: str, *, live: bool = False, code: str = "1:0") -> JobAnswer:
    name = f"77_{task}"
    return JobAnswer(name, "job-1-000", state, live, "n1", "", code, 1.0)  # type: ignore[arg-type]


def answer(*jobs: JobAnswer, at: float = 1000.0, reachable: bool = True) -> Answer:
    return Answer(
        asked_at=at,
        reachable=reachable,
        asked=frozenset({"77"}),
        source=("squeue",),
        jobs={job.job_id: job for job in jobs},
        limits=Limits(),
    )


def count(root: RunRoot, told: Answer, known: dict[str, Progress] | None = None) -> unclaimed.Count:
    return unclaimed.counted(root, [ledger.read(root, 1)], told, known or {}, KEYS)


def first(found: unclaimed.Count) -> Planned:
    return plan(CELLS, found.known, {})[0]


RUNS = job(1, "running", live=True)


@pytest.mark.parametrize(
    ("told", "action", "reason"),
    [
        (job(0, "failed"), "retry", "failed (1 of 3), start over"),
        (job(0, "node_fail"), "retry", "node_fail (1 of 20), start over"),
        (job(0, "preempted"), "retry", "preempted (1 of 20), start over"),
        (job(0, "timeout"), "retry", "timeout (1 of 20), start over"),
        (job(0, "cancelled"), "retry", "cancelled, start over"),
        (job(0, "completed", code="0:0"), "give_up", "exit code 0, but did nothing"),
        (job(1, "running", live=True), "retry", "lost (1 of 20), start over"),
        (job(0, "pending", live=True), "train", "new"),
    ],
)
def test_a_death_counts_by_its_cause(
    root: RunRoot, paths: SubmissionFiles, told: JobAnswer, action: str, reason: str
) -> None:
    item = first(count(root, answer(told, RUNS)))
    assert item.action == action
    assert reason in item.reason


@pytest.mark.parametrize("told", [answer(at=150.0), answer(reachable=False)])
def test_silence_is_no_death(root: RunRoot, paths: SubmissionFiles, told: Answer) -> None:
    assert count(root, told).fresh == {}


def test_who_skipped_itself_was_cancelled_or_claimed_is_not_dead(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    ledger.skip(paths, 0, "everything is recorded already")
    mine = Progress(attempts=(Attempt(number=1, submission=1, task=1),))
    known = {CELLS[1].training_id: mine}
    assert count(root, answer(), known) == unclaimed.Count(known=known, fresh={})
    ledger.cancel(paths, [1], 1.0)
    assert count(root, answer()).fresh == {}


def test_the_log_tells_why(root: RunRoot, paths: SubmissionFiles) -> None:
    log = paths.array_folder(0) / "77_0_0_log.out"
    log.parent.mkdir(parents=True)
    log.write_text("python: can't open file\nNo module named 'jobs' at 0x7f\n")
    found = count(root, answer(job(0, "failed"), RUNS))
    (death,) = found.fresh[1]
    assert death.signature == "did not start: No module named 'jobs' at #"
    assert death.reason.endswith("failed exit code 1:0): No module named 'jobs' at 0x7f")
    assert found.known[CELLS[0].training_id].attempts[0].host == "n1"


def test_deaths_are_put_on_record_once_and_read_again(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    found = count(root, answer(job(0, "failed"), RUNS))
    unclaimed.save(root, found.fresh, [], answer())
    again = count(root, answer(RUNS))  # SLURM has forgotten why
    assert again.fresh == {}
    assert again.known == found.known
    assert [path.name for path in paths.folder.glob("unclaimed-*")] == ["unclaimed-1.json"]


def test_a_closed_submission_keeps_its_deaths(root: RunRoot, paths: SubmissionFiles) -> None:
    told = answer(job(0, "failed"), job(1, "failed"))
    over = liveness.over([ledger.read(root, 1)], told, 2000.0)
    unclaimed.save(root, {}, over, told)
    liveness.close(root, over, told, 1000.0)
    assert ledger.closed(root) == liveness.deadly(root) == {1}
    found = unclaimed.counted(root, [], None, {}, KEYS)
    assert {len(known.attempts) for known in found.known.values()} == {1}


def test_a_claim_that_shows_up_late_undoes_the_count(root: RunRoot, paths: SubmissionFiles) -> None:
    told = answer(job(0, "failed"), RUNS)
    unclaimed.save(root, count(root, told).fresh, [], told)
    mine = Progress(attempts=(Attempt(number=1, submission=1, task=0, state="completed"),))
    found = count(root, told, {CELLS[0].training_id: mine})
    assert found.known[CELLS[0].training_id] == mine


def test_a_skip_that_shows_up_late_undoes_doing_nothing(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    told = answer(job(0, "completed"), RUNS)
    unclaimed.save(root, count(root, told).fresh, [], told)
    assert first(count(root, told)).action == "give_up"
    ledger.skip(paths, 0, "held (hold 1): waits")
    assert first(count(root, told)).action == "train"


@pytest.mark.parametrize(
    ("before", "after"),
    [([], [0]), ([1], [1, 1]), ([1, 3], [1, 1, 3]), ([3], [0, 3])],
)
def test_deaths_stand_among_the_attempts_in_the_order_of_submissions(
    before: Sequence[int], after: list[int]
) -> None:
    tried = tuple(Attempt(number=n, submission=n) for n in before)
    death = unclaimed.Death(task=4, job_id="9", cells=())
    found = unclaimed._with(Progress(attempts=tried), death, 2)
    assert [one.number for one in found.attempts] == after


def test_all_cells_of_a_packed_job_count_its_death(root: RunRoot) -> None:
    death = unclaimed.Death(task=0, job_id="9", cells=tuple(KEYS), reason="a", tail=("a",))
    paths = submission(root, CELLS)
    unclaimed.record(paths, [death, replace(death, task=1, tail=("b",))], 1.0)
    found = unclaimed.counted(root, [ledger.read(root, 1)], None, {}, KEYS)
    assert [len(known.attempts) for known in found.known.values()] == [2, 2]


def test_claims_on_disk_count_when_a_submission_closes(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    attempts.claim(root.cell(CELLS[0].training_id), {"submission": 1, "task": 0}, b"{}")
    told = answer(job(0, "failed"), job(1, "failed"))
    unclaimed.save(root, {}, [ledger.read(root, 1)], told)
    assert [death.task for death in unclaimed.read(paths)] == [1]


def test_a_job_whose_cell_was_invalidated_since_is_no_death(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    one = CELLS[0]
    number = attempts.claim(root.cell(one.training_id), {"submission": 1, "task": 0}, b"{}")
    attempts.end(root.cell(one.training_id).attempt(number), "completed", "")
    finish(root, one)
    tombstones.invalidate(root, one.training_id, None, {"reason": "wrong data"})
    known = survey.progress(root, CELLS, Index(root))
    found = count(root, answer(job(0, "completed", code="0:0"), RUNS), known)
    assert not found.fresh
    assert first(found).reason.startswith("new")


def test_a_death_before_an_invalidation_counts_no_more(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    one = CELLS[0]
    paths = root.submission(1)
    unclaimed.record(paths, count(root, answer(job(0, "failed"), RUNS)).fresh[1], 1.0)
    claimed = attempts.claim(root.cell(one.training_id), {"submission": 2, "task": 0}, b"{}")
    attempts.end(root.cell(one.training_id).attempt(claimed), "completed", "")
    finish(root, one)
    tombstones.invalidate(root, one.training_id, None, {"reason": "wrong data"})
    known = survey.progress(root, CELLS, Index(root))
    assert not count(root, answer(RUNS), known).known[one.training_id].attempts


def test_nor_does_one_after_the_last_claim_before_an_invalidation(
    root: RunRoot, paths: SubmissionFiles
) -> None:
    one = CELLS[0]
    attempts.claim(root.cell(one.training_id), {"submission": 1, "task": 0}, b"{}")
    finish(root, one)
    death = unclaimed.Death(task=0, job_id="78", cells=(one.training_id,))
    for _ in range(2):
        unclaimed.record(submission(root, [one]), [death], 1.0)
    tombstones.invalidate(root, one.training_id, None, {"reason": "wrong data"})
    unclaimed.record(submission(root, [one]), [death], 1.0)
    known = survey.progress(root, CELLS, Index(root))
    found = unclaimed.counted(root, liveness.submissions(root), answer(RUNS), known, KEYS)
    assert [a.submission for a in found.known[one.training_id].attempts] == [4]
