"""Adversarial examples beside a record: those of the first samples, whoever computed them."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from jobs import files, records
from jobs.layout import RunRoot
from jobs.running import evaluate_cell, examples
from jobs.running.cell_run import CellRun, Stopped
from jobs.running.partial import Part, Points, Subject
from snnlib.spec.attack import FGSM, PGD, Attack, Clean
from tests.examples import run_root
from tests.running.test_evaluate_cell import (
    DATA,
    EVALUATION,
    RADII,
    after,
    attempt,
    raised,
    results,
    root,
    trained,
)

__all__ = ["after", "root"]
SEVEN = replace(EVALUATION, save_examples=7)
"""More than one batch of six."""
Tensors = dict[str, npt.NDArray[Any]]


def kept(run: CellRun) -> tuple[Path, records.Record, Tensors]:
    """The file beside the only record, the record, and the file's tensors."""
    ((path, record),) = records.valid(run.cell)
    beside = run.cell.examples(path.name)
    return beside, record, load_file(beside)


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=3), PGD(steps=2, space="repeated")], ids=str)
def test_examples_lie_in_the_ball_and_were_judged_as_recorded(
    root: RunRoot, attack: Attack
) -> None:
    run = attempt(root, 1, attack, SEVEN)
    evaluate_cell.evaluate_cell(run, DATA)
    _, record, found = kept(run)
    assert found["examples"].shape[:2] == found["predicted"].shape == (2, 7)
    assert found["images"].shape == (7, 1, 8, 8)
    images = found["images"] if attack.space == "pixel" else found["images"][:, None]
    change = np.abs(found["examples"] - images)
    for place, (row, radius) in enumerate(zip(record.rows, RADII, strict=True)):
        assert 0 < change[place].max() <= float(radius) + 1e-6
        assert found["correct"][place].tolist() == list(row.mask[:7])
        assert ((found["predicted"][place] == found["labels"]) == found["correct"][place]).all()


def test_the_file_says_its_radii_and_the_record_its_hash(root: RunRoot) -> None:
    run = attempt(root, 1, FGSM(), SEVEN)
    evaluate_cell.evaluate_cell(run, DATA)
    beside, record, found = kept(run)
    assert record.measured["examples"] == {"samples": 7, "sha256": files.sha256(beside)}
    assert found["samples"].tolist() == DATA.test.indices_N[:7].tolist()
    with safe_open(beside, framework="numpy") as file:
        about = json.loads(file.metadata()["spikegrid"])
    assert about == {"epsilons": ["16/255", "16/85"], "space": "pixel"}


def test_a_resumed_evaluation_keeps_the_same_file(
    root: RunRoot, tmp_path: Path, after: Any
) -> None:
    first, second = (attempt(root, number, PGD(steps=3), SEVEN) for number in (1, 2))
    after(3, raised(first))
    with pytest.raises(Stopped):
        evaluate_cell.evaluate_cell(first, DATA)
    evaluate_cell.evaluate_cell(second, DATA)
    quiet = attempt(trained(run_root(tmp_path / "quiet")), 1, PGD(steps=3), SEVEN)
    evaluate_cell.evaluate_cell(quiet, DATA)
    assert kept(second)[0].read_bytes() == kept(quiet)[0].read_bytes()
    assert results(second) == results(quiet)


def test_batches_that_lack_them_are_attacked_again(
    root: RunRoot, after: Callable[..., list[int]]
) -> None:
    first, second = attempt(root, 1, FGSM()), attempt(root, 2, FGSM(), SEVEN)
    seen = after(3, raised(first))
    with pytest.raises(Stopped):
        evaluate_cell.evaluate_cell(first, DATA)
    evaluate_cell.evaluate_cell(second, DATA)
    assert seen == [3 + 4 - 1]  # the third batch has none of the first seven samples
    assert kept(second)[2]["examples"].shape[1] == 7


def test_more_than_there_are_and_none_at_all(root: RunRoot, tmp_path: Path) -> None:
    run = attempt(root, 1, FGSM(), replace(EVALUATION, save_examples=1000))
    evaluate_cell.evaluate_cell(run, DATA)
    assert kept(run)[2]["examples"].shape[1] == 20
    other = attempt(trained(run_root(tmp_path / "other")), 1, FGSM())
    evaluate_cell.evaluate_cell(other, DATA)
    assert len(list(other.cell.evaluations.iterdir())) == 1


@pytest.mark.parametrize(
    ("attack", "asked", "start", "wanted"),
    [
        (FGSM(), 8, 0, 6),
        (FGSM(), 8, 6, 2),
        (FGSM(), 8, 12, 0),
        (FGSM(), 0, 0, 0),
        (Clean(), 8, 0, 0),
    ],
)
def test_of_which_samples(attack: Attack, asked: int, start: int, wanted: int) -> None:
    assert examples.wanted(attack, asked, start, 6) == wanted


def test_an_earlier_attempt_may_have_kept_more() -> None:
    points = Points(shape=(4, 1), data=np.arange(4, dtype="<f4").tobytes(), predicted=(1, 2, 3, 4))
    part = Part(epsilon=Fraction(1), correct=4, total=4, mask=(True,) * 4, zero_gradient=0,
                points=points)  # fmt: skip
    subject = Subject(attack_id="a", model_sha256="0", samples_sha256="1", total=20, batch=4)
    assert examples.complete({(0, Fraction(1)): part}, FGSM(), 2, subject)
    assert not examples.complete({(0, Fraction(1)): replace(part, points=None)}, FGSM(), 2, subject)
    packed = examples.packed(DATA.test, {(0, Fraction(1)): part}, [part], FGSM(), 2)
    assert packed is not None
    assert packed[1]["samples"] == 2
