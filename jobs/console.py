"""What commands write: data to stdout, messages and progress to stderr. Nothing else prints."""

import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from jobs.planning.views import clean

LOG_EVERY_S = 15.0
"""Seconds between two lines of progress where nothing can be redrawn."""
_ASCII = str.maketrans(dict(zip("█▒░✗·…→ε±", "#+.x-~>e+", strict=True)))
"""For terminals whose encoding has no such characters."""


class Console:
    """The two streams of a command.

    Attributes:
        err: where messages and progress go.
        live: whether stderr is a terminal that can redraw a line.
        screen: whether both streams are, so that a whole screen can be redrawn.
        width: characters of a line of stdout; 80 where it is no terminal and $COLUMNS is not set.
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out, self.err = _harmless(out or sys.stdout), _harmless(err or sys.stderr)
        self.live = self.err.isatty() and os.environ.get("TERM") != "dumb"
        self.screen = self.live and self._out.isatty()
        self.width = shutil.get_terminal_size().columns
        self._shown, self._shown_at = "", -LOG_EVERY_S
        self._blocks = _can_show("█▒░✗·", self._out)

    def data(self, lines: str | Iterable[str]) -> None:
        """Print data."""
        self.done()
        for line in [lines] if isinstance(lines, str) else lines:
            self._out.write(f"{self.plain(clean(line))}\n")
        self._out.flush()

    def plain(self, text: str) -> str:
        """Text with ASCII in place of what the encoding of stdout lacks."""
        return text if self._blocks else text.translate(_ASCII)

    def json(self, value: Mapping[str, Any]) -> None:
        """Print one JSON document, with the version of its schema first."""
        self._out.write(json.dumps({"schema_version": 1, **value}, indent=1) + "\n")
        self._out.flush()

    def echo(self, text: str) -> None:
        """Pass on what a job in the foreground logs."""
        self.data(text.rstrip("\n").split("\n"))

    def note(self, text: str) -> None:
        """Say something to the person."""
        self.done()
        self.err.write(f"{clean(text)}\n")
        self.err.flush()

    def agreed(self, question: str) -> bool:
        """Ask; only "y" or "yes" is agreement, and without a terminal there is none."""
        if not sys.stdin.isatty():
            self.note(f"{question} add --yes")
            return False
        self.note(f"{question} [y/N]")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def progress(self, text: str) -> None:
        """Show how far something is: redrawn on a terminal, else a line now and then."""
        text, now = clean(text), time.monotonic()
        if text == self._shown or not (self.live or now - self._shown_at >= LOG_EVERY_S):
            return
        self._shown, self._shown_at = text, now
        self.err.write(f"\r\x1b[K{text[: _width()]}" if self.live else f"{text}\n")
        self.err.flush()

    def done(self) -> None:
        """End a redrawn line."""
        if self._shown and self.live:
            self.err.write("\r\x1b[K")
        self._shown = ""


def _harmless(stream: TextIO | None) -> TextIO:
    """A stream that takes every character; one that was closed takes everything and is silent."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _width() -> int:
    try:
        return os.get_terminal_size(2).columns - 1
    except OSError:
        return 79
