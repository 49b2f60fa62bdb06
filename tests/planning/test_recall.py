"""Manifests as a run root remembers them: the same in every answer, and never trusted blindly."""

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.expand import manifest
from jobs.expand.blocks import Resources
from jobs.expand.cell import Cell, Manifest
from jobs.layout import RunRoot
from jobs.planning import finding, recall
from tests.examples import run_root

CHECKOUT = Path(__file__).resolve().parents[2]
REFERENCED = """\
version: 1
name: referenced
defaults: {dataset: digits, epsilons: ["8/255"], attacks: [fgsm]}
grid:
  model: [{name: small, neuron: if}, {name: small, neuron: lif}]
  regime: [{name: clean, epochs: 1}]
  seed: "range(0, 3)"
resources: {timeout_min: 5}
reference:
  - {where: {regime: clean}, attack: fgsm, epsilon: "8/255", value: 12.5, source: "a paper"}
"""
SHAPE = [*(field.name for field in fields(Resources)), "processes"]
SHIPPED = ["quickstart", "hosnn_digits", "gradsparsity_cifar10"]
"""Of which the last two have parents, the second stages of them, and the third references."""


@pytest.fixture(params=[*SHIPPED, "referenced"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param in SHIPPED:
        return CHECKOUT / f"manifests/{request.param}.yaml"
    made = tmp_path / "referenced.yaml"
    made.write_text(REFERENCED)
    return made


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made = tmp_path / "m.yaml"
    made.write_text(REFERENCED)
    return made


def remembered(root: RunRoot, path: Path) -> tuple[Manifest, Manifest]:
    whole = manifest.read(path)
    recall.save(root, whole)
    found = finding.manifest(str(path), root, recalled=True)
    assert type(found) is not Manifest
    return whole, found


def facts(cell: Cell) -> list[object]:
    parents = [(p.cell.training_id, p.cell.label, p.cell.number, p.stage_id) for p in cell.parents]
    shape = [getattr(cell.shape, name) for name in SHAPE]
    told = [cell.seed, cell.outline, cell.hardware, shape]
    own = [cell.number, cell.label, cell.training_id, cell.rows, cell.wanted, parents, told]
    return own if cell.parent is None else [*own, facts(cell.parent)]


def test_what_a_plan_needs_is_the_same(tmp_path: Path, path: Path) -> None:
    whole, found = remembered(run_root(tmp_path), path)
    assert (found.name, found.text, found.source) == (whole.name, whole.text, whole.source)
    assert list(map(facts, found.cells)) == list(map(facts, whole.cells))


def test_what_is_not_remembered_comes_with_the_whole_manifest(tmp_path: Path, path: Path) -> None:
    whole, found = remembered(run_root(tmp_path), path)
    assert found.references == whole.references
    for mine, theirs in zip(found.cells, whole.cells, strict=True):
        for name in ("training", "attacks", "epsilons", "evaluation", "resources", "stages"):
            assert getattr(mine, name) == getattr(theirs, name)
        assert (mine.files, mine.stage_ids) == (theirs.files, theirs.stage_ids)
        assert mine.attack_ids == theirs.attack_ids
        assert [p.stage for p in mine.parents] == [p.stage for p in theirs.parents]


@pytest.mark.parametrize("words", [[], ["--json"], ["--by", "state"]])
def test_status_says_the_same_to_the_byte(
    tmp_path: Path, path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = run_root(tmp_path)
    said = []
    for _ in range(2):
        assert main(["status", str(path), "--root", str(root.path), *words]) == 0
        said.append(capsys.readouterr().out)
        assert list(root.cache.glob("cells-*.json"))
    assert said[0] == said[1]


@pytest.mark.parametrize("words", [[], ["--json"], ["--limit", "2"]])
def test_plan_says_the_same_to_the_byte(
    tmp_path: Path, path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root, said = run_root(tmp_path), []
    for _ in range(2):
        assert main(["plan", str(path), "--root", str(root.path), *words]) == 0
        said.append(capsys.readouterr())
        assert main(["status", str(path), "--root", str(root.path)]) == 0
        capsys.readouterr()
    assert said[0] == said[1]


def test_some_of_the_remembered_cells(
    tmp_path: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = run_root(tmp_path)
    remembered(root, written)
    assert main(["status", str(written), "--root", str(root.path), "--only", "seed=0"]) == 0
    assert "2 cells: 2 new" in capsys.readouterr().out


def test_children_without_their_parents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, said = run_root(tmp_path), []
    words = ["hosnn_digits", "--root", str(root.path), "--only", "model.neuron=ta_lif"]
    for _ in range(2):
        assert main(["plan", *words, "--json"]) == 0
        assert main(["status", *words]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


def test_who_recalls_a_manifest_does_not_load_pydantic(tmp_path: Path, written: Path) -> None:
    code = "from jobs.planning import recall; recall._code = lambda: 'this'; "  # whatever is edited meanwhile
    code += "from jobs.cli import main; import sys; main(sys.argv[1:]); print(*sys.modules)"
    root, loaded = run_root(tmp_path), []
    for word in ("plan", "status", "status", "plan"):
        argv = [sys.executable, "-c", code, word, str(written), "--root", str(root.path)]
        done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        loaded.append({"pydantic", "yaml"} & set(done.stdout.split()))
    assert list(map(bool, loaded)) == [True, True, False, False]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign", "path"])
def test_a_damaged_entry_is_ignored(tmp_path: Path, written: Path, damage: str) -> None:
    root = run_root(tmp_path)
    remembered(root, written)
    (entry,) = root.cache.glob("cells-*.json")
    data = entry.read_bytes()
    changed = {
        "flip": data.replace(b"small-if", b"small-of"),
        "cut": data[:-20],
        "empty": b"",
        "foreign": recall.signed(b"[1, 2]\n"),
        "path": recall.signed(
            data.partition(b"\n")[2].replace(b'"ids":"', b'"ids":"../../../../../x')
        ),
    }
    entry.write_bytes(changed[damage])
    assert type(finding.manifest(str(written), root, recalled=True)) is Manifest


def test_an_entry_counts_for_one_text_and_one_program(
    tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run_root(tmp_path)
    remembered(root, written)
    text = written.read_bytes()
    assert recall.find(root, text.replace(b"0, 3", b"0, 4"), "m.yaml") is None
    monkeypatch.setattr(recall, "_code", lambda: "another")
    assert recall.find(root, text, "m.yaml") is None


def test_own_files_are_looked_at_every_time(tmp_path: Path, written: Path) -> None:
    text = written.read_text().replace("epochs: 1}", "epochs: 1, start: {checkpoint: OWN}}")
    own = f"{{path: {tmp_path}/w.safetensors, sha256: {'0' * 64}}}"
    written.write_text(text.replace("OWN", own))
    root = run_root(tmp_path)
    recall.save(root, manifest.read(written))
    assert list(root.cache.iterdir()) == []


def test_a_run_root_keeps_few_entries(tmp_path: Path, written: Path) -> None:
    root = run_root(tmp_path)
    for number in range(recall.KEEP + 1):
        old = root.cache / f"cells-{number:032x}.json"
        old.touch()
        os.utime(old, (number, number))
    recall.save(root, manifest.read(written))
    names = {path.name for path in root.cache.iterdir()}
    assert len(names) == recall.KEEP
    assert f"cells-{1:032x}.json" not in names


def test_who_may_not_write_leaves_nothing(
    tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run_root(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    recall.save(root, manifest.read(written))
    assert list(root.cache.iterdir()) == []


def test_others_can_be_made_of_what_is_expanded(tmp_path: Path, written: Path) -> None:
    whole, found = remembered(run_root(tmp_path), written)
    short = replace(recall.expanded(found.cells[0]), epsilons=())
    alone = replace(recall.expanded(found), cells=(short,))
    assert alone == replace(whole, cells=(replace(whole.cells[0], epsilons=()),))
    assert recall.expanded(whole) is whole
