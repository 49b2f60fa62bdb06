"""The guard of skips in tests/conftest.py, on small suites of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

def test_skipped():
    pytest.skip({reason!r})

@pytest.mark.xfail
def test_expected_to_fail():
    assert False
"""


def run(folder: Path, text: str, ci: str) -> subprocess.CompletedProcess[str]:
    tests = folder / "tests"
    tests.mkdir()
    for name in ("conftest.py", "skips.txt"):
        shutil.copy(Path(__file__).with_name(name), tests)
    (tests / "test_one.py").write_text(text)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    env = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [
        ("needs a CUDA device", "true", 0),
        ("SLURM is not installed", "true", 1),
        ("SLURM is not installed", "false", 0),
    ],
)
def test_a_skip_must_be_allowed(tmp_path: Path, reason: str, ci: str, code: int) -> None:
    done = run(tmp_path, SUITE.format(reason=reason), ci)
    assert done.returncode == code, done.stdout
    assert (f"tests/test_one.py::test_skipped: {reason}" in done.stdout) is bool(code)


def test_a_module_that_skips_itself_is_seen(tmp_path: Path) -> None:
    text = "import pytest\npytest.skip('no reason', allow_module_level=True)\n"
    done = run(tmp_path, f"{text}", "true")
    assert "tests/test_one.py: no reason" in done.stdout
    assert done.returncode
