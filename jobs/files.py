"""Reading and writing: the only place that renames, links or syncs.

Every write goes beside its target, is synced, then takes its name in one step, so a reader sees
the old file, the new one or none, and never a part. Temporary names start with ".tmp-".
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from jobs.errors import CorruptFile

TEMPORARY = ".tmp-"
_BLOCK = 1 << 17


def sync_folder(folder: Path) -> None:
    """Make renames and links in a folder durable; ignored where folders cannot be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def token() -> str:
    """Twelve hex characters that nothing else has in its name."""
    return os.urandom(6).hex()  # `secrets` loads four more modules for the same


def _write_beside(path: Path, data: bytes) -> Path:
    beside = path.parent / f"{TEMPORARY}{os.getpid()}-{token()}"
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
    replace_all({path: data})


def replace_all(contents: Mapping[Path, bytes]) -> None:
    """Write some files, in place of older ones: each whole, none before all are durable.

    They take their names in the order given.
    """
    beside: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            beside[path] = _write_beside(path, data)
        for path, own in beside.items():
            own.replace(path)
    except BaseException:
        for own in beside.values():
            own.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in contents}:
        sync_folder(folder)


def changed_ns(path: str | Path) -> int:
    """When a file, or which names a folder holds, last changed, by the filesystem's own clock.

    Nobody can set this time, unlike that of the last modification.
    """
    return os.stat(path).st_ctime_ns  # noqa: PTH116 - a Path costs five times the call


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

    The caller has synced the files inside. A rename that reports an error although it succeeded is
    recognised, as in `create`.
    """
    sync_folder(folder)
    own = None
    try:
        own = folder.stat()
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
        if own is None or not os.path.samestat(own, target.stat()):
            return False
    sync_folder(target.parent)
    return True


def move(path: Path, target: Path) -> bool:
    """Give a file or a folder another name, never that of something else.

    Repeating it after a kill finds its own work: for a moment a file has both names.

    Returns:
        False if it is gone, or something else has the name.
    """
    if path.is_dir():
        return publish(path, target)
    try:
        os.link(path, target)
    except FileNotFoundError:
        return False
    except FileExistsError:
        if not (path.exists() and path.samefile(target)):
            return False
    sync_folder(target.parent)
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def append(path: Path, line: dict[str, Any]) -> None:
    """Add one JSON line to a file that only this process writes."""
    with path.open("a+b") as file:
        file.write(_line_break(file) + dumps(line))
        file.flush()


def extend(path: Path, data: bytes) -> None:
    """Add whole lines to a file that only this process writes, and make them durable."""
    with path.open("a+b") as file:
        file.write(_line_break(file) + data)
        file.flush()
        os.fsync(file.fileno())


def _line_break(file: BinaryIO) -> bytes:
    """Ends a line that was torn, by a full disk for example, so that the next one is read."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def dumps(value: object) -> bytes:
    """Compact JSON with a final newline; NaN is refused."""
    return (json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n").encode()


def content(path: str | Path) -> bytes:
    """A whole file, read with the fewest calls: ten thousand cells have a hundred thousand files.

    Raises:
        OSError: if it is absent or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = [os.read(handle, _BLOCK)]
        while len(parts[-1]) == _BLOCK or (parts[-1] and len(parts) > 1):
            parts.append(os.read(handle, _BLOCK))
    finally:
        os.close(handle)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        CorruptFile: if it does not parse.
    """
    return parsed(path, path.read_bytes())


def parsed(path: str | Path, data: bytes) -> Any:
    """The JSON document that is a file's content; errors as `read_json`."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # a few kilobytes of brackets nest too deep
        raise CorruptFile(f"{path}: not valid JSON ({error}); delete it and run again") from error


def read_lines(path: str | Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file; a torn or foreign line is passed over, an absent file is empty."""
    try:
        data = content(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex characters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
