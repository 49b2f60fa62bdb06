"""watch on a real study: on a terminal to its end, into a pipe, and left with Ctrl-C."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from tests.system.conftest import Bench, until

MANIFEST = """\
version: 1
name: watched
defaults: {dataset: digits, epsilons: ["8/255"], attacks: [fgsm]}
grid:
  model: [{name: small, neuron: if, time_steps: 2}, {name: small, neuron: lif, time_steps: 2}]
  regime: [{name: clean, epochs: 3}]
"""
STAYS = "Ctrl-C stops watching, the jobs go on"


class Terminal:
    """watch on a terminal of 80 x 24.

    Attributes:
        text: all that it wrote so far.
    """

    def __init__(self, bench: Bench, *words: str) -> None:
        self._screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        launcher = str(bench.checkout / "launch.py")
        env = {k: v for k, v in bench.env.items() if k not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            [sys.executable, launcher, "watch", *words], stdin=inside, stdout=inside, stderr=inside,
            env={**env, "TERM": "xterm"}, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(inside)
        os.set_blocking(self._screen, False)
        self.text = ""

    def read(self) -> str:
        """Take what came; everything so far."""
        with contextlib.suppress(BlockingIOError, OSError):  # OSError: it has ended
            while data := os.read(self._screen, 65536):
                self.text += data.decode(errors="replace")
        return self.text

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        os.write(self._screen, b"\x03")

    def end(self) -> int:
        """Read to the end; the exit code."""
        until(lambda: (self.read(), self.process.poll() is not None)[1], "the end of watch")
        self.read()
        os.close(self._screen)
        return self.process.wait()


@pytest.fixture
def study(bench: Bench) -> Iterator[Bench]:
    manifest = bench.root.path / "m.yaml"
    manifest.write_text(MANIFEST)
    bench("submit", str(manifest), "--cluster", "local")
    yield bench
    until(lambda: len(bench.ends()) == 2, "the end of both cells")


@pytest.mark.slow
def test_a_study_is_watched_to_its_end_or_left(study: Bench) -> None:
    watching, left = Terminal(study, "watched", "--interval", "1"), Terminal(study, "watched")
    until(lambda: STAYS in left.read(), "the first screen")
    left.interrupt()
    assert left.end() == 130
    assert "stopped watching; the jobs go on\r\nnext: " in left.text
    assert watching.end() == 0
    assert study.ends() == ["completed"] * 2  # what was left alone went on
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", watching.text)
    assert re.search(r"lif s0 +[█▒░]{10} (epoch \d/3|starts|attacks)", drawn)
    assert "\x1b[?25h" in watching.text  # the cursor is back
    last = watching.text.rpartition("watched · ")[2].splitlines()
    assert last[1].split("    ")[-1].strip() == "2 cells: 2 completed"
    assert last[-1].startswith("next: ")
    assert last[-1].endswith("launch.py collect")


@pytest.mark.slow
def test_into_a_pipe_go_plain_lines(study: Bench) -> None:
    out = study("watch")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)
    lines = out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d watched: 0/2 completed · .*", lines[0])
    assert len(lines) == len(set(lines))
    assert any(line.endswith("2 cells: 2 completed") for line in lines)
