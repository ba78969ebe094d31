"""Servers on this machine's own loopback: over plain HTTP, with ranges and without, some unwell."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Handler", "Server", "serving"]


class Server(ThreadingHTTPServer):
    """Serves a folder, and counts what it is asked and what it gives."""

    daemon_threads = True

    def __init__(
        self, folder: Path, *, ranges: bool = True, handler: type[Handler] | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.folder = folder
        self.ranges = ranges
        self.requests: list[str] = []
        self.nbytes = 0
        self.faults: list[int] = []
        """Statuses with which the next requests are answered; 0 drops the connection."""
        self.secret = ""

    @property
    def address(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def forget(self) -> None:
        """Count from nothing again."""
        self.requests.clear()
        self.nbytes = 0

    def handle_error(self, *_: object) -> None:
        """Clients may go away."""


class Handler(BaseHTTPRequestHandler):
    """Answers with the file of the folder that a path names."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def file(self) -> Path:
        """Return the file that is asked for, which need not be there."""
        return self.server.folder / self.path.partition("?")[0].lstrip("/")

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, *, body: bool) -> None:
        server = self.server
        server.requests.append(
            f"{self.command} {self.path} {self.headers.get('Range', '')}".strip()
        )
        if server.faults:
            status = server.faults.pop(0)
            if not status:
                self.close_connection = True
                self.connection.close()
                return
            self._refuse(status)
            return
        if server.secret and server.secret not in self.path:
            self._refuse(401)
            return
        path = self.file()
        if not path.is_file():
            self._refuse(404)
            return
        size = path.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
        if found and server.ranges:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        else:
            start, end = 0, size
            self.send_response(200)
        if not server.ranges:
            self.send_header("Accept-Ranges", "none")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if body:
            self._send(path, start, end)

    def _send(self, path: Path, start: int, end: int) -> None:
        with open(path, "rb") as file, contextlib.suppress(OSError):
            while start < end:
                piece = os.pread(file.fileno(), min(1 << 18, end - start), start)
                self.server.nbytes += len(piece)
                self.wfile.write(piece)
                start += len(piece)


@contextlib.contextmanager
def serving(folder: Path, **how: Any) -> Iterator[Server]:
    """Serve a folder as long as the context lasts."""
    with Server(folder, **how) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
