"""What would be sent for a plan, as data: `plan` stops here, `submit` goes on with the same objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from jobs.dispatch.ledger import Cluster
from jobs.dispatch.scheduler import Answer
from jobs.dispatch.site import Profile, Site
from jobs.planning.plan import SENT, Planned
from jobs.planning.request import CHUNK, JobRequest, Task, requests, tasks, work_order

if TYPE_CHECKING:
    from jobs.expand.blocks import Resources


_SENT = attrgetter("resources")
_TOLD = attrgetter("shape")


def unheard(text: str) -> None:
    """Logs that nobody watches."""
    del text


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user asks of `submit`.

    Attributes:
        cluster: where to.
        max_parallel: jobs of this submission at once.
        limit: cells to send at most.
        data: folder of data sets.
        python: interpreter on the nodes.
        echo: is given the logs of what runs in the foreground.
        canary: one job goes first, and the others only once its cell is recorded.
        codes: training id → hash of the code that it goes on with, if not that of the checkout.
        source: path of the manifest that the user knows, if it was read from a copy.
    """

    cluster: Cluster
    max_parallel: int | None = None
    limit: int | None = None
    data: str = ""
    python: str | None = None
    echo: Callable[[str], None] = unheard
    canary: bool = False
    codes: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


def described(
    items: Sequence[Planned],
    site: Site,
    options: Options,
    answer: Answer | None,
    *,
    orders: bool = True,
) -> tuple[list[Task], Callable[[str], list[JobRequest]]]:
    """What would be sent for planned cells: tasks, and requests once their names' prefix is known.

    Children come after their parents; otherwise seed-major, so that all curves appear early.

    Args:
        items: the plan.
        site: the user's.
        options: what the user asks for.
        answer: the scheduler's, or None if it was never asked.
        orders: with what each task is told of its cells, which only who sends it needs.
    """
    chosen = [item for item in items if item.action in SENT or item.follows]
    chosen.sort(key=_turn)
    made: list[Task] = []
    for generation, group in itertools.groupby(chosen[: options.limit], lambda i: i.follows):
        work = [(item.cell, _order(item, options.codes, whole=orders)) for item in group]
        shape_of = _SENT if orders else _TOLD
        made += tasks(work, first=len(made), generation=generation, shape_of=shape_of)
    shapes = {shape for shape, _ in itertools.groupby(made, _SENT)}
    profiles = {shape: site_parameters(site, shape, options) for shape in shapes}
    longest = _longest([site.profile(shape.profile) for shape in shapes], answer)

    def request(prefix: str) -> list[JobRequest]:
        return requests(
            made, name=prefix, max_array=longest, profile=profiles, canary=options.canary
        )

    return made, request


def _order(item: Planned, codes: Mapping[str, str], *, whole: bool) -> dict[str, Any]:
    code = codes.get(item.cell.training_id)
    order = work_order(item.cell, item.missing) if whole else {}
    return order | {"code": code} if code else order


def _turn(item: Planned) -> tuple[int, bool, int, int]:
    cell = item.cell
    return item.follows, cell.number >= 0, cell.seed, cell.number


def _longest(profiles: Sequence[Profile], answer: Answer | None) -> int:
    """Tasks of one array at most.

    Half of what may be queued, so that the next array fits while one drains.
    """
    found = [one.max_array_size for one in profiles if one.max_array_size]
    if answer is not None:
        limits = answer.limits
        queued = [limits.most_queued(one.account, one.qos) for one in profiles]
        most = [limits.max_job_count, *(one[0] for one in queued if one)]
        found += [limits.max_array_size, *(number // 2 for number in most)]
    return max(1, min(found, default=CHUNK))


def site_parameters(site: Site, shape: Resources, options: Options) -> dict[str, Any]:
    """What the site adds to a job's shape, for submitit's SlurmExecutor."""
    found: dict[str, Any] = site.profile(shape.profile).parameters()
    if options.max_parallel is not None:
        found["array_parallelism"] = options.max_parallel
    return found
