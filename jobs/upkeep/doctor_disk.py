"""Whether the run root's filesystem does what results rest on, and has room.

Everything is tried out in a temporary folder, which is removed again.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs import files
from jobs.upkeep.diagnosis import Finding

_SLOW_SYNC_S = 0.1
_SLOW_LISTING_S = 1.0
_CLOCK_S = 60.0
"""Difference of clocks from which ages that are printed mislead."""
_COARSE_S = 2.5
"""Longer than the coarsest time stamps are apart."""
_LITTLE_BYTES = 5 * 10**9
_FEW_INODES = 50_000
_ANSWER_S = 20.0
"""For so long a process of the same machine may take to make a file."""

_MAKER = "import sys; sys.stdin.readline(); open(sys.argv[1], 'x').close(); print(flush=True)"
"""Another process: it makes a file when it is told to, and says so."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a manifest would write.

    Attributes:
        name: of the manifest.
        size: bytes of networks and records; None if nothing like it was trained here yet.
        inodes: files and folders.
    """

    name: str
    size: int | None
    inodes: int


@dataclass(frozen=True, kw_only=True)
class Times:
    """What was measured, in seconds.

    Attributes:
        sync: of a synced write, median of 5.
        listing: until a file that another process made is listed.
        ahead: by which the filesystem's clock is ahead of this machine's.
    """

    sync: float
    listing: float
    ahead: float


def examine(root: Path, need: Need | None) -> Iterator[Finding]:
    """Try out what results rest on; the run root need not exist.

    Args:
        root: the run root.
        need: what shall fit in; None if no manifest is at hand.
    """
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.is_dir())
    where = f"{root}" if place == root.absolute() else f"{root} (not there yet; tried {place})"
    try:
        with tempfile.TemporaryDirectory(prefix=files.TEMPORARY, dir=place) as folder:
            problem = _atomic(Path(folder))
            times = _measure(Path(folder))
    except OSError as error:
        found = f"{where}: cannot be written ({error.strerror or error})"
        yield Finding("run root", "fail", found, "choose another with --root or $SPIKEGRID_ROOT")
        return
    if problem:
        way_out = "choose a run root on another filesystem with --root or $SPIKEGRID_ROOT"
        yield Finding("run root", "fail", f"{where}: {problem}", way_out)
    else:
        yield Finding("run root", "ok", f"{where}: rename, link and exclusive create work")
    yield speed(times)
    yield clock(times)
    yield space(place, need)


def _atomic(folder: Path) -> str:
    """What does not work as results need it, or nothing."""
    before, target = files.changed_ns(folder), folder / "file"
    files.replace(target, b"old")
    files.replace(target, b"new")
    if target.read_bytes() != b"new":
        return "a renamed file still shows its old content"
    try:
        if files.create(target, b"other") or target.read_bytes() != b"new":
            return "a hard link replaced a file that was there"
        if not files.create(folder / "link", b"linked"):
            return "a hard link to a new name was refused"
    except OSError as error:
        return f"no hard links ({error.strerror})"
    for name in ("taken", "made"):
        (folder / name).mkdir()
        (folder / name / "file").touch()
    if files.publish(folder / "made", folder / "taken"):
        return "a renamed folder replaced one that was there"
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        return "exclusive create opened a file that was there"
    except FileExistsError:
        pass
    # the index and the tables look again only where it tells them to
    told = files.changed_ns(folder) != before or _tells(folder)
    return "" if told else "a folder's time of change does not tell that a file came"


def _tells(folder: Path) -> bool:
    """Whether a folder's time of change moves when a file comes, be it with the coarsest clock."""
    before, since = files.changed_ns(folder), time.perf_counter()
    while time.perf_counter() - since < _COARSE_S:
        (folder / files.token()).touch()
        if files.changed_ns(folder) != before:
            return True
        time.sleep(0.05)
    return False


def _measure(folder: Path) -> Times:
    writes = []
    for index in range(5):
        began = time.perf_counter()
        files.replace(folder / f"sync{index}", bytes(4096))
        writes.append(time.perf_counter() - began)
    before = time.time()
    (folder / "clock").write_bytes(b"now")
    stamped = (folder / "clock").stat().st_mtime
    # a stamp between two looks at this machine's clock agrees with it
    ahead = stamped - min(max(stamped, before), time.time())
    return Times(sync=statistics.median(writes), listing=_listing(folder), ahead=ahead)


def _listing(folder: Path) -> float:
    """Seconds until a file of another process stands in a listing that was read before."""
    argv = [sys.executable, "-IS", "-c", _MAKER, str(folder / "late")]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as maker:
        assert maker.stdin is not None
        assert maker.stdout is not None
        os.listdir(folder)
        maker.stdin.write("\n")
        maker.stdin.flush()
        maker.stdout.readline()
        began = time.perf_counter()
        while "late" not in os.listdir(folder) and time.perf_counter() - began < _ANSWER_S:
            time.sleep(0.01)
        return time.perf_counter() - began


def speed(times: Times) -> Finding:
    """How fast the filesystem is."""
    found = (
        f"a synced write takes {times.sync * 1e3:.1f} ms; a new file of another process is listed "
        f"after {times.listing:.2f} s"
    )
    if times.sync > _SLOW_SYNC_S:
        way_out = "keep many small cells in one job (cells_per_job), or take a faster filesystem"
        return Finding("run root speed", "warn", found, way_out)
    if times.listing > _SLOW_LISTING_S:
        way_out = "nothing breaks, but status may be late by as much"
        return Finding("run root speed", "warn", found, way_out)
    return Finding("run root speed", "ok", found)


def clock(times: Times) -> Finding:
    """Whether the filesystem's clock and this machine's agree."""
    if abs(times.ahead) <= _CLOCK_S:
        found = "the filesystem's clock and this machine's agree"
        return Finding("clock", "ok", f"{found} within {max(1.0, abs(times.ahead)):.0f} s")
    which = "ahead of" if times.ahead > 0 else "behind"
    found = f"the filesystem's clock is {abs(times.ahead):,.0f} s {which} this machine's"
    way_out = "results are safe, ages that are printed are not; ask for NTP on this machine"
    return Finding("clock", "warn", found, way_out)


def space(place: Path, need: Need | None) -> Finding:
    """Whether there is room, for a manifest if one is at hand."""
    status = os.statvfs(place)
    size = status.f_bavail * status.f_frsize
    # some filesystems count no inodes and say 0 of 0
    inodes = status.f_favail if status.f_files else None
    return _space(size, inodes, need)


def _space(size: int, inodes: int | None, need: Need | None) -> Finding:
    counted = "unlimited" if inodes is None else f"{inodes:,}"
    found = f"{size / 1e9:,.1f} GB and {counted} files free (a quota may allow less)"
    least, most = _LITTLE_BYTES, _FEW_INODES
    if need is not None:
        least, most = need.size or 0, need.inodes
        expected = "" if need.size is None else f"{need.size / 1e9:,.1f} GB and "
        found += f"; {need.name} needs about {expected}{need.inodes:,} files more"
    if size < least or (inodes is not None and inodes < most):
        way_out = "free some space (`gc` shows what can go), or choose another run root"
        return Finding("run root space", "warn" if need is None else "fail", found, way_out)
    return Finding("run root space", "ok", found)
