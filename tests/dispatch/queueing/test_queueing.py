"""What waits of a submission is sent once, whatever sbatch says and whoever dies."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs import attempts, files
from jobs.dispatch import chunks, ledger, queueing, scheduler, submit
from jobs.dispatch.queueing import Array, Pushed
from jobs.errors import EnvironmentFault, Refused
from jobs.layout import RunRoot, SubmissionFiles
from jobs.planning import situation
from jobs.planning.index import Index
from tests.dispatch.queueing.verbs import CELLS, calls, finish, push, sent, waiting
from tests.dispatch.test_chunks import DEAD, tried
from tests.examples import submission
from tests.fake_slurm import FakeSlurm, Fault


def test_chunks_are_sent_in_order(slurm: FakeSlurm, root: RunRoot) -> None:
    submission(root, CELLS, max_array=3)
    assert push(root) == Pushed(job_ids=("1", "2", "3"))
    assert sent(root) == [(0, 1, 2), (3, 4, 5), (6, 7)]
    assert list(slurm.states()) == [
        f"{j}_{i}" for j, n in ((1, 3), (2, 3), (3, 2)) for i in range(n)
    ]
    assert push(root) == Pushed()
    assert calls(slurm) == 3


def test_what_a_limit_keeps_back_waits_and_is_sent_later(slurm: FakeSlurm, root: RunRoot) -> None:
    submission(root, CELLS, max_array=3)
    slurm.limit(4)
    pushed = push(root)
    assert pushed.job_ids == ("1",)
    assert pushed.words.splitlines()[0] == "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    assert waiting(root) == 5
    finish(slurm, "1")
    assert push(root).job_ids == ("2",)
    finish(slurm, "2")
    assert push(root) == Pushed(job_ids=("3",))
    assert sorted(task for tasks in sent(root) for task in tasks) == list(range(8))


def test_an_array_that_can_never_fit_is_cut(slurm: FakeSlurm, root: RunRoot) -> None:
    submission(root, CELLS, max_array=5)
    slurm.limit(3)
    assert push(root, alone=True).job_ids == ("1",)
    assert sent(root) == [(0,)]
    for _ in range(20):
        finish(slurm)
        if not push(root, alone=True).words:
            break
    assert [task for tasks in sent(root) for task in tasks] == list(range(8))
    assert max(map(len, sent(root))) <= 3


def test_an_array_beyond_max_array_size_is_cut_whatever_is_queued(
    slurm: FakeSlurm, root: RunRoot
) -> None:
    slurm.add("other")
    submission(root, CELLS, max_array=8)
    push(root)
    assert [task for tasks in sent(root) for task in tasks] == list(range(8))
    assert max(map(len, sent(root))) <= 5


def test_a_full_controller_is_a_limit_and_nobody_waits_for_it(
    slurm: FakeSlurm, root: RunRoot
) -> None:
    submission(root, CELLS[:2])
    slurm.fault("sbatch", "busy")
    pushed = push(root)
    assert pushed.job_ids == ()
    assert pushed.words.splitlines()[-1].endswith("as many jobs as it can (MaxJobCount)")
    assert (waiting(root), slurm.states()) == (2, {})


def test_a_final_refusal_holds_nothing(slurm: FakeSlurm, root: RunRoot) -> None:
    submission(root, CELLS, max_array=3)
    slurm.refuse("sbatch: error: invalid partition specified: nowhere")
    with pytest.raises(Refused, match="no such partition"):
        push(root)
    found = ledger.read(root, 1)
    assert {found.standing(chunk, time.time()) for chunk in found.chunks} == {"given_up"}
    slurm.refuse("")
    assert (push(root), calls(slurm)) == (Pushed(), 1)


@pytest.mark.parametrize(
    ("faults", "called"),
    [
        (["fail"], 2),
        (["taken"], 1),
        (["nothing"], 2),
        (["fail", "fail"], 3),
        (["fail", "taken"], 2),
    ],
)
def test_after_a_doubtful_answer_the_job_is_looked_up(
    slurm: FakeSlurm, root: RunRoot, faults: list[Fault], called: int
) -> None:
    submission(root, CELLS[:2])
    slurm.fault("sbatch", *faults)
    assert push(root).job_ids == ("1",)
    assert (calls(slurm), list(slurm.states())) == (called, ["1_0", "1_1"])


def test_an_sbatch_that_hangs_is_ended(
    slurm: FakeSlurm, root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "SBATCH_S", 0.3)
    submission(root, CELLS[:2])
    slurm.fault("sbatch", "hang")
    assert push(root).job_ids == ("1",)
    assert calls(slurm) == 2


def test_nothing_is_sent_again_while_the_controller_is_silent(
    slurm: FakeSlurm, root: RunRoot
) -> None:
    submission(root, CELLS[:2])
    slurm.fault("sbatch", "taken")
    silence: list[Fault] = ["fail"] * 6
    slurm.fault("squeue", *silence)
    with pytest.raises(EnvironmentFault, match="nothing is lost: the next `submit`"):
        push(root)
    assert (calls(slurm), waiting(root)) == (1, 2)


def left_behind(root: RunRoot, *, decided: bool = True) -> SubmissionFiles:
    """A submission whose launcher died in the first try."""
    paths = submission(root, CELLS[:4])
    tried(paths, DEAD, decided=decided)
    return paths


def settled(root: RunRoot, at: float = 200.0) -> None:
    answer = scheduler.ask(job_ids=[], now=at)
    queueing.settle(root, ledger.read(root, 1), answer)


def test_a_job_that_its_launcher_could_not_record_is_adopted(
    slurm: FakeSlurm, root: RunRoot
) -> None:
    left_behind(root)
    slurm.add("job-1-000", range(4))
    settled(root)
    (chunk,) = ledger.read(root, 1).chunks
    assert (chunk.job_id, chunk.tasks) == ("1", (0, 1, 2, 3))
    assert (push(root), calls(slurm)) == (Pushed(), 0)


def test_a_job_that_only_accounting_knows_is_adopted(slurm: FakeSlurm, root: RunRoot) -> None:
    left_behind(root)
    slurm.add("job-1-000", range(4), state="COMPLETED")
    slurm.advance(301)
    settled(root)
    assert ledger.read(root, 1).job_ids == {"1"}


def test_a_job_that_only_its_claim_knows_is_adopted(slurm: FakeSlurm, root: RunRoot) -> None:
    left_behind(root)
    claim = {"submission": 1, "task": 2, "job_id": "77_2", "job_name": "job-1-000"}
    attempts.claim(root.cell(CELLS[2].training_id), claim, b"{}")
    settled(root)
    assert ledger.read(root, 1).job_ids == {"77"}


@pytest.mark.parametrize(("at", "again"), [(150.0, False), (162.0, True)])
def test_what_nobody_knows_is_sent_again_once_that_is_certain(
    slurm: FakeSlurm, root: RunRoot, at: float, again: bool
) -> None:
    left_behind(root)
    settled(root, at)
    assert bool(push(root).job_ids) is again
    assert calls(slurm) == again


def test_a_silent_scheduler_settles_nothing(slurm: FakeSlurm, root: RunRoot) -> None:
    left_behind(root)
    slurm.fault("squeue", "fail", "fail")
    settled(root, 9e9)
    assert (push(root), calls(slurm)) == (Pushed(), 0)


def test_an_undecided_try_is_taken_over_and_its_sender_sends_nothing(
    slurm: FakeSlurm, root: RunRoot
) -> None:
    paths = left_behind(root, decided=False)
    assert push(root).job_ids == ("1",)
    assert not chunks.decide(paths, 0, 5.0, number=0, void=False)
    assert paths.sent(0, 1).exists()


def test_a_sender_that_was_taken_over_in_between_sends_nothing(
    slurm: FakeSlurm, root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission(root, CELLS[:2])
    intend = chunks.intend

    def overtaken(paths: SubmissionFiles, chunk: int, at: float, **more: object) -> bool:
        mine = intend(paths, chunk, at, **more)  # type: ignore[arg-type]
        chunks.decide(paths, chunk, at, number=0, void=True)
        return mine

    monkeypatch.setattr(chunks, "intend", overtaken)
    assert (push(root), calls(slurm)) == (Pushed(), 0)


def test_cancelled_tasks_are_not_sent(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = submission(root, CELLS[:4])
    ledger.cancel(paths, [1, 2], 5.0)
    push(root)
    assert sent(root) == [(0, 3)]
    assert slurm.states().keys() == {"1_0", "1_1"}


def test_many_senders_at_once_send_each_task_once(slurm: FakeSlurm, root: RunRoot) -> None:
    submission(root, CELLS, max_array=2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: push(root), range(4)))
    push(root)
    assert sorted(sent(root)) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert calls(slurm) == 4 >= sum(len(one.job_ids) for one in found)


def test_children_name_all_jobs_of_their_parents(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = submission(root, CELLS, max_array=4, before=["99_1"])
    plan = files.read_json(paths.plan)
    plan["chunks"][1] |= {"generation": 1, "after": [0]}
    files.replace(paths.plan, files.dumps(plan))
    slurm.limit(1)
    push(root, alone=True)
    slurm.limit(None)
    push(root)
    ids = [chunk.job_id for chunk in ledger.read(root, 1).chunks]
    script = (paths.array_folder(1) / "submission.sh").read_text()
    assert f"#SBATCH --dependency=afterany:{':'.join(map(str, ids[:-1]))}:99_1\n" in script
    assert len(ids) == 4


def test_children_wait_for_a_parent_in_doubt(slurm: FakeSlurm, root: RunRoot) -> None:
    paths = submission(root, CELLS, max_array=4)
    plan = files.read_json(paths.plan)
    plan["chunks"][1] |= {"generation": 1, "after": [0]}
    files.replace(paths.plan, files.dumps(plan))
    tried(paths, DEAD)
    assert (push(root), calls(slurm)) == (Pushed(), 0)


def test_a_job_inherits_nothing_of_the_job_that_sends_it(
    slurm: FakeSlurm, root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def remember(script: Path) -> str:
        seen.update(os.environ)
        return "5"

    monkeypatch.setattr(submit, "_sbatch", remember)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "theirs")
    paths = submission(root, CELLS[:1])
    array = Array(chunk=0, number=0, name="x", tasks=(0,), parameters={}, python=None)
    assert submit.send_slurm(paths, array) == "5"
    assert not {"SLURM_JOB_ID", "SBATCH_PARTITION"} & seen.keys()
    assert seen["PYTHONPATH"].endswith("/code/c0de")


def test_another_cluster_tells_nothing_of_a_job(
    slurm: FakeSlurm, root: RunRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission(root, CELLS[:2])
    push(root)
    assert ledger.read(root, 1).chunks[0].cluster == "fake"
    other = FakeSlurm(tmp_path / "other")
    asked = other.bin / "scontrol"
    asked.write_text(asked.read_text().replace("= fake", "= other"))
    for folder, state in ((other.bin, "unknown"), (slurm.bin, "pending")):
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        seen = situation.look(root, CELLS[:2], Index(root), max_age=30.0, now=time.time())
        assert [holder.state for holder in seen.holders.values()] == [state, state]
    assert ledger.closed(root) == frozenset()


def test_a_twin_knows_that_it_is_one(slurm: FakeSlurm, root: RunRoot) -> None:
    submission(root, CELLS[:2])
    assert queueing.twin(ledger.read(root, 1), 0, "9_0") == ""
    push(root)
    found = ledger.read(root, 1)
    assert (queueing.twin(found, 0, "1_0"), queueing.twin(found, 1, "9_1")) == ("", "1")


def test_of_two_jobs_on_record_the_first_one_runs(root: RunRoot) -> None:
    paths = submission(root, CELLS[:1])
    for number, job_id in ((1, "21"), (0, "20")):
        chunks.intend(paths, 0, 1.0, number=number, tasks=[0])
        chunks.sent(paths, 0, job_id, [0], 2.0, number=number)
    found = ledger.read(root, 1)
    assert (queueing.twin(found, 0, "20"), queueing.twin(found, 0, "21")) == ("", "20")
