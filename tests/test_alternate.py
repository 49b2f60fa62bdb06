"""The side-by-side timing of tests.bench, with workers that answer at once."""

import sys
from collections.abc import Sequence

import pytest

from tests.bench import alternate

SERVE = "from tests.bench.alternate import serve; import time, os; "


def worker(body: str) -> Sequence[str]:
    return [sys.executable, "-c", SERVE + body]


def test_workers_take_turns_and_agree() -> None:
    slow, fast = (f"serve({{'nap': lambda: time.sleep({s}) or 7.5}})" for s in (0.03, 0.01))
    with alternate.pair(worker(fast), worker(slow)) as workers:
        timing = alternate.compare(workers, "nap", turns=3)
    assert len(timing.ours_s) == len(timing.other_s) == len(timing.ratios) == 3
    assert timing.outcomes == (7.5, 7.5)
    assert timing.ratio > 1
    assert str(timing).endswith(f"{timing.ratio:.2f} x")


def test_what_a_work_prints_is_no_answer() -> None:
    with alternate.start(worker("serve({'talk': lambda: print('1 2 3')})")) as one:
        seconds, outcome = one.run("talk")
    assert 0 <= seconds < 1
    assert outcome is None


def test_both_have_the_same_threads() -> None:
    count = "serve({'threads': lambda: float(os.environ['OMP_NUM_THREADS'])})"
    with alternate.pair(worker(count), worker(count), threads=3) as workers:
        assert [one.run("threads")[1] for one in workers] == [3, 3]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise SystemExit('no data set')", "no seconds for 'nap': no data set"),
        ("print('hm')", "no seconds for 'nap'"),
    ],
)
def test_a_worker_that_fails_is_named_with_what_it_said(body: str, message: str) -> None:
    with alternate.start(worker(body)) as one, pytest.raises(RuntimeError, match=message):
        one.run("nap")
