"""The table of results as compact data that the page's script turns into rows."""

import json
from typing import Any

import pandas as pd

from analysis.naming import THREAT, each, epsilon_text, in_grey_levels
from analysis.report.markup import Markup, plain
from analysis.report.panels import row_key
from analysis.report.points import Points

LISTED = 12
"""Seeds whose counts are listed; of more, the lowest and highest are given."""
_ORDER = ["dataset", "network", "training", "first", *THREAT, "attack_name", "epsilon"]


class Rows:
    """All rows of the table, each text stored once.

    Attributes:
        places: `row_key` → number of the row.
    """

    def __init__(self, points: Points) -> None:
        self.places: dict[tuple[Any, ...], int] = {}
        self._texts: dict[str, int] = {}
        self._rows: list[list[object]] = []
        every = pd.concat([points.attacked, points.worst[points.worst["epsilon"] > 0]])
        if every.empty:
            return
        self._grey = in_grey_levels(every)
        every["first"] = every["attack"].map({"clean": 0, "worst": 1}).fillna(2)
        for row in each(every.sort_values(_ORDER, kind="stable")):
            self.places[row_key(row)] = len(self._rows)
            self._rows.append(self._row(row, points))

    def __len__(self) -> int:
        return len(self._rows)

    def data(self) -> Markup:
        """JSON that can stand inside a script element: texts, then rows that refer to them."""
        content = json.dumps([list(self._texts), self._rows], separators=(",", ":"))
        # neither "</script" nor "<!--" may appear
        return Markup(content.replace("<", "\\u003c"))

    def _text(self, text: object) -> int:
        return self._texts.setdefault(plain(text), len(self._texts))

    def _row(self, row: Any, points: Points) -> list[object]:
        """One row; shares are in hundredths of a percent, so that no digit is invented."""
        shares = [row.mean, row.sample_low, row.sample_high, row.lowest, row.highest]
        worst = row.attack == "worst"
        radius = (
            epsilon_text(row.epsilon_num, row.epsilon_den, grey=self._grey) if row.epsilon else "0"
        )
        attacked = isinstance(row.norm, str)
        rules = [row.surrogate, row.gradient] if not worst else [None, None]
        texts = [
            row.dataset,
            row.network,
            row.training,
            row.attack_name,
            radius,
            space_text(row) if attacked else "",
            *(rule if isinstance(rule, str) else "" for rule in rules),
            _listed(row.seed_list),
            f"{_listed(row.counts)} of {row.total}",
            f"over {row.attacks}" if worst else _fell(row),
        ]
        zero = 0 if worst or pd.isna(row.zero) else row.zero
        numbers = [*(round(1e4 * share) for share in [*shares, zero]), row.seeds]
        doubt = int(bool(points.doubt(row)))
        return [*map(self._text, texts), round(float(row.epsilon), 6), *map(int, numbers), doubt]


def _fell(row: Any) -> str:
    """Who broke the samples of a suite, and the largest change of a value that it took."""
    known = isinstance(row.broken_by, str) and row.broken_by
    words = [f"broken by {row.broken_by}"] if known else []
    if not pd.isna(row.mean_linf):
        words.append(f"{255 * row.mean_linf:.2f}/255 mean largest change")
    return "; ".join(words)


def space_text(row: Any) -> str:
    """The threat model of a row in few words, e.g. "pixel, linf"; not clipped is worth saying."""
    return f"{row.space}, {row.norm}{'' if row.clip else ', not clipped'}"


def _listed(numbers: Any) -> str:
    """Numbers, or the range of many."""
    if not isinstance(numbers, tuple):
        return ""
    if len(numbers) <= LISTED:
        return ", ".join(map(str, numbers))
    return f"{min(numbers)} to {max(numbers)}"
