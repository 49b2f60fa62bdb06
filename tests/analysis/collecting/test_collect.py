"""collect: exact counts, one row for each key, whole tables whatever happens."""

from fractions import Fraction
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.collecting.collect import Collected, collect
from jobs.errors import CorruptFile, EnvironmentFault, NewerLayout, UsageError
from jobs.schema import RESULTS, SCHEMA_VERSION
from snnlib.spec.attack import FGSM, PGD, Clean
from tests.analysis.synthetic import SyntheticRoot, mask, quickstart, spec

ZERO, TWO, EIGHT = (Fraction(n, 255) for n in (0, 2, 8))


def contents(collected: Collected) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in collected.paths.items()}


def test_counts_and_settings_are_exact(made: SyntheticRoot) -> None:
    what = spec(3, adversarial=True)
    made.train(what)
    made.evaluate(what, FGSM(), {TWO: mask(300, 400), Fraction(3, 255): mask(7, 400)})
    collect([made.path])
    first, second = (row for _, row in analysis.load("results", made.path).iterrows())
    assert (first.correct, first.total, first.epsilon_num, first.epsilon_den) == (300, 400, 2, 255)
    assert (second.correct, second.epsilon_num, second.epsilon_den) == (7, 1, 85)
    assert (first.neuron, first.regime, first.seed, first.space) == (
        "lif",
        "adversarial",
        3,
        "pixel",
    )
    assert (first.train_attack, first.train_epsilon) == ("fgsm", "8/255")
    assert first.train_epsilon_value == 8 / 255
    assert (first.torch, first.batch, first.accuracy) == ("2.13.0", 256, 0.75)


def test_deleted_tables_collect_to_equal_bytes(grid: Path, tmp_path: Path) -> None:
    first, second = (collect([grid], tmp_path / name) for name in "ab")
    assert contents(first) == contents(second)
    counts = {"results": 88, "trainings": 8, "attempts": 8, "samples": 88}
    assert first.counts == {**counts, "gradients": 0, "audits": 0}
    assert first.warnings == []


def test_rows_are_in_the_order_of_their_keys(grid: Path) -> None:
    results = analysis.load("results", grid)
    keys = ["training_id", "attack_id", "epsilon"]
    pd.testing.assert_frame_equal(results, results.sort_values(keys, ignore_index=True))
    assert not results.duplicated(RESULTS.names("key")).any()


def test_added_counts_new_keys_only(made: SyntheticRoot) -> None:
    made.train(spec(0))
    made.evaluate(spec(0), FGSM(), {TWO: mask(9, 10)})
    assert collect([made.path]).added["results"] == 1
    made.evaluate(spec(0), FGSM(), {TWO: mask(9, 10), EIGHT: mask(1, 10)})
    found = collect([made.path])
    assert (found.added["results"], found.added["trainings"], found.counts["results"]) == (1, 0, 2)


def test_lowest_file_name_counts_and_a_difference_names_both(made: SyntheticRoot) -> None:
    made.train(spec(0))
    paths = [made.evaluate(spec(0), FGSM(), {TWO: mask(n, 10)}) for n in (4, 5)]
    first, second = sorted(paths)
    (warning,) = collect([made.path]).warnings
    assert f"{first} and {second} disagree at epsilon 2/255" in warning
    assert analysis.load("results", made.path).record.tolist() == [first.name]


def test_equal_rows_on_another_machine_are_silent(made: SyntheticRoot) -> None:
    made.train(spec(0))
    for host in ("n1", "n2"):
        made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)}, host=host, seconds=7.0)
    found = collect([made.path])
    assert (found.counts["results"], found.warnings) == (1, [])


def test_rows_of_other_weights_are_left_out(made: SyntheticRoot) -> None:
    made.train(spec(0))
    path = made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)}, model_sha256="b" * 64)
    made.evaluate(spec(0), Clean(), {ZERO: mask(9, 10)})
    found = collect([made.path])
    assert found.counts["results"] == 1
    assert found.warnings == [
        f"{path}: was measured on other weights than training.json names; rows left out"
    ]


@pytest.mark.parametrize(("of_attack", "left"), [(True, 1), (False, 0)])
def test_tombstones_drop_rows_and_delete_nothing(
    made: SyntheticRoot, of_attack: bool, left: int
) -> None:
    training_id = made.train(spec(0))
    path = made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)})
    made.evaluate(spec(0), Clean(), {ZERO: mask(9, 10)})
    made.tombstone(training_id, *[path.name.partition("-")[0]] * of_attack)
    counts = collect([made.path]).counts
    assert (counts["results"], counts["samples"], counts["trainings"]) == (left, left, left)
    assert counts["attempts"] == 1
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b'{"schema_version":1', b"\x00" * 64])
@pytest.mark.parametrize("victim", ["record", "training.json", "spec.json", "claim.json"])
def test_torn_files_are_skipped_with_a_warning(
    made: SyntheticRoot, victim: str, content: bytes
) -> None:
    whole = made.train(spec(1))
    made.evaluate(spec(1), FGSM(), {TWO: mask(4, 10)})
    training_id = made.train(spec(0))
    record = made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)})
    folder = made.root.cell(training_id).folder
    path = record if victim == "record" else next(folder.rglob(victim))
    path.write_bytes(content)
    found = collect([made.path])
    assert str(path) in found.warnings[0]
    assert whole in analysis.load("results", made.path).training_id.tolist()


HUGE = "1" + "0" * 400
EPOCH = '"epoch": 1, "loss": 1.5, "lr": 0.1, "seconds": 1.0, "train_accuracy": 0.5'
EPOCH += ', "validation_total": 10, "validation_correct"'


@pytest.mark.parametrize(
    ("victim", "old", "new", "reason"),
    [
        ("end.json", '"step"', '"schema_version":"2","step"', "schema_version is '2', expected"),
        ("claim.json", '"schema_version":1', '"schema_version":null', "schema_version is None"),
        ("end.json", "{", "[" * 100_000, "not valid JSON"),
        ("end.json", "2.5", HUGE, "expected float64"),
        ("claim.json", "1000000000.0", str(2**53 + 1), "expected float64"),
        ("training.json", '"history":[]', f'"history":[{{{EPOCH}: {2**63}}}]', "left out"),
        ("training.json", '"history":[]', f'"history":[{{{EPOCH}: 5}}]', None),
        (
            "training.json",
            '"history":[]',
            f'"history":[{{{EPOCH}: 5, "firing_rates": {{"1": {HUGE}}}}}]',
            "its history has another shape",
        ),
    ],
)
def test_one_bad_small_file_stops_nothing(
    made: SyntheticRoot, victim: str, old: str, new: str, reason: str | None
) -> None:
    made.train(spec(1))
    path = next(made.root.cell(made.train(spec(0))).folder.rglob(victim))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = collect([made.path])
    assert found.counts["trainings"] == 2
    assert [reason in warning for warning in found.warnings if reason] == [True] * bool(reason)
    assert all(made.root.path.name in warning for warning in found.warnings)


def test_half_a_character_costs_no_row(made: SyntheticRoot) -> None:
    """An error may quote the name of a file that is no UTF-8."""
    made.train(spec(0))
    made.attempt(spec(0), 2, {"state": "failed", "reason": "no such file: '\udcff'"})
    assert collect([made.path]).warnings == []
    reasons = analysis.load("attempts", made.path)["reason"]
    assert reasons.tolist() == ["", "no such file: '?'"]


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [('"seed":0', '"seed":7', 0), ('"time_steps":4', '"time_steps":8', 0), (",", ",\n ", 1)],
)
def test_the_name_of_a_folder_vouches_for_its_specification(
    made: SyntheticRoot, old: str, new: str, left: int
) -> None:
    training_id = made.train(spec(0))
    made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)})
    path = made.root.cell(training_id).spec
    path.write_text(path.read_text().replace(old, new))
    found = collect([made.path])
    assert (found.counts["trainings"], found.counts["results"]) == (left, left)
    told = f"{path}: is not the specification of {training_id}"
    assert [told in warning for warning in found.warnings[:1]] == [True] * (1 - left)


def test_another_run_root_tells_what_was_altered_in_one(tmp_path: Path) -> None:
    one, other = (SyntheticRoot(tmp_path / name) for name in ("one", "other"))
    for made in (one, other):
        made.train(spec(0))
        made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)})
    path = one.root.cell(one.train(spec(1))).spec
    path.write_text("{}")
    found = collect([one.path, other.path])
    assert (found.counts["trainings"], found.counts["results"]) == (1, 1)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"threads": "four"}, "threads is 'four', expected int64"),
        ({"seconds": 2**53 + 1}, f"seconds is {2**53 + 1}, expected float64"),
    ],
)
def test_foreign_values_are_skipped_and_named(
    made: SyntheticRoot, changed: dict[str, object], reason: str
) -> None:
    made.train(spec(0))
    path = made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)}, **changed)
    assert collect([made.path]).warnings == [f"{path}: {reason}; skipped"]


def test_files_in_the_making_and_strangers_are_no_trainings(made: SyntheticRoot) -> None:
    training_id = made.train(spec(0))
    folder = made.root.cell(training_id).folder
    (folder.parent / ".tmp-1").mkdir()
    (folder.parent / "notes").mkdir()
    (folder / "evaluations").mkdir()
    (folder / "evaluations" / ".tmp-7").write_bytes(b"{")
    assert collect([made.path]).warnings == [
        f"{folder.parent / 'notes'}: not a training's folder; skipped"
    ]


def test_attempt_states_come_from_files(made: SyntheticRoot) -> None:
    made.train(spec(0))
    made.attempt(spec(0), 2, {"state": "preempted", "reason": "SIGTERM", "step": 120})
    made.attempt(spec(0), 3, None)
    collect([made.path])
    attempts = analysis.load("attempts", made.path)
    assert attempts.state.tolist() == ["completed", "preempted", "open"]
    assert attempts.step.tolist() == [380, 120, pd.NA]
    assert attempts.attacks[2].tolist() == ["x" * 16]


def test_configuration_is_equal_for_seeds_and_their_parents(made: SyntheticRoot) -> None:
    for seed in (0, 1):
        made.train(spec(seed))
        made.train(spec(seed, "if"))
        made.train(spec(seed, "lif", start=made.train(spec(seed, adversarial=True))))
    collect([made.path])
    trainings = analysis.load("trainings", made.path)
    seeds = trainings.sort_values("seed").groupby("configuration")["seed"].agg(list)
    assert seeds.tolist() == [[0, 1]] * 4


def test_seeds_of_signatures_are_seeds_of_one_setting(made: SyntheticRoot) -> None:
    """By the parent's setting and the stage, unlike those of files or constants."""
    signatures = []
    for seed in (0, 1):
        parents = [made.train(spec(seed, neuron)) for neuron in ("if", "lif")]
        signatures = [f"{parent}/{stage * 16}" for parent in parents for stage in "ab"]
        for nds in (*signatures, "constant:0.5", "sha256:" + "c" * 64):
            made.train(spec(seed, nds=nds))
    collect([made.path])
    trainings = analysis.load("trainings", made.path)
    children = trainings[trainings["nds"].notna()].sort_values("seed")
    assert children.groupby("configuration")["seed"].agg(list).tolist() == [[0, 1]] * 6
    assert set(signatures) < set(children["nds"])


def test_two_roots_merge_and_the_first_training_counts(tmp_path: Path) -> None:
    one, other = (SyntheticRoot(tmp_path / name) for name in ("one", "other"))
    for made, model in ((one, "a" * 64), (other, "b" * 64)):
        made.train(spec(0), model)
        made.evaluate(spec(0), FGSM(), {TWO: mask(4, 10)}, model_sha256=model)
    other.train(spec(1))
    other.evaluate(spec(1), FGSM(), {TWO: mask(5, 10)})
    found = collect([one.path, other.path, one.path])
    assert (found.counts["results"], found.counts["trainings"], found.counts["attempts"]) == (
        2,
        2,
        3,
    )
    assert "was trained here to other weights than in" in found.warnings[0]
    assert found.paths["results"] == one.root.tables / "results.parquet"


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_root_is_an_error_with_a_way_out(tmp_path: Path, exists: bool) -> None:
    root = tmp_path / "runs"
    if exists:
        root.mkdir()
    with pytest.raises(UsageError, match=r"--root"):
        collect([root])
    assert not (root / "tables").exists()


def test_an_unreadable_file_stops_before_any_write(made: SyntheticRoot) -> None:
    training_id = made.train(spec(0))
    path = made.root.cell(training_id).training
    path.unlink()
    path.mkdir()
    with pytest.raises(EnvironmentFault, match=r"training\.json: cannot be read .*untouched"):
        collect([made.path])
    assert not made.root.tables.exists()


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("step", range(9))
def test_a_collector_that_is_killed_before_it_writes_changes_nothing(
    made: SyntheticRoot, step: int
) -> None:
    for seed in range(3):
        made.train(spec(seed))
    old = collect([made.path])
    before = contents(old)
    made.evaluate(spec(0), PGD(), {TWO: mask(3, 10)})
    made.train(spec(2, "if"))
    steps = iter(range(step))

    def kill(what: str, done: int, total: int) -> None:
        if next(steps, None) is None:
            raise Killed

    with pytest.raises(Killed):
        collect([made.path], progress=kill)
    between, after = contents(old), contents(collect([made.path]))
    assert between == before != after  # 2 trainings were to be read, 6 tables to be packed


def test_tables_of_a_newer_schema_are_not_overwritten(grid: Path, tmp_path: Path) -> None:
    path = collect([grid], tmp_path).paths["trainings"]
    table = pq.read_table(path)
    head = {**table.schema.metadata, b"schema_version": b"99"}
    pq.write_table(table.replace_schema_metadata(head), path)
    with pytest.raises(NewerLayout, match=f"has schema 99, this spikegrid knows {SCHEMA_VERSION}"):
        collect([grid], tmp_path)


def test_tables_of_an_older_schema_are_replaced(grid: Path, tmp_path: Path) -> None:
    found = collect([grid], tmp_path)
    path, before = found.paths["samples"], contents(found)
    table = pq.read_table(path)
    head = {**table.schema.metadata, b"schema_version": b"1"}
    pq.write_table(table.replace_schema_metadata(head), path)
    with pytest.raises(
        CorruptFile, match=r"older schema 1; run `python launch\.py collect`, which"
    ):
        analysis.load("samples", tmp_path)
    assert contents(collect([grid], tmp_path)) == before


def test_unwritable_folder_is_an_environment_fault(made: SyntheticRoot, tmp_path: Path) -> None:
    made.train(spec(0))
    (tmp_path / "taken").write_text("")
    with pytest.raises(EnvironmentFault, match="the tables cannot be written"):
        collect([made.path], tmp_path / "taken")


def test_every_step_is_reported(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    root = quickstart(tmp_path / "runs", seeds=1).path
    collect([root], progress=lambda *step: steps.append(step))
    assert [what for what, _, _ in steps] == ["reading"] * 4 + ["packing"] * 6 + ["writing"]
    assert steps[3] == ("reading", 3, 4)
