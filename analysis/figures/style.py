"""How figures look: colours, markers and dashes of networks and regimes; files that repeat.

A figure is a column of a paper wide, 3.3 inches. Its text is set at 7 points, since it is not
scaled. Fonts are embedded as TrueType, which conferences ask for; SVG has outlines.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis.naming import each, epsilon_text, in_grey_levels, seeds_text, threat_text
from jobs import files
from jobs.errors import UsageError

COLUMN_IN = 3.3
"""Width of a column, inches."""

# Okabe and Ito's colours (Color Universal Design, 2008), ordered so that neighbours differ in grey
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = "osD^vPX<"
Dashes = str | tuple[int, tuple[float, ...]]
DASHES: tuple[Dashes, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (4, 1.2, 1, 1.2)))
Filling = Literal["full", "none", "left", "bottom", "right", "top"]
FILLINGS: tuple[Filling, ...] = ("full", "none", "left", "bottom", "right", "top")
_STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.borderaxespad": 0.1,
    "legend.labelspacing": 0.3,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "spikegrid",
    # names come from files: a dollar sign in one is no formula
    "text.parse_math": False,
}
_FORMATS: tuple[Literal["pdf", "svg", "png"], ...] = ("pdf", "svg", "png")
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {},
}
_CAPTION = {"pdf": "Subject", "svg": "Description", "png": "Description"}
Name = tuple[str, str]
"""Network and training of a line."""


@dataclass(frozen=True)
class Line:
    """How one setting is drawn: colour and marker say the network, dashes and filling the regime."""

    colour: str
    marker: str
    dashes: Dashes
    filling: Filling

    def style(self, size: float = 3.2, width: float = 1.0) -> dict[str, Any]:
        """As keyword arguments of matplotlib's lines.

        Args:
            size: of markers, points.
            width: of lines, points.
        """
        # white inside, or curves of other settings would show through
        hollow = self.filling == "none"
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dashes,
            "fillstyle": "full" if hollow else self.filling,
            "markerfacecolor": "white" if hollow else self.colour,
            "markerfacecoloralt": "white",
            "markersize": size,
            "markeredgewidth": 0.25 * size,
            "linewidth": width,
        }


@dataclass(frozen=True)
class Drawing:
    """A figure, and what to say below it.

    Attributes:
        name: for its files, without suffix.
        caption: what is shown, of how many, and what the intervals are; kept in the files too.
    """

    figure: Figure
    name: str
    caption: str

    def save(self, folder: Path | str) -> list[Path]:
        """Write it as PDF, SVG and PNG (300 dpi); equal figures give equal bytes.

        Args:
            folder: made if absent.

        Returns:
            The files.
        """
        written = []
        with styled():
            for suffix in _FORMATS:
                content = io.BytesIO()
                about = {**_METADATA[suffix], _CAPTION[suffix]: printable(self.caption)}
                self.figure.savefig(content, format=suffix, dpi=300, metadata=about)
                path = Path(folder) / f"{self.name}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                files.replace(path, content.getvalue())
                written.append(path)
        return written


@contextmanager
def styled() -> Iterator[None]:
    """The style while a figure is made and saved; nobody's own settings leak in or out."""
    with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE}):
        yield


def figure(height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A column wide figure with axes above each other, inside `styled`.

    Args:
        height: inches.
        rows: of axes.
    """
    made = Figure(figsize=(COLUMN_IN, height))
    axes = made.subplots(rows, 1, squeeze=False, sharex=True)
    return made, list(axes[:, 0])


def line_styles(points: pd.DataFrame) -> dict[Name, Line]:
    """A style for each pair of `network` and `training` that is there, in reading order.

    Where one network alone is shown, colours and markers tell its trainings apart.
    """
    networks = sorted(set(points["network"]))
    regimes = sorted(set(points["training"]), key=lambda name: (name != "clean", name))
    present = set(zip(points["network"], points["training"], strict=True))
    alone = len(networks) == 1
    return {
        (network, regime): Line(
            colour=COLOURS[(r if alone else n) % len(COLOURS)],
            marker=MARKERS[(r if alone else n) % len(MARKERS)],
            dashes=DASHES[r % len(DASHES)],
            filling=FILLINGS[r % len(FILLINGS)],
        )
        for n, network in enumerate(networks)
        for r, regime in enumerate(regimes)
        if (network, regime) in present
    }


def check_looks(lines: dict[Name, Line], *, dashes: bool = True) -> None:
    """Refuse more settings than a reader can tell apart.

    Args:
        lines: of `line_styles`.
        dashes: whether lines are drawn, or markers alone.

    Raises:
        UsageError: two of them look alike.
    """
    looks = {replace(line, dashes=line.dashes if dashes else "-") for line in lines.values()}
    if len(looks) < len(lines):
        raise UsageError(
            f"{len(lines)} settings are more than one figure can tell apart; choose some, e.g. "
            "analysis.select(results, regime='clean'), or one network"
        )


def add_legend(made: Figure, lines: dict[Name, Line], *, dashes: bool = True) -> None:
    """Below the axes: networks by colour and marker, trainings by dashes and filling.

    Args:
        made: the figure.
        lines: of `line_styles`.
        dashes: whether lines are drawn, or markers alone.

    Raises:
        UsageError: if there are more settings than looks.
    """
    check_looks(lines, dashes=dashes)
    networks = dict.fromkeys(network for network, _ in lines)
    regimes = dict.fromkeys(regime for _, regime in lines)
    if len(networks) > 1 and len(regimes) > 1:
        of_network = {network: line for (network, _), line in reversed(lines.items())}
        of_regime = {regime: line for (_, regime), line in reversed(lines.items())}
        left = [_handle(name, replace(of_network[name], filling="full")) for name in networks]
        right = [
            _handle(name, replace(of_regime[name], colour="#444444", marker="o"), dashes=dashes)
            for name in regimes
        ]
        # columns are filled one after the other: nothing at the end of the shorter one
        for short, other in ((left, right), (right, left)):
            short += [Line2D([], [], linestyle="none", label=" ")] * (len(other) - len(short))
        made.legend(handles=[*left, *right], loc="outside lower left", ncols=2)
        return
    varied = 0 if len(networks) > 1 else 1
    handles = [_handle(name[varied], line, dashes=dashes) for name, line in lines.items()]
    longest = max(len(name[varied]) for name in lines)
    made.legend(handles=handles, loc="outside lower left", ncols=2 if longest < 22 else 1)


def legend_in(lines: dict[Name, Line]) -> float:
    """Height that `add_legend` takes, inches."""
    networks, regimes = ({name[part] for name in lines} for part in (0, 1))
    return 0.1 + 0.13 * max(len(networks), len(regimes))


def settle(made: Figure) -> None:
    """Arrange the parts once and for all: arranged anew, files would differ in their last digits."""
    make_printable(made)
    made.draw_without_rendering()
    made.set_layout_engine("none")


def make_printable(made: Figure) -> None:
    """Replace the characters of all texts that an SVG file must not hold."""
    for text in made.findobj(Text):
        text.set_text(printable(text.get_text()))


def printable(text: str) -> str:
    """Text without control characters but newlines; spaces that do not break stay."""
    return "".join(c if c.isprintable() or c in "\n\u00a0" else "\ufffd" for c in text)


def _handle(text: str, line: Line, *, dashes: bool = False) -> Line2D:
    style = line.style() if dashes else {**line.style(), "linestyle": "none"}
    return Line2D([], [], label=text, **style)


@dataclass(frozen=True)
class Interval:
    """Which interval a figure shows.

    Attributes:
        low: column of its lower end.
        high: column of its upper end.
        text: what it is.
    """

    low: str
    high: str
    text: str


def interval(points: pd.DataFrame) -> Interval:
    """Of seeds where there are three or more, their range for two, of samples for one."""
    fewest, most = points["seeds"].min(), points["seeds"].max()
    if fewest >= 3:
        return Interval("seed_low", "seed_high", "Student's 95 % interval of the mean over seeds")
    if most > 1 or "sample_low" not in points:
        return Interval("lowest", "highest", "lowest to highest seed")
    return Interval("sample_low", "sample_high", "Wilson's 95 % interval over samples")


def draw_means(
    axes: Axes, points: pd.DataFrame, line: Line, shown: Interval, scale: float, shift: float
) -> None:
    """A curve of means in percent over epsilon, with their intervals.

    Args:
        axes: to draw into.
        points: of one curve, by radius.
        line: its style.
        shown: which interval.
        scale: units of the axis for a radius of 1.
        shift: of the bars alone, in units of the axis; the curve itself is where it belongs.
    """
    x, mean = points["epsilon"] * scale, 100 * points["mean"]
    low = (100 * points[shown.low].clip(lower=0)).fillna(mean)
    high = (100 * points[shown.high].clip(upper=1)).fillna(mean)
    bars: dict[str, Any] = {
        "ecolor": line.colour,
        "elinewidth": 0.7,
        "capsize": 1.6,
        "capthick": 0.7,
    }
    widths = [(mean - low).clip(lower=0), (high - mean).clip(lower=0)]
    axes.errorbar(x + shift, mean, yerr=widths, fmt="none", clip_on=False, **bars)
    axes.plot(x, mean, clip_on=False, **line.style())


def what_text(points: pd.DataFrame) -> str:
    """Of what the numbers are: data, samples, threat models, seeds."""
    first = points.iloc[0]
    attacked = points[points["norm"].notna()]
    threats = sorted({threat_text(r.norm, r.space, r.clip) for r in each(attacked)})
    size = f", n = {first['total']:,} samples for each network" if "total" in points else ""
    words = f"{first['dataset']}, {first['split']} split{size}; mean over {seeds_text(points)}"
    return f"{words}; {'; '.join(threats)}" if threats else words


def most_telling(points: pd.DataFrame, spread: "pd.Series[Any]", what: str) -> float:
    """The radius above 0 at which most networks are, and there the spread is largest.

    Args:
        points: with `epsilon` and `configuration`.
        spread: of each row's radius, by its value.
        what: is drawn, for the message.

    Raises:
        UsageError: if there is none.
    """
    attacked = points[points["epsilon_num"] > 0]
    if attacked.empty:
        raise UsageError(f"{what}: nothing to draw, no row has an attack; evaluate one and collect")
    met = attacked.groupby("epsilon")["configuration"].nunique()
    full = spread.reindex(met.index[met == met.max()])
    return float(full.index[int(full.fillna(-1).to_numpy().argmax())])


def radius_text(points: pd.DataFrame) -> str:
    """The one radius of the points, e.g. "8/255"."""
    first = points.iloc[0]
    grey = in_grey_levels(points)
    return epsilon_text(first["epsilon_num"], first["epsilon_den"], grey=grey)


def stem(*parts: str) -> str:
    """A file's name of parts, of letters, digits and hyphens."""
    text = "-".join(parts).lower()
    return "-".join(
        filter(None, "".join(c if c.isascii() and c.isalnum() else "-" for c in text).split("-"))
    )
