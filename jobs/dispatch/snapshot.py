"""The code that a job runs: a copy named by its content, whatever happens to the checkout."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from jobs import files
from jobs.errors import EnvironmentFault
from jobs.layout import RunRoot

PACKAGES = ("jobs", "snnlib", "analysis")
CHECKOUT = Path(__file__).resolve().parents[2]


def sources(checkout: Path) -> list[Path]:
    """Files a job may import or read, relative to the checkout, sorted.

    Modules that git does not track yet are among them: an untracked model is still the model.
    """
    found = []
    for package in PACKAGES:
        for folder, below, names in os.walk(checkout / package):
            below[:] = sorted(d for d in below if d != "__pycache__" and not d.startswith("."))
            data = Path(folder).name == "data"
            found += [
                Path(folder, n).relative_to(checkout)
                for n in names
                if (n.endswith(".py") or data) and not n.startswith(".")
            ]
    return sorted(found)


def take(root: RunRoot, checkout: Path = CHECKOUT) -> str:
    """Copy the checkout's packages into the run root, once for each content.

    Returns:
        The tree's hash, 16 hex characters; it lies at code/<hash>.
    """
    content = _content(checkout)
    name = _name(content)
    target = root.code / name
    if target.is_dir():
        target.touch()  # in use again: `gc` leaves what is young alone
        return name
    building = root.code / f"{files.TEMPORARY}{files.token()}"
    try:
        for path, data in content.items():
            (building / path).parent.mkdir(parents=True, exist_ok=True)
            files.replace(building / path, data)
        files.publish(building, target)
    except OSError as error:
        raise EnvironmentFault(f"{target}: cannot copy the code ({error})") from error
    return name


def current(checkout: Path = CHECKOUT) -> str:
    """The hash that `take` would return now; nothing is copied."""
    return _name(_content(checkout))


def _content(checkout: Path) -> dict[Path, bytes]:
    try:
        return {path: (checkout / path).read_bytes() for path in sources(checkout)}
    except OSError as error:
        raise EnvironmentFault(f"{error.filename}: cannot be read ({error.strerror})") from error


def _name(content: Mapping[Path, bytes]) -> str:
    digest = hashlib.sha256()
    for path, data in content.items():
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def commit(checkout: Path = CHECKOUT) -> str:
    """The checkout's git commit, with "+" if files differ from it; empty without git."""
    import subprocess  # only for those who send

    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
