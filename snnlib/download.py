"""One file over HTTP: gone on with where it was broken off, verified, whole or not there.

Data sets are downloaded by `launch.py fetch` alone; nothing that trains or evaluates comes here.
"""

import http
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from snnlib.errors import BrokenDownload, SnnlibError, Unreachable

TIMEOUT_S = 60.0
"""A server that is silent for so long is given up."""
CHUNK = 2**17
PART = ".part"
"""Ends the name of a file that is not whole yet."""
_AGENT = "spikegrid"
_SERVER_ERRORS = 500

Report = Callable[[int, int | None], None]
"""Is told the bytes that are there, and those of the whole file if the server says."""


def download(
    urls: Sequence[str], target: Path, is_whole: Callable[[Path], bool], report: Report
) -> None:
    """Bring a file from the first server that gives it.

    Args:
        urls: where the same file can be had.
        target: its name; what is not whole lies beside it and is gone on with next time.
        is_whole: tells whether a file has the published content.
        report: is told how far it is.

    Raises:
        Unreachable: no server answers.
        BrokenDownload: one did, but the file is not whole; the same call later may bring it.
        OSError: the file cannot be written.
    """
    part = target.with_name(target.name + PART)
    target.parent.mkdir(parents=True, exist_ok=True)
    failures: list[SnnlibError] = []
    for url in urls:
        try:
            _receive(url, part, report)
        except (Unreachable, BrokenDownload) as error:
            failures.append(error)
            continue
        if is_whole(part):
            part.replace(target)
            return
        # nothing tells which bytes are wrong, so there is nothing to go on from
        part.unlink()
        failures.append(BrokenDownload(f"{url}: does not have its published checksum"))
    broken = any(isinstance(error, BrokenDownload) for error in failures)
    raise (BrokenDownload if broken else Unreachable)("; ".join(map(str, failures)))


def _receive(url: str, part: Path, report: Report) -> None:
    """Append what is missing of a file, or write all of it if the server knows no parts."""
    begin = part.stat().st_size if part.exists() else 0
    response = _opened(url, begin)
    if response is None:
        return
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            begin = 0
        total = None if response.length is None else begin + response.length
        with part.open("ab" if begin else "wb") as file:
            for data in _chunks(url, response):
                file.write(data)
                report(file.tell(), total)
            there = file.tell()
    if total is not None and there < total:
        raise BrokenDownload(f"{url}: broke off after {there:,} of {total:,} bytes")


def _opened(url: str, begin: int) -> http.client.HTTPResponse | None:
    """The answer to a request for a file from some byte on; None if it has no more bytes."""
    headers = {"User-Agent": _AGENT}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and begin:
            return None
        busy = error.code >= _SERVER_ERRORS or error.code == http.HTTPStatus.TOO_MANY_REQUESTS
        kind = BrokenDownload if busy else Unreachable
        raise kind(f"{url}: HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(f"{url}: {reason}") from error
    return answer


def _chunks(url: str, response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            data = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenDownload(f"{url}: broke off ({error})") from error
        if not data:
            return
        yield data
