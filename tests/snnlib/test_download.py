"""Downloads: whole or not there, gone on with after a break, and clear about what went wrong."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnlib.download import PART, download
from snnlib.errors import BrokenDownload, Unreachable
from tests.snnlib.archive_server import Server, serve

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as found:
        found.files["a.bin"] = CONTENT
        yield found


def bring(server: Server, target: Path, *urls: str) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    download(
        urls or (f"{server.url}/a.bin",),
        target,
        lambda path: path.read_bytes() == CONTENT,
        lambda done, total: told.append((done, total)),
    )
    return told


def test_a_file_comes_whole_with_progress(server: Server, tmp_path: Path) -> None:
    told = bring(server, tmp_path / "sub" / "a.bin")
    assert (tmp_path / "sub" / "a.bin").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.bin"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_is_gone_on_with(
    server: Server, tmp_path: Path, knows_ranges: bool
) -> None:
    target, server.breaks_after, server.knows_ranges = tmp_path / "a.bin", 200_000, knows_ranges
    with pytest.raises(BrokenDownload, match="broke off after 200,000 of 512,000 bytes"):
        bring(server, target)
    assert not target.exists()
    server.breaks_after = None
    told = bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("a.bin", "bytes=200000-")
    assert (told[0][0] > 200_000) is knows_ranges


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more", b"x" * len(CONTENT)])
def test_a_part_of_full_length_is_used_only_if_it_is_right(
    server: Server, tmp_path: Path, part: bytes
) -> None:
    target = tmp_path / "a.bin"
    (tmp_path / f"a.bin{PART}").write_bytes(part)
    if part != CONTENT:
        with pytest.raises(BrokenDownload, match="does not have its published checksum"):
            bring(server, target)
    bring(server, target)
    assert target.read_bytes() == CONTENT


def test_what_is_damaged_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(BrokenDownload, match="published checksum"):
        bring(server, tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


def test_the_next_server_is_asked(server: Server, tmp_path: Path) -> None:
    bring(server, tmp_path / "a.bin", f"{server.url}/absent", f"{server.url}/a.bin")
    assert [path for path, _ in server.asked] == ["absent", "a.bin"]


@pytest.mark.parametrize(
    ("status", "error"), [(503, BrokenDownload), (429, BrokenDownload), (403, Unreachable)]
)
def test_a_busy_server_may_answer_later(
    server: Server, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    server.status = status
    with pytest.raises(error, match=f"a.bin: HTTP {status}"):
        bring(server, tmp_path / "a.bin")


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.bin"
        with pytest.raises(Unreachable, match="refused"):
            bring(server, tmp_path / "a.bin", url)
