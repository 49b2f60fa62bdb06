"""What was wrong is done again and counts once; and code goes on as it began."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import attempts, files
from tests.chains import chain
from tests.system.conftest import Bench, until

pytestmark = pytest.mark.slow

MANIFEST = """\
version: 1
name: study
defaults:
  dataset: digits
  model: {name: small, neuron: lif}
  epsilons: ["16/255", "32/255"]
  attacks: [fgsm]
  evaluation: {samples: 50}
  regime: {name: clean, epochs: EPOCHS, lr: 0.02}
cells: [{seed: 0}]
"""
LABEL = "digits/small-lif/clean/s0"
INVALIDATE = ("invalidate", LABEL, "--reason", "wrong split")


def manifest(folder: Path, *, epochs: int = 2) -> Path:
    path = folder / "study.yaml"
    path.write_text(MANIFEST.replace("EPOCHS", str(epochs)))
    return path


def collected(bench: Bench) -> dict[str, Any]:
    """Rows of all tables, and how many are new."""
    document: dict[str, Any] = json.loads(bench("collect", "--json"))
    return document


def test_an_invalid_training_is_done_again_and_counts_once(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path)
    bench("submit", str(study), "--cluster", "local", "--wait")
    assert collected(bench)["rows"]["results"] == 3
    first = bench.results()
    assert "3 rows no longer count" in bench(*INVALIDATE)
    assert bench.states(study) == {LABEL: "new"}
    assert "1 train     new; invalidated: wrong split" in bench("plan", str(study))
    assert collected(bench)["rows"]["results"] == 0
    bench("submit", str(study), "--cluster", "local", "--wait")
    found = collected(bench)
    assert (found["rows"]["results"], found["added"]["results"]) == (3, 3)
    assert found["invalid"] == ["3 rows of 1 training (invalidated: wrong split)"]
    assert bench.results() == first
    assert attempts.numbers(bench.cell()) == [1, 2, 3]
    story = bench("show", LABEL)
    assert "wrong split · kept in" in story
    assert "attempt 2" not in story


def test_an_invalid_attack_alone_is_done_again(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path)
    bench("submit", str(study), "--cluster", "local", "--wait")
    (weights,) = bench.root.cells.glob("*/*/checkpoints/final.*/model.safetensors")
    trained = weights.stat().st_mtime_ns
    bench(*INVALIDATE, "--attack", "pgd", code=2)
    assert "invalidated fgsm on" in bench(*INVALIDATE, "--attack", "fgsm")
    assert "2 of 3 rows missing" in bench("plan", str(study))
    bench("submit", str(study), "--cluster", "local", "--wait")
    assert collected(bench)["rows"]["results"] == 3
    assert weights.stat().st_mtime_ns == trained


def test_a_parent_goes_with_its_children_only(bench: Bench, tmp_path: Path) -> None:
    study = chain(tmp_path)
    bench("submit", str(study), "--cluster", "local", "--wait")
    until(lambda: set(bench.states(study).values()) == {"completed"}, "the end of the chain")
    states = bench.states(study)
    parent = next(label for label in states if "-lif/clean" in label)
    wrong = ("invalidate", parent, "--reason", "broken images", "--manifest", str(study))
    bench(*wrong, code=2)
    assert set(bench.states(study).values()) == {"completed"}
    assert bench(*wrong, "--children").count("no longer count") == 4
    assert set(bench.states(study).values()) == {"new", "blocked"}


def test_a_running_cell_is_not_invalidated(bench: Bench, tmp_path: Path) -> None:
    study = manifest(tmp_path, epochs=200)
    bench("submit", str(study), "--cluster", "local")
    until(lambda: list(bench.root.cells.glob("*/*/checkpoints/step-*")), "a checkpoint")
    bench(*INVALIDATE, code=75)
    assert not bench.root.invalidated.exists()
    assert "1 cell may be held" not in bench("gc")
    assert list(bench.root.cells.glob("*/*/checkpoints/step-*"))


def edited(checkout: Path) -> None:
    with (checkout / "snnlib" / "train.py").open("a") as file:
        file.write("\n# another program\n")


@pytest.mark.parametrize(("flags", "programs"), [((), 1), (("--code", "new"), 2)])
def test_an_interrupted_training_goes_on_with_its_code(
    bench: Bench, own_checkout: Path, tmp_path: Path, flags: tuple[str, ...], programs: int
) -> None:
    study = manifest(tmp_path, epochs=25)
    bench("submit", str(study), "--cluster", "local")
    until(lambda: list(bench.root.cells.glob("*/*/checkpoints/step-*")), "a checkpoint")
    bench("cancel", "study")
    until(lambda: bench.cell().attempt(1).end.exists(), "its end")
    edited(own_checkout)
    shown = bench("plan", str(study), *flags)
    assert ("goes on with the same code" in shown) == (programs == 1)
    bench("resume", str(study), "--wait", *flags)
    training = files.read_json(bench.cell().training)
    assert len(training["measured"]["codes"]) == programs
    ran = [files.read_json(bench.cell().attempt(n).claim)["code"] for n in (1, 2)]
    assert len(set(ran)) == programs
    assert "checkpoints of finished" not in bench("gc")
