"""What would be sent, as data."""

from dataclasses import replace

from jobs.dispatch import describing
from jobs.dispatch.describing import Options
from jobs.dispatch.site import Site
from jobs.expand.blocks import Resources
from jobs.expand.cell import Cell
from jobs.planning.plan import plan
from tests.examples import cell

OPTIONS = Options(cluster="slurm", max_parallel=3)


def study() -> list[Cell]:
    """Cells of two shapes, out of the order of their seeds, and a child of one of them."""
    long = Resources(timeout_min=600, cells_per_job=2)
    own = [cell(seed, resources=long if seed % 2 else Resources()) for seed in (4, 3, 2, 1, 0)]
    return [*own, cell(7, parent=own[0])]


def test_a_plan_that_is_only_told_has_the_arrays_of_the_one_that_is_sent() -> None:
    items = plan(study(), {}, {})
    described = [
        describing.described(items, Site(), OPTIONS, None, orders=orders)
        for orders in (True, False)
    ]
    (sent, of_sent), (told, of_told) = described
    assert of_sent("job") == of_told("job")
    assert [replace(task, cells=()) for task in sent] == [replace(task, cells=()) for task in told]
    assert (
        [len(task.cells) for task in sent] == [len(task.cells) for task in told] == [1, 1, 1, 2, 1]
    )


def test_only_who_sends_tells_tasks_what_to_do() -> None:
    made, _ = describing.described(plan([cell()], {}, {}), Site(), OPTIONS, None)
    assert made[0].cells[0]["training_id"] == cell().training_id
    made, _ = describing.described(plan([cell()], {}, {}), Site(), OPTIONS, None, orders=False)
    assert made[0].cells == ({},)
