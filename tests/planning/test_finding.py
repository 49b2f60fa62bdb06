"""What a user types finds the right cell, or says what is near."""

from pathlib import Path

import pytest

from jobs import attempts
from jobs.dispatch import chunks
from jobs.dispatch.site import Site
from jobs.errors import UsageError
from jobs.planning import finding
from tests.examples import cell, run_root, submission

CELLS = [cell(seed) for seed in range(3)]


@pytest.mark.parametrize("length", [4, 8, 16])
def test_an_id_prefix_finds_its_cell(tmp_path: Path, length: int) -> None:
    root = run_root(tmp_path)
    assert finding.cell_of(CELLS[1].training_id[:length], CELLS, root) is CELLS[1]


def test_a_label_finds_its_cell(tmp_path: Path) -> None:
    assert finding.cell_of("digits/small-lif/clean/s2", CELLS, run_root(tmp_path)) is CELLS[2]


def test_a_short_prefix_finds_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an id prefix of 4 or more"):
        finding.cell_of(CELLS[1].training_id[:3], CELLS, run_root(tmp_path))


def test_a_job_id_finds_the_cell_that_its_task_claimed_last(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, CELLS)
    chunks.sent(paths, 0, "123", [0, 1, 2], 1.0)
    attempts.claim(root.cell(CELLS[2].training_id), {"claimed": 5.0}, b"{}")
    assert finding.cell_of("123_2", CELLS, root) is CELLS[2]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        (None, [0, 1, 2]),
        ("seed=1", [1]),
        ("model.neuron=lif,seed=2", [2]),
        ("model=small", [0, 1, 2]),
        ("label=digits/small-lif/clean/s0", [0]),
    ],
)
def test_only(text: str | None, seeds: list[int]) -> None:
    assert [c.training.seed for c in finding.only(CELLS, text)] == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [("seed", "expected key=value"), ("seed=7", "there is 0, 1, 2"), ("sead=1", "no cell has a")],
)
def test_only_that_matches_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        finding.only(CELLS, text)


def test_a_run_root_cannot_bring_lines_into_the_batch_script(tmp_path: Path) -> None:
    name = f"{tmp_path}/new\ntouch owned"
    for root, data in ((name, None), (None, name)):
        with pytest.raises(UsageError, match=r"new\\ntouch owned': line breaks and other control"):
            finding.place(root, data, Site(), {})


def test_a_submitted_manifest_is_found_by_name(tmp_path: Path) -> None:
    root = run_root(tmp_path)
    paths = submission(root, CELLS, manifest="mine")
    paths.manifest.write_text((finding.MANIFESTS / "quickstart.yaml").read_text())
    assert len(finding.manifest("mine", root).cells) == 10
