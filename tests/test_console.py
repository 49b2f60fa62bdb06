"""What reaches a terminal: no escapes, and ASCII where its encoding has no blocks."""

import io

import pytest

from jobs.console import Console


def written(encoding: str, text: str) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(out, io.StringIO()).data(text)
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "█▒░✗ 1/4 · ε\n"), ("ascii", "#+.x 1/4 - e\n"), ("latin-1", "#+.x 1/4 - e\n")],
)
def test_blocks_have_stand_ins(encoding: str, text: str) -> None:
    assert written(encoding, "█▒░✗ 1/4 · ε") == text


def test_escapes_do_not_get_through() -> None:
    assert written("utf-8", "\x1b]0;title\x07\x1b[31m") == "?]0;title??[31m\n"


def test_without_a_terminal_nothing_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    console = Console(io.StringIO(), io.StringIO())
    assert (console.live, console.screen, console.width) == (False, False, 100)
