"""Errors for people: each says what happened, where, and the way out.

SpikegridError                exit code
├── UsageError            2   the command line is wrong, or names something that is not there
│   └── ManifestError     2   a manifest is wrong; carries every problem with line and column
├── EnvironmentFault      3   SLURM, filesystem, dataset or GPU is not as the work needs it
│   ├── Refused           3   sbatch said no, so nothing was sent
│   │   └── AtLimit       3   it would take the jobs later, or fewer of them
│   ├── Doubtful          3   sbatch gave no clear answer, so the job may exist
│   └── NewerLayout       3   the run root was written by a newer spikegrid
├── CorruptFile           3   a file of ours does not hold what its hash or schema says
└── TryLater             75   another process holds what this one needs
"""

from collections.abc import Iterable
from dataclasses import dataclass


class SpikegridError(Exception):
    """Base of all errors that are shown without a traceback."""

    exit_code = 1


class UsageError(SpikegridError):
    """The command line is wrong, or names something that does not exist."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a manifest.

    Attributes:
        line: 1-based, 0 when the problem has no place in the text.
        column: 1-based.
        path: keys from the top, e.g. "grid.model.1.neuron"; empty for the document.
        message: what was found, what was expected, and the way out.
    """

    line: int
    column: int
    path: str
    message: str


class ManifestError(UsageError):
    """A manifest is wrong.

    Attributes:
        problems: all of them, in the order of the text.
    """

    def __init__(self, source: str, problems: list[Problem], lines: list[str]) -> None:
        self.source, self.problems, self.lines = source, problems, lines
        super().__init__(self.render())

    def render(self) -> str:
        """The whole message: each problem with its line and a caret, then the count."""
        blocks = []
        for problem in self.problems:
            where = (
                f"{self.source}:{problem.line}:{problem.column}" if problem.line else self.source
            )
            path = f" {problem.path}:" if problem.path else ""
            blocks.append(f"{where}:{path} {problem.message}")
            if 0 < problem.line <= len(self.lines):
                blocks.append(_excerpt(self.lines[problem.line - 1], problem.line, problem.column))
        count = len(self.problems)
        return "\n".join([*blocks, f"{count} error{'s' * (count != 1)}, nothing written"])


def _excerpt(text: str, line: int, column: int) -> str:
    """The line with a caret below the column, cut to a window of 100 characters."""
    start = max(0, column - 60)
    shown = "".join(c if c.isprintable() else " " for c in text[start : start + 100])
    return f"{line:>5} | {shown}\n{' ' * 7} {' ' * (column - 1 - start)}^"


class EnvironmentFault(SpikegridError):
    """The machine, cluster or filesystem cannot do what was asked."""

    exit_code = 3


class Refused(EnvironmentFault):
    """sbatch refused a request, so it is certain that nothing was sent."""


class AtLimit(Refused):
    """sbatch refused because of how many jobs are queued.

    Attributes:
        long: or because the array is too long, whatever is queued.
    """

    def __init__(self, message: str, *, long: bool) -> None:
        self.long = long
        super().__init__(message)


class Doubtful(EnvironmentFault):
    """sbatch gave no clear answer: the job may exist, and must be looked up by its name."""


class NewerLayout(EnvironmentFault):
    """The run root's format.json names a layout that this program does not know."""


class CorruptFile(SpikegridError):
    """A file of ours fails its hash, its schema or its parser."""

    exit_code = 3


class TryLater(SpikegridError):
    """Another process holds what this one needs; the same command works later."""

    exit_code = 75


def meant(word: str, known: Iterable[str]) -> str:
    """The known word that is closest to a word, as the end of a sentence; nothing if none is."""
    import difflib  # only for mistakes

    close = difflib.get_close_matches(word, [*known], 1)
    return f"; did you mean '{close[0]}'?" if close else ""
