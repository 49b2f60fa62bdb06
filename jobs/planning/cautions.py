"""What should be known before a plan is sent: noise that is drawn once, attacks that come later. Pure."""

from collections.abc import Iterator, Sequence

from jobs.expand import fit
from jobs.expand.cell import Cell
from jobs.planning.plan import SENT, Planned
from jobs.planning.views import count
from snnlib.spec.attack import GradientAttack

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
    noisy = [cell for cell in coming if fit.is_random(cell.training.model)]
    judged = sum(cell.evaluation.draws < DECISION_DRAWS for cell in noisy)
    climbed = sum(_draws(cell) < GRADIENT_DRAWS for cell in noisy)
    wanted = [f"evaluation: {{draws: {DECISION_DRAWS}}}"] * bool(judged)
    wanted += [f"draws: {GRADIENT_DRAWS} in their attacks"] * bool(climbed)
    if wanted:
        encoders = sorted({cell.training.model.encoder.name for cell in noisy})
        yield (
            f"note: {count(len(noisy), 'cell')} with encoder {', '.join(encoders)}: one draw of "
            f"noise hides what an attacker could find; write {' and '.join(wanted)} or more"
        )


def _draws(cell: Cell) -> int:
    """The fewest draws that a gradient of the cell's own network is the mean of."""
    found = [a.draws for a in cell.attacks if isinstance(a, GradientAttack)]
    return min(found, default=GRADIENT_DRAWS)


def hasty(items: Sequence[Planned]) -> list[Cell]:
    """Cells that are sent while what their transfer attacks climb on is still to be trained."""
    coming = {i.cell.training_id for i in items if i.action in {"train", "retry", "wait"}}
    return [i.cell for i in items if i.action in SENT and not coming.isdisjoint(_sources(i.cell))]


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
