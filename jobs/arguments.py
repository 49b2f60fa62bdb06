"""An argument parser that offers the word that was meant for one that it does not know."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jobs.errors import meant

_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'")


class Parser(argparse.ArgumentParser):
    """argparse's, with "did you mean" for flags, commands and choices.

    Attributes:
        commands: its sub-commands by name.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self.commands: dict[str, Parser] = {}

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; a word that the command does not take ends the program with 2."""
        args, rest = self.parse_known_args(words)
        if rest:
            self.commands.get(args.command, self).refuse(rest)
        return args

    def refuse(self, rest: Sequence[str]) -> NoReturn:
        """End with a message about words that nothing here takes."""
        word = next((one for one in rest if one.startswith("-")), rest[0])
        if not word.startswith("-"):
            self.error(f"unexpected '{word}'; a text with spaces needs quotes")
        flag = word.partition("=")[0]
        self.error(f"there is no flag {flag}{meant(flag, [*self._option_string_actions])}")

    def error(self, message: str) -> NoReturn:
        """End with usage, a message and exit code 2."""
        if found := _CHOICE.search(message):
            word, choices = found[1], found[2]
            # Python 3.12 and later name the choices without quotes
            known = _QUOTED.findall(choices) or choices.split(", ")
            message += meant(word, known)
        super().error(message)
