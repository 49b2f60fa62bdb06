"""The live screen: what is drawn, how often, and that names do not steer the terminal."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from jobs.cli import main, parser
from jobs.commands import watching
from jobs.commands.context import View
from jobs.console import Console
from jobs.dispatch.scheduler import Answer, JobAnswer, Limits
from jobs.layout import RunRoot
from jobs.planning.plan import Live
from tests.examples import run_root


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Screen()


def console(screen: Screen) -> Console:
    return Console(screen, screen)


@pytest.mark.parametrize("name", ["\x1b[2J", "\x1b]0;owned\x07", "\x9b2J", "\u202e", "\r"])
def test_names_do_not_steer_the_terminal(screen: Screen, name: str) -> None:
    with watching._live(console(screen)) as draw:
        draw([f"a{name}b", "[red]x[/red] :smile:"])
    assert f"a{name}" not in screen.getvalue()
    assert "a?" in screen.getvalue()
    assert "[red]x[/red] :smile:" in screen.getvalue()


def test_the_same_lines_are_drawn_once(screen: Screen) -> None:
    with watching._live(console(screen)) as draw:
        draw(["one"])
        before = screen.tell()
        draw(["one"])
        assert screen.tell() == before
        draw(["two"])
        assert screen.tell() > before


def test_colour_can_be_turned_off(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = "\x1b[32m"
    with watching._live(console(screen)) as draw:
        draw(["███ 3/3"])
    assert coloured in screen.getvalue()
    screen.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    with watching._live(console(screen)) as draw:
        draw(["███ 3/3"])
    assert "3/3" in screen.getvalue()
    assert coloured not in screen.getvalue()


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_gets_lines(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, term: str, live: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    assert console(screen).screen is live


MANIFEST = """\
version: 1
name: still
defaults: {dataset: digits, epsilons: ["8/255"], attacks: [fgsm]}
cells: [{model: {name: small, neuron: lif}, regime: clean}]
"""


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return run_root(tmp_path)


def test_what_is_still_needs_no_watching(root: RunRoot, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(root.path.parent / "m.yaml"), "--root", str(root.path)]
    assert main(["watch", *words]) == main(["status", "--exit-code", *words]) == 4
    watched, status = capsys.readouterr().out.split("still · ")[1:]
    assert watched == status


def test_ctrl_c_leaves_the_jobs_alone(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching._Watched, "look", pressed)
    assert main(["watch", str(root.path.parent / "m.yaml"), "--root", str(root.path)]) == 130
    assert "stopped watching; the jobs go on\nnext: " in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "0.1", "-1", "x", "4000"])
def test_a_terminal_is_redrawn_once_a_second_at_most(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["watch", "--interval", seconds])
    assert f"expected seconds from 1 to 3600, got '{seconds}'" in capsys.readouterr().err


def test_a_job_waits_for_what_slurm_says_unless_we_know_better() -> None:
    job = JobAnswer(job_id="7_1", name="x", state="pending", live=True, nodes="", reason="Priority",
                    exit_code="", submitted=None)  # fmt: skip
    answer = Answer(asked_at=0.0, reachable=True, source=(), jobs={"7_1": job}, limits=Limits())
    holders = {
        "a": Live(state="pending", job="job 7_1"),
        "b": Live(state="pending", job="job 7_1", why="its canary"),
        "c": Live(state="running", job="job 7_1"),
        "d": Live(state="pending", job="job 8_1"),
    }
    view = SimpleNamespace(seen=SimpleNamespace(answer=answer, holders=holders))
    found = watching._whys(cast("View", view))
    assert found == {"a": "Priority", "b": "its canary", "c": "", "d": ""}
