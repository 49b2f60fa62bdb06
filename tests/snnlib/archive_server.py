"""A web server of one test: files from a dictionary, whole or in parts, and its faults."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What it gives, and how.

    Attributes:
        files: content by path, without the first slash.
        url: its address.
        knows_ranges: whether it gives parts of files.
        breaks_after: bytes after which it hangs up; never if None.
        status: what it answers instead of 200.
        asked: path and Range header of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    knows_ranges: bool = True
    breaks_after: int | None = None
    status: int = 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Server]:
    """Serve on a free port of this machine."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, server)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def _answer(request: BaseHTTPRequestHandler, server: Server) -> None:
    path, wanted = request.path.removeprefix("/"), request.headers["Range"]
    server.asked.append((path, wanted))
    content = server.files.get(path)
    if content is None or server.status != 200:
        request.send_error(404 if content is None else server.status)
        return
    begin = 0
    if wanted and server.knows_ranges:
        begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if begin >= len(content):
            request.send_error(416)
            return
    request.send_response(206 if begin else 200)
    request.send_header("Content-Length", str(len(content) - begin))
    request.end_headers()
    request.wfile.write(content[begin : server.breaks_after])
