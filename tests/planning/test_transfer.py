"""Transfer attacks in a plan: their rows wait for the source, and nothing else does."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.expand import manifest
from jobs.expand.cell import Cell
from jobs.planning import cautions, finding, recall
from jobs.planning.plan import Live, Planned, Progress, plan
from jobs.planning.request import sources, work_order
from tests.examples import run_root
from tests.planning.test_plan import FATAL

TEXT = """version: 1
name: transfer
defaults: {dataset: digits, epsilons: ["8/255"], model: {name: small, neuron: lif}, regime: clean}
cells:
  - attacks: [fgsm, {name: transfer, source: {parent: {seed: 1}}}]
"""


def read(text: str = TEXT) -> tuple[Cell, ...]:
    return manifest.parse(text.encode(), "m.yaml").cells


(CELL,) = read()
(SOURCE,) = CELL.sources
CLEAN, FGSM, TRANSFER = CELL.rows


def decide(own: Progress, source: Progress, live: Live | None = None) -> list[Planned]:
    known = {CELL.training_id: own, SOURCE.training_id: source}
    return plan([CELL], known, {SOURCE.training_id: live} if live else {})


def trained(*rows: str) -> Progress:
    return Progress(trained=True, rows=frozenset(rows))


def test_a_new_cell_does_not_wait_for_what_it_climbs_on() -> None:
    source, item = decide(Progress(), Progress())
    assert (source.cell.training_id, source.action) == (SOURCE.training_id, "train")
    assert (item.action, item.missing) == ("train", CELL.rows)
    assert "source is not trained yet" in cautions.notes([source, item])[0]
    assert cautions.notes(decide(Progress(), trained())) == []


@pytest.mark.parametrize(
    ("own", "source", "action", "reason"),
    [
        (trained(CLEAN), Progress(), "evaluate", "training done; 2 of 3 rows missing"),
        (trained(CLEAN, FGSM), trained(), "evaluate", "training done; 1 of 3 rows missing"),
        (
            trained(CLEAN, FGSM),
            Progress(),
            "blocked",
            "its transfer attack waits for digits/small-lif/clean/s1",
        ),
        (trained(*CELL.rows), Progress(), "done", "recorded"),
    ],
)
def test_only_transfers_wait_for_it(
    own: Progress, source: Progress, action: str, reason: str
) -> None:
    item = decide(own, source)[-1]
    assert (item.action, item.reason) == (action, reason)
    assert item.follows == (action == "blocked")


def test_it_follows_a_source_that_runs_and_stays_behind_one_that_was_given_up() -> None:
    running = Live(state="running", job="job 7")
    item = decide(trained(CLEAN, FGSM), Progress(), running)[-1]
    assert (item.follows, item.awaits) == (1, (SOURCE.training_id,))
    item = decide(trained(CLEAN, FGSM), Progress(attempts=(FATAL,)))[-1]
    assert (item.action, item.follows) == ("blocked", 0)
    assert "small-lif/clean/s1, was given up" in item.reason


def test_cells_that_climb_on_each_other_both_train() -> None:
    entry = "  - {seed: 1, attacks: [{name: transfer, source: {parent: {seed: 0}}}]}\n"
    items = plan(read(TEXT + entry), {}, {})
    assert [(i.action, i.cell.number) for i in items] == [("train", 0), ("train", 1)]


def test_work_orders_name_the_sources() -> None:
    order = work_order(CELL, CELL.rows)
    assert sources(order) == {TRANSFER.partition("@")[0]: SOURCE.training_id}
    assert sources(work_order(CELL, (CLEAN, FGSM))) == {}


def test_a_remembered_manifest_knows_its_sources(tmp_path: Path) -> None:
    path, root = tmp_path / "m.yaml", run_root(tmp_path)
    path.write_text(TEXT)
    recall.save(root, manifest.read(path))
    (cell,) = finding.manifest(str(path), root, recalled=True).cells
    assert type(cell) is not Cell
    assert cell.source_of == CELL.source_of
    assert [s.training_id for s in cell.sources] == [SOURCE.training_id]
    assert [i.action for i in plan([cell], {}, {})] == ["train", "train"]


@pytest.mark.parametrize(
    ("attack", "evaluation", "said"),
    [
        ("fgsm", "{}", ["evaluation: {draws: 20} and draws: 10 in their attacks"]),
        ("{name: fgsm, draws: 10}", "{samples: 9}", ["write evaluation: {draws: 20} or more"]),
        ("fgsm", "{draws: 20}", ["write draws: 10 in their attacks or more"]),
        ("{name: fgsm, draws: 10}", "{draws: 20}", []),
        ("square", "{draws: 20}", []),
    ],
)
def test_a_random_encoder_asks_for_draws(attack: str, evaluation: str, said: list[str]) -> None:
    text = TEXT.replace("neuron: lif", "neuron: lif, encoder: poisson").partition("cells:")[0]
    (cell,) = read(f"{text}cells:\n  - {{attacks: [{attack}], evaluation: {evaluation}}}\n")
    found = cautions.notes(plan([cell], {}, {}))
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))
    assert cautions.notes([replace(i, action="done") for i in plan([cell], {}, {})]) == []
