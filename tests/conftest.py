"""The guard of skips: what is not allowed in tests/skips.txt fails the run when CI=true."""

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

# a test process for each core: threads of torch would wait for one another most of the time
os.environ.setdefault("OMP_NUM_THREADS", "1")

NO_GPU = "needs a CUDA device"
ALLOWED = Path(__file__).with_name("skips.txt")


def allowed(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs (glob of node ids, reason of the skip, word for word)."""
    pairs = (line.split(None, 1) for line in lines if line.strip() and line[0] != "#")
    return [(glob, reason.strip()) for glob, reason in pairs]


class SkipGuard:
    """Notes every skip, and fails the session for those that are not allowed."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        self._refused: list[str] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = words.removeprefix("Skipped: ")
        if not any(fnmatchcase(report.nodeid, g) and reason == r for g, r in self._pairs):
            self._refused.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._refused:
            terminalreporter.section("skips that tests/skips.txt does not allow", red=True)
            terminalreporter.write_line("\n".join(self._refused))


def pytest_configure(config: pytest.Config) -> None:
    # under xdist the controller sees the reports of all workers
    if os.environ.get("CI") == "true" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipGuard(allowed(ALLOWED.read_text().splitlines())))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that share an expensive fixture run in one process; so do all of the real cluster."""
    if item.get_closest_marker("slurm"):
        item.add_marker(pytest.mark.xdist_group("slurm"))
    elif item.get_closest_marker("slow"):
        item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(autouse=True)
def no_common_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds a scheduler's answer that another one left in the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=NO_GPU))
