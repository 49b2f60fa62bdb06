"""What should be known before a plan is sent: noise that is drawn once, attacks that come later. Pure."""

from collections.abc import Iterator, Sequence

from jobs.expand.cell import Cell
from jobs.planning.plan import SENT, Planned
from jobs.planning.views import count

GRADIENT_DRAWS = 10
"""Draws that a gradient through a random encoder should be the mean of (Athalye et al. 2018)."""
DECISION_DRAWS = 20
"""Draws that a decision through one should rest on."""


def notes(items: Sequence[Planned]) -> list[str]:
    """A line for each matter, if it concerns any cell that is sent."""
    return [*_chance(items), *_later(items)]


def _chance(items: Sequence[Planned]) -> Iterator[str]:
    """Random encoders whose numbers rest on one draw of their noise."""
    coming = [i.cell for i in items if (i.action in SENT or i.follows) and i.cell.number >= 0]
    noisy = [cell.outline for cell in coming if cell.outline.noise]
    judged = sum(one.decided < DECISION_DRAWS for one in noisy)
    climbed = sum((one.climbed or GRADIENT_DRAWS) < GRADIENT_DRAWS for one in noisy)
    wanted = [f"evaluation: {{draws: {DECISION_DRAWS}}}"] * bool(judged)
    wanted += [f"draws: {GRADIENT_DRAWS} in their attacks"] * bool(climbed)
    if wanted:
        encoders = sorted({one.noise for one in noisy})
        yield (
            f"note: {count(len(noisy), 'cell')} with encoder {', '.join(encoders)}: one draw of "
            f"noise hides what an attacker could find; write {' and '.join(wanted)} or more"
        )


def hasty(items: Sequence[Planned]) -> list[Cell]:
    """Cells that are sent while what their transfer attacks climb on is still to be trained."""
    coming = {i.cell.training_id for i in items if i.action in {"train", "retry", "wait"}}
    climbing = [i.cell for i in items if i.action in SENT and i.cell.sources]
    return [cell for cell in climbing if not coming.isdisjoint(_sources(cell))]


def _later(items: Sequence[Planned]) -> Iterator[str]:
    """Transfer attacks that may find their source untrained."""
    if waiting := hasty(items):
        yield (
            f"note: {count(len(waiting), 'cell')} with a transfer attack whose source is not "
            "trained yet; if it still is not when the rest is done, --wait or the next submit "
            "sends that attack"
        )


def _sources(cell: Cell) -> set[str]:
    return {source.training_id for source in cell.sources} if cell.number >= 0 else set()
