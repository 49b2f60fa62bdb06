"""The main finding: worst-case accuracy of every network at each radius, and what to doubt."""

import math
from typing import Any

import pandas as pd

from analysis.naming import each, epsilon_text, in_grey_levels, threat_text
from analysis.report.markup import Markup, counted, heads, joined, percent, table, tag
from analysis.report.points import BLOCK, SERIES, Masked, Points
from analysis.selection import attack_names
from snnlib.spec.data import CLASSES

SHADES = 10
"""Steps of the colour behind an accuracy."""
_MARK = "\N{WARNING SIGN}\N{VARIATION SELECTOR-15}"


def findings(points: Points) -> Markup:
    """A table for each evaluation set and threat model, with one sentence that says the most."""
    if points.worst.empty:
        return tag("p", "No network has been evaluated yet.", class_="empty")
    blocks = points.worst.groupby(BLOCK, dropna=False, sort=True)
    return joined(_block(block, points) for _, block in blocks)


def block_title(row: Any) -> Markup:
    """Data set, its samples and threat model of a row, e.g. "digits · n = 400 · linf in …"."""
    threat = threat_text(row.norm, row.space, row.clip)
    return joined([tag("b", row.dataset), f" · n = {row.total:,} · ", threat])


def radius(row: Any, *, grey: bool) -> str:
    """The radius of a row as a column's head."""
    if not row.epsilon:
        return "clean"
    return epsilon_text(row.epsilon_num, row.epsilon_den, grey=grey)


def accuracy_text(row: Any) -> str:
    """Mean with its sample interval, in percent."""
    return f"{percent(row.mean)} [{percent(row.sample_low)}, {percent(row.sample_high)}]"


def _block(block: pd.DataFrame, points: Points) -> Markup:
    grey = in_grey_levels(block)
    first = next(iter(each(block)))
    body = _rows(block, points)
    radii = block.drop_duplicates("epsilon").sort_values("epsilon")
    names = [radius(row, grey=grey) for row in each(radii)]
    columns = heads("network", "training", *names, numbers_from=2)
    if points.verdicts:
        columns += heads("audit")
    return tag(
        "article",
        tag("h3", block_title(first)),
        _headline(block, points, grey=grey),
        table(columns, body, class_="worst"),
        tag("p", *_caption(block), class_="caption"),
        _doubts(block, points, grey=grey),
    )


def _rows(block: pd.DataFrame, points: Points) -> list[list[Markup]]:
    """A row for each network and training, best cells of each column in bold."""
    radii = sorted(set(block["epsilon"]))
    best, most = block[~block["partial"]].groupby("epsilon")["mean"].max(), block["seeds"].max()
    found = {(r.network, r.training, r.epsilon): r for r in each(block)}
    order = sorted({key[:2] for key in found}, key=lambda k: (k[0], k[1] != "clean", k[1]))
    rows = []
    for network, training in order:
        here = [found.get((network, training, e)) for e in radii]
        doubt = next((d for r in here if r is not None and (d := points.doubt(r))), None)
        mark = tag("span", _MARK, class_="warn", title=_doubt_title(doubt)) if doubt else ""
        head = tag("th", network, " " if mark else "", mark, scope="row")
        rows.append([head, tag("td", training), *(_cell(r, best, most) for r in here)])
        if points.verdicts:
            rows[-1].append(_verdict(next(r for r in here if r is not None), points))
    return rows


def _verdict(row: Any, points: Points) -> Markup:
    """The audit's verdict on a network in the space of its row."""
    known = points.verdicts.get((row.configuration, row.space))
    if known is None:
        return tag("td", "\N{EN DASH}", class_="none")
    verdict, judged = known
    whom = tag("small", f" {judged}") if judged else ""
    return tag("td", tag("span", verdict, class_=f"verdict {verdict}"), whom)


def _cell(row: Any, best: "pd.Series[float]", most: int) -> Markup:
    """One mean; over fewer seeds than others of its block, it says so."""
    if row is None:
        return tag("td", "\N{EN DASH}", class_="n none")
    half = tag("small", f" ± {50 * (row.highest - row.lowest):.1f}") if row.seeds > 1 else ""
    fewer = tag("small", f" of {counted(row.seeds, 'seed')}") if row.seeds < most else ""
    star = "*" if row.partial else ""
    top = not row.partial and row.mean == best.get(row.epsilon)
    value = tag("b", percent(row.mean)) if top else percent(row.mean)
    shade = f"n h{math.floor(row.mean * SHADES)}"
    return tag("td", value, star, half, fewer, class_=shade, title=_cell_title(row))


def _cell_title(row: Any) -> str:
    words = f"95 % interval of the samples {accuracy_text(row).partition(' ')[2]}"
    words += f", seeds {', '.join(map(str, row.seed_list[:12]))}"
    return f"{words}, under {row.attacks}" if row.attacks else words


def _headline(block: pd.DataFrame, points: Points, *, grey: bool) -> Markup:
    """The largest radius at which a network is surely above chance, and which is highest there."""
    dataset = next(iter(block["dataset"]))
    chance = 1 / CLASSES[dataset] if dataset in CLASSES else 0.0
    attacked = block[(block["epsilon"] > 0) & ~block["partial"]]
    if attacked.empty:
        return tag("p", "No attack has been evaluated yet.", class_="headline")
    above = attacked[attacked["sample_low"] > chance]
    if above.empty:
        least = next(iter(each(attacked.sort_values("epsilon"))))
        text = (
            f"No network is surely above chance ({percent(chance)} %), "
            f"even at {radius(least, grey=grey)}."
        )
        return tag("p", text, class_="headline")
    there = above[above["epsilon"] == above["epsilon"].max()]
    best, *others = each(there.sort_values("mean", ascending=False, kind="stable"))
    level = sum(other.mean == best.mean for other in others)
    return tag(
        "p",
        "Up to ",
        tag("b", radius(best, grey=grey)),
        f" a network is surely above chance ({percent(chance)} %). Highest there: ",
        tag("b", f"{best.network}, {best.training}"),
        f" and {level} as high" if level else "",
        f", {percent(best.mean)} % (95 % interval over samples {percent(best.sample_low)} to "
        f"{percent(best.sample_high)}) over {counted(best.seeds, 'seed')}, worst case of ",
        f"{counted(len(attack_names(best.attacks)), 'attack')}.",
        tag("span", f" {_MARK} Its gradients are masked.", class_="warn")
        if points.doubt(best)
        else "",
        class_="headline",
    )


def _caption(block: pd.DataFrame) -> list[str]:
    first = next(iter(each(block)))
    whole = block.loc[~block["partial"], "attacks"]
    attacks = sorted({name for text in whole for name in attack_names(text)})
    seeds = block["seeds"]
    words = [
        f"Accuracy in %, a sample counted right only if it is so under every attack. {counted(first.total, 'sample')} "
        f"of the {first.split} split per network; mean over "
        + (
            counted(seeds.max(), "seed")
            if seeds.min() == seeds.max()
            else f"{seeds.min()} to {seeds.max()} seeds"
        )
        + (" ± half the range over seeds" if seeds.max() > 1 else "")
        + "; bold: highest of its column."
    ]
    if attacks:
        words.append(f" Attacks: {', '.join(attacks[:20])}{' …' if len(attacks) > 20 else ''}.")
    if block["partial"].any():
        words.append(" * not under all of these attacks yet.")
    return words


def _doubt_title(doubt: Masked) -> str:
    return "gradients masked: " + " and ".join(_reasons(doubt, at=""))


def _reasons(doubt: Masked, at: str) -> list[str]:
    where = f" at {at}" if at else ""
    return [
        *([f"other attacks find {100 * doubt.gap:.1f} points more{where}"] * (doubt.gap > 0.0005)),
        *(
            [f"no gradient in up to {100 * doubt.zero:.1f} % of the samples"]
            * (doubt.zero > 0.0005)
        ),
    ]


def _doubts(block: pd.DataFrame, points: Points, *, grey: bool) -> Markup:
    """The warnings of a table in words."""
    lines = []
    for row in each(block.drop_duplicates([*SERIES, "configuration"]).sort_values(SERIES)):
        if doubt := points.doubt(row):
            at = epsilon_text(*doubt.at, grey=grey)
            said = "; ".join(_reasons(doubt, at))
            lines.append(tag("li", tag("b", f"{row.network}, {row.training}"), f": {said}"))
    if not lines:
        return Markup()
    head = tag("summary", f"{_MARK} {counted(len(lines), 'network')} with masked gradients")
    why = (
        "Attacks that follow the network's own gradient overstate its robustness here: compare "
        "worst cases only, and expect stronger attacks to find more."
    )
    return tag(
        "details", head, tag("p", why), tag("ul", *lines), class_="doubts", open=len(lines) <= 6
    )
