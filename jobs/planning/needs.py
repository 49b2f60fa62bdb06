"""How much room what is left of a manifest will take, by what is finished of it."""

from collections.abc import Sequence

from jobs.layout import RunRoot
from jobs.planning import views
from jobs.planning.plan import Planned
from jobs.upkeep import garbage
from jobs.upkeep.doctor_disk import Need

MOST = 16
"""Finished cells that are weighed."""


def of(root: RunRoot, name: str, items: Sequence[Planned]) -> Need:
    """Room that a plan's unfinished cells will take; bytes only if some cells are finished."""
    done = {i.cell.training_id: i for i in items if i.action == "done"}
    left = {i.cell.training_id: i for i in items if i.action not in {"done", "give_up"}}
    weighed = [garbage.weigh(root.cell(key).folder) for key in list(done)[:MOST]]
    each = sum(weight.size for weight in weighed) // len(weighed) if weighed else None
    new = sum(item.action != "evaluate" for item in left.values())
    return Need(
        name=name,
        size=None if each is None else each * new,
        inodes=views.files_count(left.values()),
    )
