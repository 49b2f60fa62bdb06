"""What may go, and what must stay whatever happens."""

import os
import time
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

import pytest

from jobs import attempts, files, records
from jobs.errors import EnvironmentFault
from jobs.layout import CellFiles, RunRoot
from jobs.running import partial
from jobs.upkeep import garbage, tombstones
from jobs.upkeep.garbage import Found
from tests.examples import EPSILONS, cell, finish, record, run_root, submission

ONE = cell()
FGSM = list(ONE.attack_ids)[1]
NOW = time.time()
LATER = NOW + 2 * garbage.OLD_S
"""Everything that a test wrote is old by then."""


def write(path: Path, text: str = "x" * 5000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    """One training that is done, with the step it was saved at last."""
    found = run_root(tmp_path)
    finish(found, ONE)
    paths = found.cell(ONE.training_id)
    training = {"model_sha256": "00", "checkpoint": "final.a0001", "measured": {"codes": []}}
    paths.training.write_bytes(files.dumps(training))
    for name in ("final.a0001", "step-00000012.a0001"):
        write(paths.checkpoints / name / "model.safetensors")
    attempts.claim(paths, {"code": "c" * 16}, b"{}")
    return found


def found(root: RunRoot, live: Collection[str] = (), closed: Collection[int] = ()) -> Found:
    return garbage.find(root, live, closed, LATER)


def names(root: RunRoot, kind: str, live: Collection[str] = ()) -> list[str]:
    return [item.path.name for item in found(root, live).items if item.kind == kind]


def test_the_final_network_alone_stays(root: RunRoot) -> None:
    assert names(root, "checkpoints") == ["step-00000012.a0001"]
    assert len(found(root).networks) == 1


def test_a_step_that_was_saved_twice_is_known_by_both_names(root: RunRoot) -> None:
    again = root.cell(ONE.training_id).checkpoint(12, 1, again=1)
    write(again / "model.safetensors")
    assert set(names(root, "checkpoints")) == {"step-00000012.a0001", "step-00000012.a0001.1"}


def test_nothing_of_a_live_cell_is_offered(root: RunRoot) -> None:
    write(root.cell(ONE.training_id).checkpoints / ".tmp-0a" / "model.safetensors")
    write(root.cache / "index.jsonl")
    assert len(found(root).items) == 3
    assert found(root, live={ONE.training_id}).items == []


def test_checkpoints_stay_where_the_final_network_is_lost(root: RunRoot) -> None:
    paths = root.cell(ONE.training_id)
    (paths.checkpoints / "final.a0001").rename(paths.checkpoints / "final.a0002")
    assert names(root, "checkpoints") == []


def test_checkpoints_of_unfinished_trainings_stay(root: RunRoot) -> None:
    root.cell(ONE.training_id).training.unlink()
    assert names(root, "checkpoints") == []


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        (".tmp-99999999-0a1b", True),
        (".tmp-{own}-0a1b", False),
        (".tmp-0a1b2c/model.safetensors", True),
        ("note.txt", False),
    ],
)
def test_what_killed_writers_left(root: RunRoot, name: str, *, offered: bool) -> None:
    for folder in (root.path, root.submissions, root.cell(ONE.training_id).attempt(1).folder):
        write(folder / name.format(own=os.getpid()))
    assert len(names(root, "temporary")) == 3 * offered
    assert garbage.find(root, (), (), NOW + 60).items == [
        item for item in found(root).items if item.kind == "checkpoints"
    ]


def partial_of(root: RunRoot, *radii: Fraction) -> Path:
    """Finished batches of FGSM at some radii."""
    subject = partial.Subject(
        attack_id=FGSM, model_sha256="0" * 64, samples_sha256="1" * 64, total=10, batch=5
    )
    rows = [
        partial.Part(epsilon=e, correct=5, total=5, mask=(True,) * 5, zero_gradient=0)
        for e in radii
    ]
    path = root.cell(ONE.training_id).finished_batches(FGSM, 1, 0)
    writer = partial.Writer(path, partial.header(subject, {}))
    writer.add(partial.batch(0, rows, 1.0))
    path.parent.mkdir(parents=True)
    writer.save()
    return path.parent


@pytest.mark.parametrize(
    ("radii", "offered"), [(EPSILONS, True), ((*EPSILONS, Fraction(1, 2)), False)]
)
def test_partial_evaluations_go_once_all_is_recorded(
    root: RunRoot, radii: tuple[Fraction, ...], *, offered: bool
) -> None:
    folder = partial_of(root, *radii)
    assert names(root, "partial") == [folder.name] * offered


def test_partial_evaluations_without_a_record_stay(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    finish(root, ONE, attacks=1)
    partial_of(root, *EPSILONS)
    assert names(root, "partial") == []


def test_examples_go_where_a_kill_came_before_their_record(root: RunRoot) -> None:
    cell = root.cell(ONE.training_id)
    orphan = write(cell.examples(f"{FGSM}-{'0' * 16}.json"))
    write(cell.examples(records.names(cell)[0]))
    assert names(root, "temporary") == [orphan.name]
    assert not [
        item for item in garbage.find(root, (), (), NOW + 60).items if "examples" in item.path.name
    ]


def test_code_that_nothing_names(root: RunRoot) -> None:
    submission(root, [ONE], code="a" * 16, codes=["b" * 16])
    for letter in "abcd":
        write(root.code / (letter * 16) / "jobs" / "a.py")
    assert names(root, "snapshots") == ["d" * 16]
    assert garbage.find(root, (), (), NOW + 60).items[1:] == []


def test_pickles_go_where_all_is_trained(root: RunRoot) -> None:
    for one in (ONE, cell(1)):
        paths = submission(root, [one])
        write(paths.submitit / "chunk-000" / "7_0_submitted.pkl")
    offered = [item.path for item in found(root, closed={1, 2}).items if item.kind == "submitit"]
    assert offered == [root.submission(1).submitit]
    assert [item for item in found(root, closed={2}).items if item.kind == "submitit"] == []


def test_caches_stay_that_say_how_jobs_ended(root: RunRoot) -> None:
    for name in ("index.jsonl", "closed.json", "scheduler.json", "queue-n1.log"):
        write(root.cache / name)
    assert names(root, "caches") == ["index.jsonl"]


def test_links_are_not_followed(root: RunRoot, tmp_path: Path) -> None:
    paths, outside = root.cell(ONE.training_id), tmp_path / "outside"
    write(outside / "step-00000001.a0001" / "model.safetensors")
    (paths.checkpoints / "step-00000099.a0001").symlink_to(outside)
    root.tables.symlink_to(outside)
    write(outside / ".tmp-0a1b")
    other = root.cell("f" * 16).folder
    other.parent.mkdir()
    other.symlink_to(outside)
    assert [item.path.name for item in found(root).items] == ["step-00000012.a0001"]
    clear(root)
    assert len(list(outside.rglob("*"))) == 3


def clear(root: RunRoot) -> int:
    return sum(garbage.delete(item) for item in found(root).items)


def test_deleting_twice_is_harmless(root: RunRoot) -> None:
    items = found(root).items
    assert [garbage.delete(item) for item in items] == [True]
    assert [garbage.delete(item) for item in items] == [False]
    assert found(root).items == []
    assert sorted(os.listdir(root.cell(ONE.training_id).checkpoints)) == ["final.a0001"]


def test_what_changed_since_is_left(root: RunRoot) -> None:
    (item,) = found(root).items
    write(item.path / "state.pt")
    assert not garbage.delete(item)
    assert item.path.exists()


def test_a_kill_while_deleting_leaves_what_the_next_run_finds(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            clear(root)
    assert names(root, "checkpoints") == []
    assert len(names(root, "temporary")) == 1
    assert clear(root) == 1
    assert os.listdir(root.cell(ONE.training_id).checkpoints) == ["final.a0001"]


def test_other_users_things_stay(root: RunRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(EnvironmentFault, match="only its owner"):
        found(root)


def test_a_foreign_file_keeps_its_folder() -> None:
    one = garbage.Weight(1, 1, 0.0, own=True)
    theirs = Found()
    theirs.add("temporary", Path("a"), one + garbage.Weight(1, 1, 0.0, own=False))
    assert (theirs.items, theirs.foreign) == ([], 1)


def test_what_is_half_invalidated_is_left_alone(root: RunRoot) -> None:
    stone = tombstones.Tombstone(training_id=ONE.training_id, attack_id=None, number=2)
    root.invalidated.mkdir()
    files.create(root.tombstone(stone.name), b"{}")
    assert found(root).items == []


def test_of_what_is_invalid_the_records_stay(root: RunRoot) -> None:
    stone = tombstones.invalidate(root, ONE.training_id, None, {"reason": "wrong data"})
    place = CellFiles(root.cell(ONE.training_id).invalidated / stone.place)
    assert {*os.listdir(place.folder)} == {"checkpoints", "evaluations", "training.json"}
    (item,) = found(root).items
    assert (item.kind, item.path) == ("invalidated", place.checkpoints)
    assert garbage.delete(item)
    assert {*os.listdir(place.folder)} == {"evaluations", "training.json"}
    assert found(root).items == []


def test_the_weight_counts_blocks_once(tmp_path: Path) -> None:
    first = write(tmp_path / "folder" / "a")
    alone = garbage.weigh(first)
    assert (alone.inodes, alone.size >= 5000, alone.own) == (1, True, True)
    os.link(first, tmp_path / "folder" / "b")
    assert garbage.weigh(tmp_path / "folder").inodes == 3
    assert garbage.weigh(first).size == 0


def test_records_claims_and_logs_are_never_offered(root: RunRoot) -> None:
    paths = CellFiles(root.cell(ONE.training_id).folder)
    records.write(paths, record(ONE, FGSM, (Fraction(1, 255),)))
    write(paths.attempt(1).log(0))
    attempts.end(paths.attempt(1), "failed", "")
    offered = {item.path for item in found(root).items}
    assert offered == {paths.checkpoints / "step-00000012.a0001"}
