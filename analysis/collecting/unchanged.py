"""Trainings that need not be listed again, since their folders' times of change are as they were.

Whatever comes, goes or is moved changes its folder's time (`st_ctime`, which nobody can set), and
that is six calls instead of twenty-two. A time only spares a look at names: what it says of a folder
that changed a moment ago is not believed, and what is new follows from the names alone.
"""

import contextlib
import os
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from analysis.collecting import listing
from analysis.collecting.listing import Holder, Holders
from jobs import files
from jobs.forked import spread

SHARE = 1_500
"""Trainings that are worth a process of their own."""
SETTLED_NS = 60 * 10**9
"""Age at which a change is whole in what was listed: clocks differ, and some filesystems round."""

_ALWAYS = ("", listing.SPEC, listing.TRAINING, listing.EVALUATIONS, listing.ATTEMPTS)


class Look(NamedTuple):
    """What was seen of all trainings.

    Attributes:
        marks: what each is made of (`analysis.collecting.listing`).
        stamps: sum of the times of change, which only grow, of those that need not be listed next
            time if it is the same then; in ns.
    """

    marks: dict[str, str]
    stamps: dict[str, int]


def look(some: Sequence[Holders], known: Look, now: int) -> Look:
    """See what trainings are made of; only those are listed of which something may have changed.

    Args:
        some: trainings, with those who hold them.
        known: what was seen last.
        now: in ns.

    Raises:
        EnvironmentFault: if a folder is there but cannot be listed.
    """
    seen = Look({}, {})
    for share in spread(partial(_look, known=known, now=now), some, least=SHARE):
        seen.marks.update(share.marks)
        seen.stamps.update(share.stamps)
    return seen


def _look(some: Sequence[Holders], *, known: Look, now: int) -> Look:
    seen = Look({}, {})
    for key, holders in some:
        # before it is listed, so that what changes meanwhile is seen next time
        times = _times(key, holders)
        stamp = sum(times)
        if times and known.stamps.get(key) == stamp:
            seen.marks[key], seen.stamps[key] = known.marks[key], stamp
            continue
        found = [(holder, listing.held(holder.cells, key)) for holder in holders]
        seen.marks[key] = mark = listing.mark(key, found)
        over = all(all(there.ended) for _, there in found)
        if times and over and known.marks.get(key) == mark and max(times) < now - SETTLED_NS:
            seen.stamps[key] = stamp
    return seen


def _times(training_id: str, holders: Sequence[Holder]) -> list[int]:
    """Of all that run roots hold of a training; none unless it has been trained and evaluated there.

    The folders of its attempts are left out: in that of one that ended, nothing counts any more.
    """
    times: list[int] = []
    for cells, _, stones in holders:
        if training_id in stones:
            return []
        folder = f"{cells}/{training_id[:2]}/{training_id}"
        below = folder + listing.STAGES
        try:
            times += [files.changed_ns(folder + name) for name in _ALWAYS]
            with contextlib.suppress(FileNotFoundError):
                times += [files.changed_ns(f"{below}/{name}") for name in (".", *os.listdir(below))]
        except OSError:  # absent; or the listing says what is wrong
            return []
    return times
