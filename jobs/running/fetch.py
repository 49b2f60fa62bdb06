"""Bring data sets to this machine: the child process of `fetch`, for it needs torchvision.

    python -m jobs.running.fetch '{"names": ["mnist"], "folder": …}'

Prints one JSON object a line: how far a download is, then each data set when it is there and whole.
Ends with 3 and the reason if it cannot be brought from here, with 75 if the same command may help.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.errors import EnvironmentFault, TryLater
from snnlib import published
from snnlib.download import Report, download
from snnlib.errors import BrokenDownload, DatasetMissing, SnnlibError, Unreachable
from snnlib.published import Archive
from snnlib.spec.data import FILES, DatasetName

SAY_EVERY_S = 0.2
"""Seconds between two lines about one download."""


def fetch(name: DatasetName, folder: Path) -> dict[str, Any]:
    """Download what is absent or damaged, unpack it, and verify all of it.

    Returns:
        The data set's `name`, and how many archives were `downloaded`.

    Raises:
        SnnlibError: it could not be brought.
    """
    if not FILES[name] or _can_be_read(name, folder):
        return {"name": name, "downloaded": 0}
    absent = [a for a in published.archives(name) if not published.intact(folder / a.path, a.md5)]
    for archive in absent:
        _bring(archive, folder)
    published.unpack(name, folder)
    published.read(name, folder)
    return {"name": name, "downloaded": len(absent)}


def _can_be_read(name: DatasetName, folder: Path) -> bool:
    try:
        published.read(name, folder)
    except DatasetMissing:
        return False
    return True


def _bring(archive: Archive, folder: Path) -> None:
    target = folder / archive.path
    try:
        download(
            archive.urls,
            target,
            lambda path: published.intact(path, archive.md5),
            _progress(target.name),
        )
    except Unreachable as error:
        raise Unreachable(
            f"{target.name}: {error}; run this where the network is, or put the file at {target} "
            f"(md5 {archive.md5}) and run it again"
        ) from error
    except BrokenDownload as error:
        raise BrokenDownload(f"{target.name}: {error}; run the same command again") from error


def _progress(file: str) -> Report:
    said = 0.0

    def report(done: int, total: int | None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SAY_EVERY_S:
            said = now
            _say({"file": file, "done": done, "total": total})

    return report


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(order: dict[str, Any]) -> int:
    """Fetch what the command line orders."""
    folder = Path(order["folder"])
    try:
        for name in _known(order["names"]):
            _say(fetch(name, folder))
    except BrokenDownload as error:
        sys.stderr.write(f"{error}\n")
        return TryLater.exit_code
    except SnnlibError as error:
        sys.stderr.write(f"{error}\n")
        return EnvironmentFault.exit_code
    except OSError as error:
        way_out = "choose another folder with --data or $SPIKEGRID_DATA"
        sys.stderr.write(f"{error.filename or folder}: {error.strerror}; {way_out}\n")
        return EnvironmentFault.exit_code
    return 0


def _known(names: list[str]) -> Iterator[DatasetName]:
    return (name for name in FILES if name in names)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
