"""HTML as text in which nothing foreign can act: every word is cleaned and escaped on its way in."""

import html
from collections.abc import Iterable

MOST = 300
"""Characters of one piece of text at most; names and lines of logs can be of any length."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Markup(str):
    """Text that is markup already; whatever is not of this type gets escaped."""

    __slots__ = ()


def plain(text: object, most: int = MOST) -> str:
    """Text without what could steer a terminal, or turn the direction of what surrounds it.

    Args:
        text: anything; tabs become spaces, other invisible characters a visible sign.
        most: characters kept; the middle of what is longer is left out.
    """
    words = str(text).expandtabs(4)
    if len(words) > most:
        words = f"{words[: most * 2 // 3]} … {words[-(most // 3) :]}"
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() or c == "\n" else REPLACEMENT for c in words)


def escaped(text: object, most: int = MOST) -> Markup:
    """Any text as markup that shows it."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(plain(text, most)))


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Pieces, one after the other."""
    return Markup(str(escaped(between)).join(escaped(part) for part in parts))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """One element.

    Args:
        name: of the element.
        content: markup, or text to be escaped.
        attributes: `class_` is class and `data_x` is data-x; True is a bare one, None and False
            are left out.
    """
    opening = name
    for key, value in attributes.items():
        if value is not None and value is not False:
            word = key.rstrip("_").replace("_", "-")
            opening += f" {word}" if value is True else f' {word}="{escaped(value)}"'
    return Markup(f"<{opening}>" if name == "input" else f"<{opening}>{joined(content)}</{name}>")


def table(
    heads: Iterable[Markup], rows: Iterable[Iterable[Markup]], **attributes: object
) -> Markup:
    """A table of cells that are markup already, in a frame that scrolls sideways by itself."""
    head = tag("thead", tag("tr", *heads))
    body = tag("tbody", *(tag("tr", *row) for row in rows))
    # what scrolls can be reached by the keyboard
    return tag("div", tag("table", head, body, **attributes), class_="scroll", tabindex="0")


def heads(*texts: object, numbers_from: int = 99) -> list[Markup]:
    """Cells of a head; those from a place on stand above numbers."""
    return [
        tag("th", text, scope="col", class_="n" if place >= numbers_from else None)
        for place, text in enumerate(texts)
    ]


def percent(share: float) -> str:
    """A share in percent, e.g. "61.0"."""
    return f"{100 * share:.1f}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, e.g. "1,204 cells"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
