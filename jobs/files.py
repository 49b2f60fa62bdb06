"""Reading and writing: the only place that renames, links or syncs.

Every write goes beside its target, is synced, then takes its name in one step, so a reader sees
the old file, the new one or none, and never a part. Temporary names start with ".tmp-".
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.errors import CorruptFile

TEMPORARY = ".tmp-"


def sync_folder(folder: Path) -> None:
    """Make renames and links in a folder durable; ignored where folders cannot be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_beside(path: Path, data: bytes) -> Path:
    beside = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}"
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def replace(path: Path, data: bytes) -> None:
    """Write a file whole, in place of any older one."""
    beside = _write_beside(path, data)
    try:
        Path(beside).replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Write a file that must not exist yet.

    A link that reports an error although it succeeded (seen on network filesystems) is recognised
    by its content.

    Returns:
        True if this call made the file; False if another file has the name already.
    """
    beside = _write_beside(path, data)
    try:
        os.link(beside, path)
    except FileExistsError:
        return os.path.samestat(beside.stat(), path.stat())
    except OSError:
        with contextlib.suppress(OSError):
            if path.read_bytes() == data:
                return True
        raise
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def publish(folder: Path, target: Path) -> bool:
    """Give a finished folder its name; False if the name is taken.

    The caller has synced the files inside.
    """
    sync_folder(folder)
    try:
        Path(folder).rename(target)
    except OSError:
        if target.exists():
            return False
        raise
    sync_folder(target.parent)
    return True


def append(path: Path, line: dict[str, Any]) -> None:
    """Add one JSON line to a file that only this process writes."""
    with path.open("ab") as file:
        file.write(dumps(line))
        file.flush()


def dumps(value: object) -> bytes:
    """Compact JSON with a final newline; NaN is refused."""
    return (json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        CorruptFile: if it does not parse.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptFile(f"{path}: not valid JSON ({error}); delete it and run again") from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file; a torn or foreign line is passed over, an absent file is empty."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex characters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
