"""invalidate and gc as a user types them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import attempts, files, identity, processes, records
from jobs.cli import main
from jobs.dispatch import chunks, ledger
from jobs.expand.cell import Cell
from jobs.layout import RunRoot
from jobs.planning import finding
from jobs.planning.request import requests, tasks, work_order
from jobs.upkeep import tombstones
from tests.examples import EPSILONS, finish, record

STUDY = """\
version: 1
name: study
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  epsilons: ["2/255", "8/255"]
  attacks: [fgsm]
grid:
  regime:
    - {name: clean, epochs: 2}
    - {name: adversarial, epsilon: "8/255", epochs: 2, start: {parent: {regime: clean}}}
"""
PARENT, CHILD = "digits/small-lif/clean/s0", "digits/small-lif/adversarial/s0"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    """An empty run root, and no site."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setenv("SPIKEGRID_ROOT", str(tmp_path / "runs"))
    monkeypatch.delenv("SPIKEGRID_SITE", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = RunRoot(tmp_path / "runs")
    found.cells.mkdir(parents=True)
    return found


@pytest.fixture
def study(tmp_path: Path) -> tuple[str, Cell, Cell]:
    """A manifest of a parent and its child."""
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    parent, child = sorted(finding.manifest(str(path)).cells, key=lambda cell: cell.label)[::-1]
    return str(path), parent, child


def train(root: RunRoot, one: Cell) -> None:
    paths = root.cell(one.training_id)
    spec = identity.canonical(one.training).encode()
    number = attempts.claim(paths, {"label": one.label}, spec)
    finish(root, one)
    attempts.end(paths.attempt(number), "completed", "")


def wrong(study: str, name: str, *more: str) -> int:
    return main(["invalidate", name, "--reason", "wrong data", "--manifest", study, *more])


Text = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Text:
    def text() -> str:
        found = capsys.readouterr()
        return found.out + found.err

    return text


def test_an_invalid_cell_is_told_and_planned_anew(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, _ = study
    train(root, parent)
    assert wrong(path, PARENT) == 0
    assert f"invalidated {PARENT}: 3 rows no longer count; kept in " in said()
    told = tombstones.story(root, tombstones.graves(root)[parent.training_id].stones[0])
    assert (told["reason"], told["by"].partition("@")[2]) == ("wrong data", processes.host())
    assert main(["show", PARENT, "--manifest", path]) == 0
    story = said()
    assert "all before (3 rows) · wrong data · kept in" in story
    assert "attempt 1: completed" in story
    assert "attempt 2" not in story


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "nothing of it is on disk"),
        (("--attack", "fgsm"), "has no record of it (it has none)"),
        (("--reason", " "), "say what was wrong"),
    ],
)
def test_nothing_to_invalidate(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text, more: tuple[str, ...], words: str
) -> None:
    assert wrong(study[0], PARENT, *more) == 2
    assert words in said()
    assert not root.invalidated.exists()


def test_what_rests_on_it_must_go_too(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, child = study
    for one in (parent, child):
        train(root, one)
    assert wrong(path, PARENT) == 2
    assert f"{CHILD} came from this network; add --children" in said()
    assert wrong(path, PARENT, "--children") == 0
    assert tombstones.graves(root).keys() == {parent.training_id, child.training_id}
    lines = said().splitlines()
    assert [CHILD in lines[0], PARENT in lines[1]] == [True, True]


def test_a_child_leaves_its_parent(root: RunRoot, study: tuple[str, Cell, Cell]) -> None:
    path, parent, child = study
    for one in (parent, child):
        train(root, one)
    assert wrong(path, CHILD) == 0
    assert tombstones.graves(root).keys() == {child.training_id}


def test_an_attack_by_name_and_by_id(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, child = study
    _, fgsm = parent.attack_ids
    for one in (parent, child):
        train(root, one)
    assert wrong(path, PARENT, "--attack", "fgs") == 2
    assert "it has clean, fgsm); did you mean 'fgsm'?" in said()
    assert wrong(path, PARENT, "--attack", "fgsm") == 0
    assert "invalidated fgsm on digits" in said()
    assert wrong(path, CHILD, "--attack", fgsm[:6]) == 0
    assert root.cell(child.training_id).training.exists()


def test_two_attacks_of_one_name_need_the_id(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, _ = study
    train(root, parent)
    fgsm = list(parent.attack_ids)[1]
    other = record(parent, fgsm, EPSILONS)
    records.write(
        root.cell(parent.training_id), type(other)(**{**vars(other), "attack_id": "e" * 16})
    )
    assert wrong(path, PARENT, "--attack", "fgsm") == 2
    text = said()
    assert fgsm[:8] in text
    assert "eeeeeeee" in text


def test_a_training_that_no_manifest_has_goes_by_its_id(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, _ = study
    train(root, parent)
    Path(path).write_text(STUDY.replace("epochs: 2", "epochs: 3"))
    assert wrong(path, parent.training_id[:8]) == 0
    assert f"invalidated {PARENT}" in said()
    assert wrong(path, "zzzz") == 2


def hold(root: RunRoot, one: Cell) -> None:
    """A local submission whose task this very process runs."""
    made = tasks([(one, work_order(one, one.rows))])
    about = {"manifest": "study", "cluster": "local", "at": 1.0, "code": "c0de", "data": ""}
    paths = ledger.publish(
        root, STUDY, about, made, lambda _: requests(made, name="j", max_array=9, profile={})
    )
    chunks.intend(paths, 0, 1.0)
    ledger.started(paths, 0, processes.this(), "", 1.0)


def test_a_cell_that_a_job_holds_is_refused(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, _ = study
    train(root, parent)
    paths = root.cell(parent.training_id)
    attempts.claim(paths, {"submission": 1, "task": 0}, b"{}")
    hold(root, parent)
    assert wrong(path, PARENT) == 75
    text = said()
    assert f"pid {os.getpid()} holds it (running)" in text
    assert f"cancel study --only label={PARENT}" in text
    assert not root.invalidated.exists()
    (paths.checkpoints / ".tmp-0a").mkdir(parents=True)
    assert main(["gc"]) == 0
    assert "1 cell may be held by jobs" in said()


@pytest.mark.parametrize(("ended", "code"), [(True, 0), (False, 75)])
def test_a_child_is_free_once_its_attempt_ended_although_the_job_still_leaves(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text, ended: bool, code: int
) -> None:
    path, parent, child = study
    for one in (parent, child):
        train(root, one)
    paths = root.cell(child.training_id)
    number = attempts.claim(paths, {"submission": 1, "task": 0}, b"{}")
    if ended:
        attempts.end(paths.attempt(number), "completed", "")
    hold(root, child)
    assert wrong(path, PARENT, "--children") == code
    assert (f"{CHILD}: pid {os.getpid()} holds it (running)" in said()) is not ended
    if ended:
        assert main(["status", path]) == 0
        assert "pending" not in said()


def test_a_child_that_began_just_now_is_not_overlooked(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, child = study
    train(root, parent)
    spec = identity.canonical(child.training).encode()
    attempts.claim(root.cell(child.training_id), {"label": CHILD, "submission": 1, "task": 0}, spec)
    hold(root, child)
    assert wrong(path, PARENT) == 2
    assert f"{CHILD} came from this network; add --children to invalidate it too" in said()
    assert wrong(path, PARENT, "--children") == 75
    text = said()
    assert f"{CHILD}: pid {os.getpid()} holds it (running)" in text
    assert f"cancel study --only label={CHILD}" in text


TRANSFER = """\
version: 1
name: study
defaults: {dataset: digits, model: {name: small, neuron: lif}, regime: clean, epsilons: ["8/255"]}
cells: [{attacks: [fgsm, {name: transfer, source: {parent: {seed: 1}}}]}]
"""


@pytest.fixture
def climbing(tmp_path: Path) -> tuple[str, Cell, Cell]:
    """A manifest of a cell with a transfer attack, and the source of that."""
    path = tmp_path / "study.yaml"
    path.write_text(TRANSFER)
    (cell,) = finding.manifest(str(path)).cells
    return str(path), cell, cell.sources[0]


def test_rows_that_climbed_on_it_must_go_too(
    root: RunRoot, climbing: tuple[str, Cell, Cell], said: Text
) -> None:
    path, cell, source = climbing
    for one in (source.as_ancestor(), cell):
        train(root, one)
    assert wrong(path, source.training_id) == 2
    assert "transfer on digits/small-lif/clean/s0 climbed on this network; add --chi" in said()
    assert wrong(path, source.training_id, "--children") == 0
    lines = said().splitlines()
    assert "invalidated transfer on digits/small-lif/clean/s0: 2 rows no longer" in lines[0]
    assert f"invalidated {source.label}: 0 rows" in lines[1]
    assert main(["plan", path]) == 0
    assert f"its transfer attack waits for {source.label}" in said()


def test_what_climbs_on_it_right_now_is_refused(
    root: RunRoot, climbing: tuple[str, Cell, Cell], said: Text
) -> None:
    path, cell, source = climbing
    train(root, source.as_ancestor())
    hold(root, cell)
    attempts.claim(root.cell(cell.training_id), {"submission": 1, "task": 0}, b"{}")
    assert wrong(path, source.training_id) == 75
    assert f"pid {os.getpid()} attacks along it (running)" in said()


def test_an_attempt_on_this_machine_is_refused(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, _ = study
    train(root, parent)
    attempts.claim(root.cell(parent.training_id), {}, b"{}")
    assert wrong(path, PARENT) == 75
    text = said()
    assert "attempt 2 runs on this machine" in text
    assert f"then invalidate again: kill {os.getpid()}" in text


def test_one_that_was_cut_short_is_finished_first(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    path, parent, child = study
    for one in (parent, child):
        train(root, one)
    stone = tombstones.invalidate(root, child.training_id, None, {"reason": "x"})
    root.moved(stone.name).unlink()
    assert wrong(path, PARENT) == 0
    assert f"{child.training_id}: an invalidation that was cut short is finished now" in said()
    assert root.moved(stone.name).exists()


def test_gc_deletes_on_request_only(
    root: RunRoot, study: tuple[str, Cell, Cell], said: Text
) -> None:
    _, parent, _ = study
    train(root, parent)
    paths = root.cell(parent.training_id)
    paths.training.write_bytes(files.dumps({"model_sha256": "00", "checkpoint": "final.a0001"}))
    for name in ("final.a0001", "step-00000007.a0001"):
        (paths.checkpoints / name).mkdir(parents=True)
        (paths.checkpoints / name / "model.safetensors").write_bytes(bytes(8192))
    assert main(["gc"]) == 0
    text = said()
    assert "1  checkpoints of finished trainings, all but the final network: " in text
    assert "stays: 1 final network" in text
    assert len(os.listdir(paths.checkpoints)) == 2
    assert main(["gc", "--yes"]) == 0
    assert " kB in 2 files and folders" in said()
    assert os.listdir(paths.checkpoints) == ["final.a0001"]


def test_gc_needs_a_run_root(root: RunRoot, said: Text) -> None:
    assert main(["gc", "--root", str(root.path / "absent")]) == 2
    assert "there is no such run root" in said()
