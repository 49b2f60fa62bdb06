"""An attack that was interrupted goes on where it was, to the same record."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, checkpoint, files, identity, records
from jobs.layout import RunRoot
from jobs.running import agreement, attack_share, evaluate_cell, partial
from jobs.running.agreement import Agreement
from jobs.running.cell_run import CellRun, Fenced, Stopped
from jobs.upkeep import tombstones
from snnlib import evaluate, models
from snnlib.attacks import ATTACKS as ATTACKS_BY_NAME
from snnlib.errors import GuardBroken, NotFinite
from snnlib.spec.attack import BIM, FGSM, PGD, RFGSM, AnyAttack, Attack, Clean
from snnlib.spec.data import Dataset, Evaluation
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF
from snnlib.spec.training import CleanRegime, TrainingSpec
from tests.examples import run_root
from tests.running import alone
from tests.snnlib import ddp_rank

DATA = ddp_rank.few_digits(100)
SPEC = TrainingSpec(
    dataset=Dataset(name="digits"),
    model=Small(neuron=LIF(), time_steps=2),
    regime=CleanRegime(epochs=1),
)
EVALUATION = Evaluation(samples=20, batch=6)
RADII = (Fraction(16, 255), Fraction(48, 255))
STEPS = PGD(steps=3, restarts=2)
ATTACKS: list[Attack] = [FGSM(), RFGSM(), BIM(steps=2), STEPS]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    monkeypatch.setattr(agreement, "LOOK_S", 0.0)
    return trained(run_root(tmp_path))


def trained(root: RunRoot, damage: tuple[int, float] | None = None) -> RunRoot:
    """A network with random weights, as if it had been trained; (which, value) changes some."""
    cell = root.cell(identity.training_id(SPEC))
    model = models.build(SPEC.model, shape=DATA.shape, classes=10, seed=0)
    if damage is not None:
        which, value = damage
        list(model.parameters())[which].data.fill_(value)
    folder, sha256 = checkpoint.save_final(cell, 1, model.state_dict(), {})
    files.replace(cell.training, files.dumps({"checkpoint": folder, "model_sha256": sha256}))
    return root


def attempt(
    root: RunRoot, number: int, attack: AnyAttack = STEPS, evaluation: Evaluation = EVALUATION
) -> CellRun:
    """An attempt at one attack, of rank 0 of one."""
    named = {
        "id": identity.attack_id(attack, evaluation, "digits"),
        "attack": identity.plain(attack),
        "epsilons": [f"{radius.numerator}/{radius.denominator}" for radius in RADII],
    }
    return alone.attempt(root, SPEC, number, evaluation=identity.plain(evaluation), attacks=[named])


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], list[int]]:
    """Have something happen once some batches are attacked; the list counts all of them."""

    def arrange(count: int, happen: Callable[[], object]) -> list[int]:
        whole, seen = evaluate.attack_batch, [0]

        def counted(*args: Any, **more: Any) -> Any:
            found = whole(*args, **more)
            seen[0] += 1
            if seen[0] == count:
                happen()
            return found

        monkeypatch.setattr(evaluate, "attack_batch", counted)
        return seen

    return arrange


def raised(run: CellRun) -> Callable[[], None]:
    return lambda: setattr(run.job.stop, "up", True)


def results(run: CellRun) -> Any:
    ((_, record),) = records.valid(run.cell)
    return replace(record, measured={})


def events(run: CellRun, what: str) -> list[dict[str, Any]]:
    return [line for line in files.read_lines(run.files.events) if line["event"] == what]


def folder(run: CellRun) -> Path:
    return run.cell.partial(run.order["attacks"][0]["id"])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_an_interrupted_attack_ends_in_the_same_record(
    root: RunRoot, tmp_path: Path, after: Any, attack: Attack
) -> None:
    turns = 4 if attack.name in attack_share.SHARING else 8  # of a batch at both radii, or at one
    first, second = (attempt(root, number, attack) for number in (1, 2))
    seen = after(2, raised(first))
    with pytest.raises(Stopped):
        evaluate_cell.evaluate_cell(first, DATA)
    assert (first.advanced, seen) == (True, [2])
    evaluate_cell.evaluate_cell(second, DATA)
    assert seen == [turns]
    assert events(second, "resumed")[0]["done"] == 2
    assert events(second, "recorded")[0]["batches"] == turns - 2
    assert not folder(second).exists()
    quiet = attempt(trained(run_root(tmp_path / "quiet")), 1, attack)
    evaluate_cell.evaluate_cell(quiet, DATA)
    assert results(second) == results(quiet)


def invalidate(run: CellRun) -> None:
    tombstones.invalidate(run.job.root, run.order["training_id"], None, {"reason": "wrong data"})


def invalidate_attack(run: CellRun) -> None:
    attack_id = run.order["attacks"][0]["id"]
    tombstones.invalidate(
        run.job.root, run.order["training_id"], attack_id, {"reason": "wrong code"}
    )


def replace_network(run: CellRun) -> None:
    files.replace(run.cell.training, files.dumps({"model_sha256": "0" * 64}))


@pytest.mark.parametrize(
    ("happen", "why"),
    [
        (invalidate, "its network was invalidated"),
        (replace_network, "replaced"),
        (invalidate_attack, "the attack was invalidated"),
    ],
)
def test_nothing_is_recorded_of_what_counts_no_more(
    root: RunRoot, after: Any, happen: Callable[[CellRun], None], why: str
) -> None:
    run = attempt(root, 1)
    after(3, lambda: happen(run))
    with pytest.raises(Fenced, match=why):
        evaluate_cell.evaluate_cell(run, DATA)
    assert records.names(run.cell) == []
    assert events(run, "recorded") == []


def test_batches_of_an_attack_that_was_invalidated_are_not_taken_over(
    root: RunRoot, after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial.Writer, "save_if_due", partial.Writer.save)
    first, second = (attempt(root, number) for number in (1, 2))
    after(1, lambda: invalidate_attack(first))
    with pytest.raises(Fenced):
        evaluate_cell.evaluate_cell(first, DATA)
    assert list(folder(first).iterdir())
    evaluate_cell.evaluate_cell(second, DATA)
    assert events(second, "refused")[0]["why"] == "is of another invalidated"
    assert (events(second, "resumed"), len(records.names(second.cell))) == ([], 1)


def test_attempts_at_one_network_live_side_by_side(root: RunRoot, after: Any) -> None:
    run = attempt(root, 1)
    after(3, lambda: attempts.take(run.cell))
    evaluate_cell.evaluate_cell(run, DATA)
    assert len(records.names(run.cell)) == 1


def test_a_network_that_was_trained_anew_is_recorded(root: RunRoot) -> None:
    invalidate(attempt(root, 1))
    trained(root)
    run = attempt(root, 3)
    evaluate_cell.evaluate_cell(run, DATA)
    assert len(records.names(run.cell)) == 1


def test_a_signal_is_answered_between_two_steps(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = attempt(root, 1, PGD(steps=10_000))
    whole, looks = Agreement.look, []

    def look(agreed: Agreement) -> None:
        looks.append(1)
        run.job.stop.up = len(looks) == 5
        whole(agreed)

    monkeypatch.setattr(Agreement, "look", look)
    with pytest.raises(Stopped):
        evaluate_cell.evaluate_cell(run, DATA)
    assert (len(looks), run.advanced) == (5, False)
    assert not folder(run).exists()


def test_a_guard_that_breaks_keeps_what_was_done_before(root: RunRoot, after: Any) -> None:
    run = attempt(root, 1)

    def broken() -> None:
        raise GuardBroken("left the ball")

    after(3, broken)
    with pytest.raises(GuardBroken):
        evaluate_cell.evaluate_cell(run, DATA)
    assert events(run, "partial")[-1] == {**events(run, "partial")[-1], "done": 2, "of": 8}


@pytest.mark.parametrize("attack", [Clean(), FGSM(), STEPS], ids=lambda a: a.name)
@pytest.mark.parametrize(
    ("which", "value", "told"),
    [
        (
            -1,
            3e38,
            r"sample {first} has a (logit|gradient) that is NaN or infinite \(6 of 6 samples\)",
        ),
        (0, float("nan"), r"the network's layers\.\S+ is NaN or infinite in places"),
        (-1, float("inf"), r"the network's layers\.\S+ is NaN or infinite in places"),
    ],
)
def test_a_network_that_is_not_finite_leaves_no_record(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    attack: AnyAttack,
    which: int,
    value: float,
    told: str,
) -> None:
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    run = attempt(trained(run_root(tmp_path), (which, value)), 1, attack)
    with pytest.raises(NotFinite, match=told.replace("{first}", str(int(DATA.test.indices_N[0])))):
        evaluate_cell.evaluate_cell(run, DATA)
    assert not run.cell.evaluations.exists()
    assert not run.advanced


def test_how_samples_fell_is_on_record(root: RunRoot) -> None:
    run = attempt(root, 1, STEPS)
    evaluate_cell.evaluate_cell(run, DATA)
    ((_, record),) = records.valid(run.cell)
    for row, radius in zip(record.rows, RADII, strict=True):
        assert row.breaks is not None
        assert len(row.breaks.step) == row.total - row.correct > 0
        assert set(row.breaks.step) <= {3, 6}
        assert 0 < row.breaks.linf <= len(row.breaks.step) * (float(radius) + 1e-6)
    assert len(record.measured["row_seconds"]) == 2


def interrupted(root: RunRoot, after: Any, **more: Any) -> CellRun:
    """An attempt that was stopped after three of eight batches."""
    run = attempt(root, 1, **more)
    after(3, raised(run))
    with pytest.raises(Stopped):
        evaluate_cell.evaluate_cell(run, DATA)
    return run


def test_batches_of_another_size_are_refused_with_a_word(root: RunRoot, after: Any) -> None:
    first = interrupted(root, after)
    second = attempt(root, 2, evaluation=replace(EVALUATION, batch=10))
    assert folder(second) == folder(first)
    evaluate_cell.evaluate_cell(second, DATA)
    assert events(second, "refused")[0]["why"] == "is of another batch"
    assert events(second, "resumed") == []


def test_a_record_names_all_code_and_promises_no_more_than_holds(
    root: RunRoot, after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(root, after)
    monkeypatch.setenv("SPIKEGRID_CODE", "c0ffee")
    second = attempt(root, 2)
    object.__setattr__(second.job, "threads", 2)
    evaluate_cell.evaluate_cell(second, DATA)
    ((_, record),) = records.valid(second.cell)
    assert record.measured["codes"] == ["c0de", "c0ffee"]
    assert record.measured["promise"] == "statistical"


def test_what_two_ranks_finished_is_taken_by_one(root: RunRoot, after: Any) -> None:
    first = interrupted(root, after)
    path = first.cell.finished_batches(folder(first).stem, 1, 0)
    head, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + lines[0])
    path.with_name("a0001.r1.jsonl").write_bytes(head + lines[1] + lines[2][:-9])
    second = attempt(root, 2)
    evaluate_cell.evaluate_cell(second, DATA)
    assert events(second, "resumed")[0]["done"] == 2
    assert events(second, "refused")[0]["why"] == "1 of its lines are torn or altered"


def test_how_far_it_is_is_said_at_a_bounded_rate(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "SAVE_S", 0.0)
    run = attempt(root, 1)
    evaluate_cell.evaluate_cell(run, DATA)
    assert [(e["name"], e["done"], e["of"]) for e in events(run, "partial")] == [("pgd", 1, 8)]
    monkeypatch.setattr(attack_share, "REPORT_S", 0.0)
    other = attempt(root, 2, PGD(steps=1))
    evaluate_cell.evaluate_cell(other, DATA)
    assert [e["done"] for e in events(other, "partial")] == list(range(1, 9))


def test_a_fast_evaluation_leaves_nothing_but_its_record(root: RunRoot) -> None:
    run = attempt(root, 1)
    evaluate_cell.evaluate_cell(run, DATA)
    assert len(list(run.cell.evaluations.iterdir())) == 1
    assert [line["event"] for line in files.read_lines(run.files.events)] == ["recorded"]


def test_attacks_that_share_work_are_known() -> None:
    assert ATTACKS_BY_NAME.keys() >= attack_share.SHARING
