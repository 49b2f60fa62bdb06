"""A filesystem that fails at the n-th writing operation: a kill, a full disk, an error, a lie."""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from unittest import mock

Fault = Literal["kill", "full", "error", "lie"]
"""The process dies; the disk is full from now on; one operation fails; one is done, and says that
it failed, as network filesystems do that ask twice."""

OPERATIONS = ("open", "fsync", "link", "rename", "replace", "mkdir", "unlink", "rmdir")
_TRANSMITTED_TWICE = {
    "link": errno.EEXIST,
    "mkdir": errno.EEXIST,
    "rename": errno.ENOENT,
    "replace": errno.ENOENT,
    "unlink": errno.ENOENT,
    "rmdir": errno.ENOENT,
}
_NEEDS_ROOM = frozenset({"open", "write", "mkdir", "link", "fsync", "rename", "replace"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(BaseException):
    """The process dies here; nothing of it happens any more, clean-up neither."""


class Filesystem:
    """The operations of this process from now on.

    Attributes:
        made: names of those that it has tried.
        hit: whether the fault came.
    """

    def __init__(self, fault: Fault, at: int) -> None:
        self._fault, self._at = fault, at
        self._dead = False
        self.made: list[str] = []
        self.hit = False

    def do(self, name: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do an operation or what the fault makes of it; `half` does a part of it."""
        if self._dead:
            raise Killed
        self.made.append(name)
        due = len(self.made) == self._at
        if self._fault == "full":
            due = len(self.made) >= self._at and name in _NEEDS_ROOM
        if not due or (self._fault == "lie" and name not in _TRANSMITTED_TWICE):
            return act()
        self.hit = True
        if self._fault == "lie":
            act()
            raise OSError(_TRANSMITTED_TWICE[name], f"{name} was done")
        if half is not None:
            half()
        if self._fault == "kill":
            self._dead = True
            raise Killed
        code = errno.ENOSPC if self._fault == "full" else errno.EIO
        raise OSError(code, os.strerror(code))


class _Torn:
    """A file opened for writing whose writes can be cut in the middle."""

    def __init__(self, filesystem: Filesystem, file: Any) -> None:
        self._filesystem, self._file = filesystem, file

    def write(self, data: Any) -> int:
        def part() -> None:
            self._file.write(data[: len(data) // 2])

        return int(self._filesystem.do("write", lambda: self._file.write(data), part))

    def __enter__(self) -> "_Torn":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def failing(fault: Fault, at: int) -> Iterator[Filesystem]:
    """Have the n-th operation of this process fail; what syncs is only counted, to be fast."""
    filesystem = Filesystem(fault, at)

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if name == "open" and not (args[1] & _WRITES):
                return real(*args, **more)
            if name == "fsync":
                return filesystem.do(name, lambda: None)
            return filesystem.do(name, lambda: real(*args, **more))

        return call

    usual = io.open

    def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **more: Any) -> Any:
        if not {*mode} & {*"wax+"}:
            return usual(file, mode, buffering, *args, **more)
        # nothing of what a dead process wrote may follow later
        size = 0 if "b" in mode else 1
        found = filesystem.do("open", lambda: usual(file, mode, size, *args, **more))
        return _Torn(filesystem, found)

    with ExitStack() as patches:
        for name in OPERATIONS:
            patches.enter_context(mock.patch.object(os, name, counted(name, getattr(os, name))))
        patches.enter_context(mock.patch.object(io, "open", opened))
        yield filesystem


def struck(fault: Fault, at: int, act: Callable[[], object]) -> bool:
    """Do something while the n-th operation fails; whether there are so many."""
    with failing(fault, at) as filesystem:
        try:
            act()
        except (Exception, Killed):
            assert filesystem.hit, "failed although nothing was wrong"
    return len(filesystem.made) >= at
