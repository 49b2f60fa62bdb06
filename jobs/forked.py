"""One piece of work shared by several processes of this machine.

What reads ten thousand folders waits for the filesystem most of the time; processes wait side by
side, and use every core. A process that dies costs nothing but time: its share is done again here.
"""

import contextlib
import itertools
import os
import signal
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

PROCESSES = 4
"""At most, this one included: more would wait for each other on most filesystems."""

_WHOLE = b"whole"
"""Ends what a process sends."""

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True)
class _Child:
    """A process and the end of the pipe on which it sends what it found."""

    pid: int
    pipe: int


def spread(
    work: Callable[[Sequence[Item]], Found], items: Sequence[Item], *, least: int
) -> list[Found]:
    """What a function finds for shares of some items, side by side.

    Args:
        work: reads only, and leaves nothing behind but its result, which can be pickled.
        items: split into shares that keep their order.
        least: items of a share at least; fewer are not worth a process.

    Returns:
        The result of each share, in order; errors of the function are raised here.
    """
    count = max(1, min(PROCESSES, len(items) // least))
    bounds = [number * len(items) // count for number in range(count + 1)]
    shares = [items[low:high] for low, high in itertools.pairwise(bounds)]
    children = [_start(work, share) for share in shares[1:]]
    try:
        found = [work(shares[0])]
        for child, share in zip(children, shares[1:], strict=True):
            done, result = _received(child)
            found.append(result if done else work(share))
    finally:
        _end(children)
    return found


def _start(work: Callable[[Sequence[Item]], Any], share: Sequence[Item]) -> _Child | None:
    """A process that works on a share; None where none can be started."""
    ours, theirs = os.pipe()
    try:
        with warnings.catch_warnings():
            # threads that other libraries left idle hold no lock that a child would need
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError:  # a limit of this user; the share is done here
        os.close(ours)
        os.close(theirs)
        return None
    if pid:
        os.close(theirs)
        return _Child(pid, ours)
    try:
        import pickle  # only where processes share the work

        os.close(ours)
        with open(theirs, "wb") as pipe:  # noqa: PTH123 - a file descriptor has no path
            pipe.write(pickle.dumps(work(share), pickle.HIGHEST_PROTOCOL) + _WHOLE)
    finally:
        # whatever happened: nothing of the parent's is flushed or cleaned up twice
        os._exit(0)


def _received(child: _Child | None) -> tuple[bool, Any]:
    """Whether a process sent its result, and that."""
    if child is None:
        return False, None
    with open(child.pipe, "rb", closefd=False) as pipe:
        data = pipe.read()
    if not data.endswith(_WHOLE):  # it failed, or was killed
        return False, None
    import pickle

    return True, pickle.loads(data)


def _end(children: Sequence[_Child | None]) -> None:
    for child in filter(None, children):
        os.close(child.pipe)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
