"""Invalid trainings count as new, whatever moment a kill came at; nothing is deleted."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from jobs import attempts, files, identity, records
from jobs.expand.cell import Cell
from jobs.layout import RunRoot
from jobs.planning import budget, plan, survey
from jobs.planning.index import Index
from jobs.upkeep import tombstones
from snnlib.spec.attack import Transfer
from tests.examples import cell, finish, run_root

ONE = cell()
NOTE = {"reason": "wrong split", "label": ONE.label, "by": "me@here", "at": 1.0}
CLEAN, FGSM = ONE.attack_ids
OPERATIONS = ("open", "fsync", "link", "rename", "replace", "mkdir", "unlink")


class Killed(BaseException):
    """The process dies here: nothing after this happens."""


@contextmanager
def killed_at(number: int) -> Iterator[list[str]]:
    """Let the process die at its n-th file operation; later ones, clean-up too, do not happen."""
    made: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            made.append(name)
            if len(made) >= number:
                raise Killed(name)
            return real(*args, **more)

        return call

    with ExitStack() as patches:
        for name in OPERATIONS:
            patches.enter_context(mock.patch.object(os, name, counted(name, getattr(os, name))))
        yield made


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    """A finished training with a checkpoint, a stage and an attempt."""
    found = run_root(tmp_path)
    train(found, ONE)
    return found


def train(root: RunRoot, one: Cell, weights: bytes = b"old") -> None:
    paths = root.cell(one.training_id)
    spec = identity.canonical(one.training).encode()
    number = attempts.claim(paths, {"label": one.label, "code": "c0de"}, spec)
    network = paths.checkpoints / f"final.a{number:04d}" / "model.safetensors"
    network.parent.mkdir(parents=True)
    network.write_bytes(weights)
    finish(root, one)
    attempts.end(paths.attempt(number), "completed", "")


def contents(root: RunRoot) -> list[bytes]:
    """What all files hold, wherever they lie; temporary ones of killed writers left out."""
    paths = [path for path in root.cells.rglob("*") if path.is_file()]
    return sorted(path.read_bytes() for path in paths if not path.name.startswith(".tmp-"))


def decided(root: RunRoot, index: Index | None = None) -> plan.Planned:
    known = survey.progress(root, [ONE], index or Index(root))
    return plan.plan([ONE], known, {})[0]


def test_an_invalid_training_is_trained_anew(root: RunRoot) -> None:
    tombstones.invalidate(root, ONE.training_id, None, NOTE)
    item = decided(root)
    assert (item.action, item.reason) == ("train", "new; invalidated: wrong split")
    assert item.missing == ONE.rows


def test_nothing_is_deleted(root: RunRoot) -> None:
    before = contents(root)
    stone = tombstones.invalidate(root, ONE.training_id, None, NOTE)
    after = contents(root)
    assert [text for text in before if text not in after] == []
    kept = root.cell(ONE.training_id).invalidated / stone.place
    assert sorted(os.listdir(kept)) == ["checkpoints", "evaluations", "training.json"]


def test_the_story_says_what_was_lost(root: RunRoot) -> None:
    stone = tombstones.invalidate(root, ONE.training_id, None, NOTE)
    told = tombstones.story(root, stone)
    assert {key: told[key] for key in NOTE} == NOTE
    assert (told["rows"], told["model_sha256"], len(told["records"])) == (3, "0" * 64, 2)


def test_one_attack_leaves_the_others(root: RunRoot) -> None:
    partial = root.cell(ONE.training_id).partial(FGSM)
    partial.mkdir()
    tombstones.invalidate(root, ONE.training_id, FGSM, NOTE)
    item = decided(root)
    assert item.action == "evaluate"
    assert item.missing == ONE.rows[1:]
    assert not partial.exists()


def test_what_was_trained_anew_counts(root: RunRoot) -> None:
    tombstones.invalidate(root, ONE.training_id, None, NOTE)
    train(root, ONE, b"new")
    index = Index(root)
    assert decided(root, index).action == "done"
    tried = survey.progress(root, [ONE], index)[ONE.training_id].attempts
    assert [attempt.number for attempt in tried] == [3]


def test_it_can_be_invalid_again(root: RunRoot) -> None:
    for _ in range(2):
        tombstones.invalidate(root, ONE.training_id, None, NOTE)
        assert decided(root).action == "train"
        train(root, ONE)
    places = os.listdir(root.cell(ONE.training_id).invalidated)
    assert sorted(places) == ["0002", "0004"]


@pytest.mark.parametrize("attack", [None, FGSM])
def test_a_saved_index_notices(root: RunRoot, attack: str | None) -> None:
    index = Index(root)
    assert decided(root, index).action == "done"
    index.save()
    tombstones.invalidate(root, ONE.training_id, attack, NOTE)
    index = Index(root)
    assert decided(root, index).action == ("train" if attack is None else "evaluate")
    index.save()
    train(root, ONE) if attack is None else finish(root, ONE)
    assert decided(root, Index(root)).action == "done"


def test_an_attempt_that_still_runs_is_fenced(root: RunRoot) -> None:
    paths = root.cell(ONE.training_id)
    assert not attempts.fenced(paths, 1)
    tombstones.invalidate(root, ONE.training_id, None, NOTE)
    assert attempts.fenced(paths, 1)
    fence = attempts.read(paths, 2)
    assert (fence.state, fence.claimed) == ("cancelled", False)


def test_failures_before_do_not_count(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = root.cell(ONE.training_id)
    for _ in range(budget.FAILURES):
        number = attempts.claim(paths, {}, b"{}")
        attempts.end(paths.attempt(number), "failed", "broken node")
    paths.checkpoint(7, 1).mkdir(parents=True)
    assert decided(root).action == "give_up"
    tombstones.invalidate(root, ONE.training_id, None, NOTE)
    assert (decided(root).action, decided(root).step) == ("train", 0)


@pytest.mark.parametrize("attack", [None, FGSM])
def test_a_kill_at_any_file_operation(tmp_path: Path, attack: str | None) -> None:
    wanted = "train" if attack is None else "evaluate"
    number, over = 0, False
    while not over:
        number += 1
        root = run_root(tmp_path / f"{number}")
        train(root, ONE)
        before, index = contents(root), Index(root)
        decided(root, index)
        index.save()
        with killed_at(number):
            try:
                tombstones.invalidate(root, ONE.training_id, attack, NOTE)
                over = True
            except Killed:
                pass
        graves = tombstones.graves(root)
        assert decided(root, Index(root)).action == (wanted if graves else "done")
        assert decided(root, index).action == (wanted if graves else "done")
        if not graves:
            tombstones.invalidate(root, ONE.training_id, attack, NOTE)
        tombstones.finish(root)
        index = Index(root)
        assert decided(root, index).action == wanted
        index.save()
        assert [text for text in before if text not in contents(root)] == []
        (grave,) = tombstones.graves(root).values()
        assert not grave.pending | bool(grave.attacks)
        train(root, ONE, b"new") if attack is None else finish(root, ONE)
        assert decided(root, Index(root)).action == "done"
    assert number > 20


def test_finishing_late_leaves_a_new_training_alone(root: RunRoot) -> None:
    stone = tombstones.invalidate(root, ONE.training_id, None, NOTE)
    train(root, ONE, b"new")
    root.moved(stone.name).unlink()
    tombstones.finish(root)
    paths = root.cell(ONE.training_id)
    assert paths.training.exists()
    assert len(records.names(paths)) == 2
    assert (paths.checkpoints / "final.a0003" / "model.safetensors").read_bytes() == b"new"


def test_only_what_is_asked_for_is_finished(root: RunRoot) -> None:
    stone = tombstones.invalidate(root, ONE.training_id, None, NOTE)
    root.moved(stone.name).unlink()
    assert tombstones.finish(root, {"0" * 16}) == []
    assert [one.name for one in tombstones.finish(root, {ONE.training_id})] == [stone.name]
    assert tombstones.finish(root) == []


def test_descendants_come_youngest_first(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    child = cell(1, parent=ONE)
    steered = replace(cell(2).training, nds=f"{child.training_id}/{'0' * 16}")
    grandchild = replace(cell(2), training=steered)
    idle = cell(3, parent=ONE)
    for one in (ONE, child, grandchild, cell(4)):
        train(root, one)
    paths, text = root.cell(idle.training_id), identity.canonical(idle.training).encode()
    attempts.end(paths.attempt(attempts.claim(paths, {}, text)), "cancelled", "")
    found = tombstones.descendants(root, ONE.training_id)
    assert found == [grandchild.training_id, child.training_id]
    attempts.claim(paths, {}, text)
    assert idle.training_id in tombstones.descendants(root, ONE.training_id)


def test_climbers_are_found_by_one_record_of_each_attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, source = run_root(tmp_path), cell(7)
    climb = (Transfer(source=source.training_id),)
    cells = [replace(cell(seed), attacks=climb, sources=(source,)) for seed in range(3)]
    for one in (source, ONE, *cells):
        finish(root, one)
    _, transfer = cells[0].attack_ids
    read: list[str] = []

    def reading(path: Path) -> records.Record:
        read.append(path.name.partition("-")[0])
        return whole(path)

    whole = records.read
    monkeypatch.setattr(records, "read", reading)
    found = tombstones.climbers(root, {source.training_id})
    assert found == {one.training_id: {transfer: "transfer"} for one in cells}
    assert len(read) == len({*read})
    assert tombstones.climbers(root, {"0" * 16}) == {}


def test_a_torn_tombstone_still_counts(root: RunRoot) -> None:
    stone = tombstones.invalidate(root, ONE.training_id, None, NOTE)
    root.tombstone(stone.name).write_bytes(b'{"reas')
    assert decided(root).reason == "new"
    assert decided(root).action == "train"


def test_a_file_is_moved_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    assert files.move(tmp_path / "a", tmp_path / "b")
    assert not files.move(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").write_text("new")
    assert not files.move(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name).read_text() for name in "ab"] == ["new", "old"]


def test_a_move_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    os.link(tmp_path / "a", tmp_path / "b")
    assert files.move(tmp_path / "a", tmp_path / "b")
    assert os.listdir(tmp_path) == ["b"]
