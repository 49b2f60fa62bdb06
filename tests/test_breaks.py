"""How samples fell: small on disk, exact when read, refused where it contradicts the counts."""

import json
import random
from typing import Any

import pytest

from jobs import breaks
from jobs.breaks import Breaks

DRAW = random.Random(0)
SAME = Breaks(step=(10,) * 7, member=(0,) * 7, linf=0.25, l2=1.5)
SUITE = Breaks(step=(1, 300, 70_000), member=(0, 3, 1), linf=0.1 + 0.2, l2=1 / 3)
NONE = Breaks(step=(), member=(), linf=0.0, l2=0.0)


@pytest.mark.parametrize("fell", [SAME, SUITE, NONE], ids=["same", "suite", "none"])
def test_what_is_written_is_read(fell: Breaks) -> None:
    data = json.loads(json.dumps(breaks.encode(fell)))
    assert breaks.decode(data, len(fell.step)) == fell


def test_equal_steps_take_one_number_and_a_plain_attack_names_no_member() -> None:
    assert breaks.encode(SAME) == {"step": 10, "linf": 0.25, "l2": 1.5}


@pytest.mark.parametrize(
    ("changed", "broken", "error"),
    [
        ({}, 4, "3 numbers for 4 broken samples"),
        ({}, 6, "3 numbers for 6 broken samples"),
        ({}, 0, "3 numbers for 0 broken samples"),
        ({"member": "1:AAAA"}, 3, "damaged"),
        ({"member": "3:AAAA"}, 3, "3"),
        ({"step": "AAAA"}, 3, "invalid literal"),
        ({"step": "1:no base64"}, 3, "Only base64 data is allowed"),
        ({"step": -1}, 3, "expected whole numbers"),
        ({"step": 1.5}, 3, "expected whole numbers"),
        ({"step": True}, 3, "expected whole numbers"),
        ({"linf": -0.1}, 3, "the sum of linf norms is -0.1"),
        ({"l2": float("nan")}, 3, "the sum of l2 norms is nan"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict[str, Any], broken: int, error: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError), match=error):
        breaks.decode({**breaks.encode(SUITE), **changed}, broken)


def test_batches_join_to_the_same_whole_in_any_grouping() -> None:
    parts = [
        Breaks(step=(n,), member=(n % 3,), linf=DRAW.random(), l2=DRAW.random()) for n in range(50)
    ]
    whole = breaks.joined(parts)
    assert whole is not None
    assert whole.step == tuple(range(50))
    backwards = breaks.joined(parts[::-1])
    assert backwards is not None
    assert (whole.linf, whole.l2) == (backwards.linf, backwards.l2)


def test_a_batch_that_does_not_say_leaves_the_whole_unsaid() -> None:
    assert breaks.joined([SAME, None]) is None
    assert breaks.joined([]) == NONE
