"""What the disk and the scheduler say, and what is remembered of it."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from jobs import attempts, files, processes, records
from jobs.dispatch import chunks, ledger, liveness
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.slurm_text import JobAnswer, Limits
from jobs.expand.cell import stage_key
from jobs.layout import CellFiles, RunRoot
from jobs.planning import survey
from jobs.planning.index import TICK_NS, Index
from jobs.planning.plan import Progress
from snnlib.spec.stage import NDSStage
from tests.examples import cell, finish, record, run_root, submission

ONE = cell()
SENT = frozenset({"77"})
ELSEWHERE = {**processes.this().data(), "host": "elsewhere"}


def answer(
    *jobs: JobAnswer, reachable: bool = True, at: float = 1000.0, asked: frozenset[str] = SENT
) -> Answer:
    return Answer(
        asked_at=at,
        reachable=reachable,
        asked=asked,
        source=("squeue",),
        jobs={job.job_id: job for job in jobs},
        limits=Limits(),
    )


def job(job_id: str, state: str, *, live: bool, name: str = "job-1-000") -> JobAnswer:
    return JobAnswer(job_id, name, state, live, "n1", "", "0:0", 1.0)  # type: ignore[arg-type]


def sent(root: RunRoot) -> None:
    paths = submission(root, [cell(0), cell(1)])
    chunks.intend(paths, 0, 150.0)
    chunks.sent(paths, 0, "77", [0, 1], 151.0)


def test_progress_reads_what_stands(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    found = survey.progress(root, [ONE, cell(1)], Index(root))
    assert list(found) == [ONE.training_id]
    known = found[ONE.training_id]
    assert (known.trained, known.rows) == (True, frozenset(ONE.rows[:1]))


def test_the_index_saves_reading_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = run_root(tmp_path)
    finish(root, ONE)
    index = Index(root)
    before = survey.progress(root, [ONE], index)
    index.save()
    monkeypatch.setattr(records, "read", None)
    assert survey.progress(root, [ONE], Index(root)) == before


def test_a_new_record_is_seen_over_a_warm_index(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    index = Index(root)
    survey.progress(root, [ONE], index)
    index.save()
    late = list(ONE.attack_ids)[1]
    records.write(root.cell(ONE.training_id), record(ONE, late, (Fraction(2, 255),)))
    known = survey.progress(root, [ONE], Index(root))[ONE.training_id]
    assert known.rows == frozenset(ONE.rows[:2])


def settled(root: RunRoot) -> Index:
    """The index of a run root whose newest change lies well before it."""
    for _ in range(2):
        index = Index(root)
        survey.progress(root, [ONE], index)
        index.save()
        later = root.index.stat().st_mtime_ns + 2 * TICK_NS
        os.utime(root.index, ns=(later, later))
    return Index(root)


def test_a_settled_cell_is_not_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    index = settled(root)
    monkeypatch.setattr(records, "names", None)
    assert survey.progress(root, [ONE], index)[ONE.training_id].rows == frozenset(ONE.rows[:1])


def test_a_cell_that_just_changed_is_not_settled(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    for _ in range(3):
        index = Index(root)
        survey.progress(root, [ONE], index)
        index.save()
    assert Index(root).entries[ONE.training_id].stamp == 0


def test_a_new_record_is_seen_in_a_settled_cell(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    index = settled(root)
    finish(root, ONE)
    assert survey.progress(root, [ONE], index)[ONE.training_id].rows == frozenset(ONE.rows)


def test_a_new_attempt_is_seen_in_a_settled_cell(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    paths = root.cell(ONE.training_id)
    attempts.end(paths.attempt(attempts.claim(paths, {}, b"{}")), "failed", "")
    index = settled(root)
    assert index.entries[ONE.training_id].stamp
    attempts.claim(paths, {}, b"{}")
    known = survey.progress(root, [ONE], index)[ONE.training_id]
    assert [attempt.state for attempt in known.attempts] == ["failed", None]


def test_a_cell_with_an_open_attempt_never_settles(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    attempts.claim(root.cell(ONE.training_id), {}, b"{}")
    assert settled(root).entries[ONE.training_id].stamp == 0


def test_recorded_stages_are_rows_of_cells_that_want_them(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    wants = replace(ONE, stages=(NDSStage(), NDSStage(quantity="trace")))
    membrane, trace = wants.stage_ids
    finish(root, ONE, attacks=1)
    stages = root.cell(ONE.training_id).stages
    stages.mkdir()
    for name in (f"{membrane}.json", f"{trace}.safetensors", "0123456789abcdef.json"):
        (stages / name).write_text("{}")
    (known,) = survey.progress(root, [wants], Index(root)).values()
    assert known.rows == {ONE.rows[0], stage_key(membrane)}
    (known,) = survey.progress(root, [replace(wants, stages=()), wants], settled(root)).values()
    assert known.rows == {ONE.rows[0], stage_key(membrane)}


def test_cells_without_stages_never_look_for_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run_root(tmp_path)
    finish(root, ONE)
    monkeypatch.setattr(CellFiles, "stage", None)
    assert survey.progress(root, [ONE], settled(root))[ONE.training_id].rows == {*ONE.rows}


def test_rows_of_other_weights_are_missing(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE)
    training, index = root.cell(ONE.training_id).training, Index(root)
    training.unlink()
    (known,) = survey.progress(root, [ONE], index).values()
    assert (known.trained, known.rows) == (False, frozenset(ONE.rows))
    index.save()
    # trained anew, on a machine that gives other bits
    files.replace(training, files.dumps({"model_sha256": "1" * 64}))
    for later in (Index(root), Index(root, trust=False)):
        (known,) = survey.progress(root, [ONE], later).values()
        assert (known.trained, known.rows) == (True, frozenset())


def test_a_deleted_training_is_new_again(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE)
    index = Index(root)
    survey.progress(root, [ONE], index)
    index.save()
    folder = root.cell(ONE.training_id).folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    assert survey.progress(root, [ONE], Index(root)) == {}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (answer(job("77_0", "running", live=True)), "pending"),  # its job runs, it has no claim yet
        (answer(job("77_0", "pending", live=True)), "pending"),
        (answer(job("77_0", "failed", live=False)), None),
        (answer(), None),
        (answer(job("77_0", "running", live=True, name="somebody's")), None),
        (answer(reachable=False), "unknown"),
        (answer(at=50.0), "unknown"),
        (answer(at=150.5), "unknown"),  # asked after the plan, before sbatch had answered
        (answer(asked=frozenset()), "unknown"),  # the same, by a clock that is ahead
        (None, "unknown"),
    ],
)
def test_liveness_on_slurm(tmp_path: Path, told: Answer | None, state: str | None) -> None:
    root = run_root(tmp_path)
    sent(root)
    held = liveness.live(liveness.submissions(root), {}, told, 2000.0).get(cell(0).training_id)
    assert (held.state if held else None) == state


def test_a_claimed_cell_of_a_running_job_runs(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    sent(root)
    paths = root.cell(cell(0).training_id)
    attempts.claim(paths, {"submission": 1, "task": 0}, b"{}")
    known = survey.progress(root, [cell(0)], Index(root))
    told = answer(job("77_0", "running", live=True))
    held = liveness.live(liveness.submissions(root), known, told, 2000.0)
    assert held[cell(0).training_id].state == "running"


def test_a_refused_chunk_holds_nothing(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [ONE])
    chunks.intend(paths, 0, 100.0)
    chunks.refused(paths, 0, "invalid partition", 101.0)
    assert liveness.live(liveness.submissions(root), {}, None, 102.0) == {}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (answer(), "lost"),
        (answer(job("77_0", "timeout", live=False)), "timeout"),
        (answer(job("77_0", "node_fail", live=False)), "node_fail"),
        (answer(job("77_0", "timeout", live=False, name="somebody's")), "lost"),
    ],
)
def test_the_cause_of_a_silent_end(tmp_path: Path, told: Answer, state: str) -> None:
    root = run_root(tmp_path)
    sent(root)
    claim = {"submission": 1, "task": 0, "job_id": "77_0", "job_name": "job-1-000"}
    attempts.claim(root.cell(ONE.training_id), claim, b"{}")
    known = survey.progress(root, [ONE], Index(root))
    explained = liveness.explained(root, known, {}, told)
    assert explained[ONE.training_id].attempts[-1].state == state


def test_a_cancelled_job_never_looks_lost(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    sent(root)
    ledger.cancel(root.submission(1), None, 200.0)
    attempts.claim(root.cell(ONE.training_id), {"submission": 1, "job_id": "77_0"}, b"{}")
    known = survey.progress(root, [ONE], Index(root))
    explained = liveness.explained(root, known, {}, answer())
    assert explained[ONE.training_id].attempts[-1].state == "cancelled"


def test_a_closed_submission_keeps_the_schedulers_last_word(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    sent(root)
    claim = {"submission": 1, "task": 0, "job_id": "77_0", "job_name": "job-1-000"}
    attempts.claim(root.cell(ONE.training_id), claim, b"{}")
    told = answer(job("77_0", "timeout", live=False))
    over = liveness.over(liveness.submissions(root), told, 2000.0)
    liveness.close(root, over, told, 1000.0)
    assert ledger.closed(root) == {1}
    known = survey.progress(root, [ONE], Index(root))
    later = liveness.explained(root, known, {}, answer(at=9000.0))
    assert later[ONE.training_id].attempts[-1].state == "timeout"


def test_an_open_submission_stays_open(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    sent(root)
    liveness.close(root, liveness.over(liveness.submissions(root), None, 2000.0), None, 2000.0)
    assert ledger.closed(root) == frozenset()
    assert os.listdir(root.cache) == []
    assert list(files.read_lines(root.closed)) == []


def test_foreign_files_among_the_cells_are_passed_over(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    (root.cells / ".DS_Store").write_text("")
    finish(root, ONE)
    assert list(survey.progress(root, [ONE], Index(root))) == [ONE.training_id]


def test_a_torn_training_is_not_trained(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE)
    root.cell(ONE.training_id).training.write_text('{"model_sha')
    assert not survey.progress(root, [ONE], Index(root))[ONE.training_id].trained


def test_every_silent_end_of_a_cancelled_submission_is_a_cancel(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    sent(root)
    ledger.cancel(root.submission(1), None, 200.0)
    paths = root.cell(ONE.training_id)
    for _ in range(2):
        attempts.claim(paths, {"submission": 1, "task": 0}, b"{}")
    known = survey.progress(root, [ONE], Index(root))
    found = liveness.explained(root, known, {}, answer())[ONE.training_id]
    assert [attempt.state for attempt in found.attempts] == ["cancelled", "cancelled"]


def test_a_skipped_task_that_runs_all_the_same_is_live(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [ONE], "local")
    chunks.intend(paths, 0, 1.0)
    ledger.started(paths, 0, processes.this(), "", 1.0)
    ledger.skip(paths, 0, "taken first")
    held = liveness.live(liveness.submissions(root), {}, None, 2.0)
    assert list(held) == [ONE.training_id]


@pytest.mark.parametrize(("state", "live"), [(None, True), ("preempted", False)])
def test_a_skipped_task_that_slurm_started_again_is_live_while_it_works(
    tmp_path: Path, state: attempts.EndState | None, live: bool
) -> None:
    root = run_root(tmp_path)
    sent(root)
    ledger.skip(root.submission(1), 0, "attempt 1 is running on this machine")
    paths = root.cell(ONE.training_id)
    number = attempts.claim(paths, {"submission": 1, "task": 0}, b"{}")
    if state:
        attempts.end(paths.attempt(number), state, "")
    known = survey.progress(root, [ONE], Index(root))
    found, told = liveness.submissions(root), answer(job("77_0", "running", live=True))
    assert (ONE.training_id in liveness.live(found, known, told, 2000.0)) is live
    assert liveness.over(found, told, 2000.0) == []


@pytest.mark.parametrize(("state", "held"), [("running", False), ("pending", True)])
def test_a_job_that_starts_again_holds_what_was_invalidated_since(
    tmp_path: Path, state: str, held: bool
) -> None:
    root = run_root(tmp_path)
    sent(root)
    buried = attempts.Attempt(number=1, state="completed", submission=1, task=0)
    known = {ONE.training_id: Progress(buried=(buried,))}
    told = answer(job("77_0", state, live=True))
    live = liveness.live(liveness.submissions(root), known, told, 2000.0)
    assert (ONE.training_id in live) is held


def test_a_task_of_another_machine_is_over_once_it_is_cancelled(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, [ONE], "local")
    chunks.intend(paths, 0, 1.0)
    ledger.started(paths, 0, processes.Process.of(ELSEWHERE), "", 1.0)
    (holder,) = liveness.live(liveness.submissions(root), {}, None, 2.0).values()
    assert (holder.state, "cancel it" in holder.why) == ("unknown", True)
    ledger.cancel(paths, None, 3.0)
    assert liveness.live(liveness.submissions(root), {}, None, 4.0) == {}


@pytest.mark.parametrize("done", [False, True])
def test_attempts_at_a_cell_that_lacks_a_stage_are_seen(tmp_path: Path, done: bool) -> None:
    root = run_root(tmp_path)
    wants = replace(ONE, stages=(NDSStage(),))
    finish(root, ONE)
    paths = root.cell(ONE.training_id)
    index = Index(root)
    survey.progress(root, [wants], index)
    index.save()
    attempts.claim(paths, {}, b"{}")
    if done:
        paths.stages.mkdir()
        paths.stage(next(iter(wants.stage_ids))).write_text("{}")
    for asked in (wants, replace(wants, number=-1)):
        known = survey.progress(root, [asked], Index(root))[ONE.training_id]
        assert bool(known.attempts) is not done


def test_two_cells_of_one_training_see_each_others_new_rows(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    short, long = replace(ONE, attacks=()), replace(ONE, number=1)
    index = Index(root)
    survey.progress(root, [short, long], index)
    index.save()
    finish(root, ONE)
    known = survey.progress(root, [short, long], Index(root))
    assert known[ONE.training_id].rows == frozenset(ONE.rows)
